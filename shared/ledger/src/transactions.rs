//! Transactions that meet others on the same row.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};

use crate::Ledger;

/// How often a transaction that meets another's is tried again.
const CONFLICTS_MAX: u32 = 6;
/// The wait after the first such meeting; it grows with each.
const CONFLICT_WAIT: Duration = Duration::from_millis(15);

impl Ledger {
    /// Makes a transaction, again where it met another's on the same row.
    pub(crate) async fn transact_patiently(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        let mut conflicts = 0;
        loop {
            let transaction = self.client.transact_write_items();
            let made = transaction
                .set_transact_items(Some(items.clone()))
                .send()
                .await;
            let Err(error) = made else { return Ok(()) };
            let is_conflict = reasons(&error)
                .iter()
                .any(|reason| reason.code() == Some("TransactionConflict"));
            // Another reason stands whatever the other transaction does.
            let is_decided = reasons(&error).iter().any(is_condition_reason);
            if !is_conflict || is_decided || conflicts == CONFLICTS_MAX {
                return Err(error);
            }
            conflicts += 1;
            tokio::time::sleep(jittered(CONFLICT_WAIT * conflicts)).await;
        }
    }
}

/// Half of `wait` to all of it, so that those who met do not meet again.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without randomness, all of it.
    let part = getrandom::fill(&mut byte).map_or(255, |()| byte[0]);
    wait / 2 + wait * u32::from(part) / 510
}

/// Why a transaction was cancelled, item by item; nothing where it was not.
pub(crate) fn reasons(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    }
}

pub(crate) fn is_condition_reason(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_none_and_never_longer() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_millis(100));
            assert!((50..=100).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
