//! Judges webhooks by our own check, so that the suite can compare it with the check of Stripe's
//! SDK: a JSON array of cases comes in, an array of verdicts goes out, in the same order.

use std::error::Error;
use std::io::{Write, stdin, stdout};

use secrecy::SecretString;
use serde::Deserialize;
use stripe::webhook_signature::verify;

/// One webhook, and when and how it is judged.
#[derive(Deserialize)]
struct Case {
    header: String,
    body_hex: String,
    secret: SecretString,
    now_unix_s: i64,
    tolerance_s: u64,
}

impl Case {
    fn is_believed(&self) -> Result<bool, hex::FromHexError> {
        let body = hex::decode(&self.body_hex)?;
        let secrets = std::slice::from_ref(&self.secret);
        let verdict = verify(
            &self.header,
            &body,
            secrets,
            self.now_unix_s,
            self.tolerance_s,
        );
        Ok(verdict.is_ok())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let cases: Vec<Case> = serde_json::from_reader(stdin().lock())?;
    let verdicts: Vec<bool> = cases
        .iter()
        .map(Case::is_believed)
        .collect::<Result<_, _>>()?;
    serde_json::to_writer(stdout().lock(), &verdicts)?;
    stdout().flush()?;
    Ok(())
}
