//! One set of tables belongs to one Stripe account and mode: what is recorded
//! under one key must never be sent, settled or reported under another's.

use std::time::Duration;

use ledger::{Ledger, LedgerError, StripeAccount};

/// How long a start waits for the answer, within the ten seconds that Lambda
/// gives it (AWS Lambda Developer Guide, "Lambda execution environment lifecycle").
const PATIENCE: Duration = Duration::from_secs(4);

/// The Stripe key is of another account, or another mode, than the tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these tables belong to the Stripe account {owner}, but STRIPE_SECRET_KEY is of {key}")]
pub struct OtherStripeAccount {
    /// The account that the tables belong to.
    owner: StripeAccount,
    /// What is known of the key's.
    key: String,
}

/// Why it cannot be said whether a key and the tables belong together.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("Stripe did not tell whose the key is: {0}")]
    Stripe(#[from] stripe::Error),
    #[error("no answer in time")]
    Late,
}

/// Checks that the tables of `ledger` belong to the account and mode that
/// `stripe` speaks for. Tables that belong to none become this one's.
///
/// Only a mismatch is an error. Where it cannot be found out, because the tables
/// or Stripe do not answer or a restricted key may not ask, that is logged and
/// things go on: usage must be recorded while Stripe is away.
///
/// # Errors
/// [`OtherStripeAccount`], which is logged, too.
pub async fn check_stripe_account(
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<(), OtherStripeAccount> {
    let compared = tokio::time::timeout(PATIENCE, compare(ledger, stripe)).await;
    match compared.unwrap_or(Err(Unknown::Late)) {
        Ok(None) => Ok(()),
        Ok(Some(other)) => {
            tracing::error!(error = %other, "the Stripe key is refused");
            Err(other)
        }
        Err(unknown) => {
            tracing::warn!(
                error = %unknown,
                "whether the Stripe key is of the tables' account is not known"
            );
            Ok(())
        }
    }
}

async fn compare(
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<Option<OtherStripeAccount>, Unknown> {
    let owner = ledger.stripe_account().await?;
    let livemode = stripe.livemode();
    // The key itself tells its mode, even when nobody can be asked.
    if let Some(owner) = &owner
        && owner.livemode != livemode
    {
        let mode = if livemode { "live" } else { "test" };
        return Ok(Some(OtherStripeAccount {
            owner: owner.clone(),
            key: format!("{mode} mode"),
        }));
    }
    let key = StripeAccount {
        account_id: stripe.retrieve_account().await?.id,
        livemode,
    };
    let owner = match owner {
        Some(owner) => owner,
        None => ledger.claim_for_stripe_account(&key).await?,
    };
    Ok((owner != key).then(|| OtherStripeAccount {
        owner,
        key: key.to_string(),
    }))
}
