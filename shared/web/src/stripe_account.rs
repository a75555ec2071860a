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

/// Why a key is not known to be of the account that the tables belong to.
#[derive(Debug, thiserror::Error)]
enum NotKnown {
    /// It is of another one.
    #[error(transparent)]
    Other(#[from] OtherStripeAccount),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("Stripe did not tell whose the key is: {0}")]
    Stripe(#[from] stripe::Error),
    #[error("no answer in time")]
    Late,
}

/// What is known of a key that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is of the account that the tables belong to.
    Same,
    /// It may be of any: to be asked again.
    Unknown,
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
    let owner = ledger.stripe_account_row().await;
    check_owner(owner, ledger, stripe).await.map(|_| ())
}

/// What is logged as, where nobody knows whose the Stripe key is, and it is used: no error is
/// returned then.
pub const UNKNOWN_ACCOUNT_TARGET: &str = "web::unknown_account";

/// As [`check_stripe_account`], where the tables have told whose they are; and
/// whether it was found out.
pub(crate) async fn check_owner(
    owner: Result<Option<StripeAccountRow>, LedgerError>,
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<Owner, OtherStripeAccount> {
    match compare_in_time(owner, ledger, stripe).await {
        Ok(()) => Ok(Owner::Same),
        Err(NotKnown::Other(other)) => {
            tracing::error!(error = %other, "the Stripe key is refused");
            Err(other)
        }
        // Stripe answers, and will not say anything else later: somebody has to act.
        Err(NotKnown::Stripe(error)) if error.is_unauthorized() => {
            tracing::error!(
                target: UNKNOWN_ACCOUNT_TARGET,
                %error,
                "the Stripe key may not ask whose it is: give it read access to its account"
            );
            Ok(Owner::Unknown)
        }
        Err(unknown) => {
            tracing::warn!(
                target: UNKNOWN_ACCOUNT_TARGET,
                error = %unknown,
                "whether the Stripe key is of the tables' account is not known"
            );
            Ok(Owner::Unknown)
        }
    }
}

/// Whether `candidate`'s key, which is to take another's place, is known to be of the
/// tables' account; why it is not is logged. There is a key in use, so nothing is
/// lost by refusing one that nobody knows.
pub(crate) async fn may_take_over(ledger: &Ledger, candidate: &stripe::Client) -> bool {
    let owner = ledger.stripe_account_row().await;
    match compare_in_time(owner, ledger, candidate).await {
        Ok(()) => true,
        Err(NotKnown::Other(other)) => {
            tracing::error!(error = %other, "the new Stripe key is refused; the old one stays");
            false
        }
        Err(unknown) => {
            tracing::error!(
                error = %unknown,
                "whose the new Stripe key is, is not known; the old one stays. It is looked at \
                 again: a restricted key needs read access to its account"
            );
            false
        }
    }
}

async fn compare_in_time(
    owner: Result<Option<StripeAccountRow>, LedgerError>,
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<(), NotKnown> {
    let compared = tokio::time::timeout(PATIENCE, compare(owner, ledger, stripe)).await;
    compared.unwrap_or(Err(NotKnown::Late))
}

async fn compare(
    owner: Result<Option<StripeAccountRow>, LedgerError>,
    ledger: &Ledger,
    stripe: &stripe::Client,
) -> Result<(), NotKnown> {
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
            return Err(NotKnown::Other(OtherStripeAccount {
                owner: account.clone(),
                key: format!("{mode} mode"),
            }));
        }
        // A key is of one account for good: no start waits for Stripe twice.
        if known_keys.contains(&stripe.key_digest(&account.to_string())) {
            return Ok(());
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
        return Err(NotKnown::Other(OtherStripeAccount {
            owner: owner.account,
            key: key.to_string(),
        }));
    }
    let digest = stripe.key_digest(&key.to_string());
    if let Err(error) = ledger.remember_stripe_key(&owner, digest).await {
        tracing::warn!(%error, "Stripe will be asked again whose the key is");
    }
    Ok(())
}
