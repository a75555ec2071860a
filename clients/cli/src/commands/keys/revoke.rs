//! `meterline keys revoke`.

use std::io::{self, Write};

use billing::Timestamp;
use clap::Args;
use ledger::{Ledger, Revoked};
use serde_json::json;

use super::super::Failure;
use super::arguments::parse_key_id;

#[derive(Args)]
pub(crate) struct RevokeArguments {
    /// The key's id, as `keys list` shows it.
    #[arg(value_name = "KEY_ID", value_parser = parse_key_id)]
    key_id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: RevokeArguments,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<(), Failure> {
    let key_id = arguments.key_id;
    let Revoked::Done(row) = ledger.revoke_api_key(&key_id, now).await? else {
        return Err(Failure::UnknownKey(key_id));
    };
    let at = row.revoked_at.unwrap_or(now).to_string();
    let mut out = io::stdout();
    if arguments.json {
        writeln!(out, "{}", json!({ "key_id": key_id, "revoked_at": at }))?;
    } else {
        writeln!(
            out,
            "{key_id}  revoked at {at}; whoever knows it from before believes it for a minute more"
        )?;
    }
    Ok(())
}
