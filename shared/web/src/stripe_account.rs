//! One set of tables belongs to one Stripe account and mode: what is recorded
//! under one key must never be sent, settled or reported under another's.

use std::time::Duration;

use ledger::{Ledger, LedgerError, StripeAccount, StripeAccountRow};

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
    check_owner(ledger.stripe_account_row().await, ledger, stripe).await
}

/// As [`check_stripe_account`], where the tables have told whose they are.
pub(crate) async fn check_owner(
    owner: Result<Option<StripeAccountRow>, LedgerError>,
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<(), OtherStripeAccount> {
    let compared = tokio::time::timeout(PATIENCE, compare(owner, ledger, stripe)).await;
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
    owner: Result<Option<StripeAccountRow>, LedgerError>,
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<Option<OtherStripeAccount>, Unknown> {
    let owner = owner?;
    let livemode = stripe.livemode();
    if let Some(StripeAccountRow {
        account,
        known_keys,
    }) = &owner
    {
        // The key itself tells its mode, even when nobody can be asked.
        if account.livemode != livemode {
            let mode = if livemode { "live" } else { "test" };
            return Ok(Some(OtherStripeAccount {
                owner: account.clone(),
                key: format!("{mode} mode"),
            }));
        }
        // A key is of one account for good: no start waits for Stripe twice.
        if known_keys.contains(&stripe.key_digest(&account.to_string())) {
            return Ok(None);
        }
    }
    let key = StripeAccount {
        account_id: stripe.retrieve_account().await?.id,
        livemode,
    };
    let owner = match owner {
        Some(owner) => owner,
        None => StripeAccountRow {
            account: ledger.claim_for_stripe_account(&key).await?,
            known_keys: Vec::new(),
        },
    };
    if owner.account != key {
        return Ok(Some(OtherStripeAccount {
            owner: owner.account,
            key: key.to_string(),
        }));
    }
    let digest = stripe.key_digest(&key.to_string());
    if let Err(error) = ledger.remember_stripe_key(&owner, digest).await {
        tracing::warn!(%error, "Stripe will be asked again whose the key is");
    }
    Ok(None)
}
