//! What came of a call: a customer, or somebody to wait for.

use billing::Timestamp;
use ledger::CustomerRow;
use stripe::SecretString;

/// How far an onboarding came.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// To its end.
    Onboarded(Box<CustomerRow>),
    /// To where somebody has to enter a payment method.
    Awaits(Awaited),
}

/// Whose payment method is awaited, and how it comes.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// `cus_…`.
    pub(crate) customer_id: String,
    pub(crate) way: Way,
}

/// How the person's payment method comes.
#[derive(Debug)]
pub(crate) enum Way {
    /// By a page of Stripe's, which is open until `expires_at`.
    Checkout { url: String, expires_at: Timestamp },
    /// By a form of the operator's own, which completes the setup with this.
    SetupIntent { client_secret: SecretString },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_secret_is_in_no_log() {
        let awaited = Awaited {
            customer_id: "cus_1".to_owned(),
            way: Way::SetupIntent {
                client_secret: "seti_1_secret_2".into(),
            },
        };
        let logged = format!("{awaited:?}");
        assert!(
            logged.contains("cus_1") && !logged.contains("secret_2"),
            "{logged}"
        );
    }
}
