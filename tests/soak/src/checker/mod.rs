//! The independent count. It reads the databases' own JSON over HTTP, computes
//! identifiers and totals by itself, and knows what the agents were told; it
//! uses nothing of what it checks.

mod audit;
mod findings;
mod invoices;
mod outbox;
mod totals;

use sha2::{Digest, Sha256};

pub(crate) use findings::Findings;
pub use findings::{Finding, Kind};
pub(crate) use outbox::{check_outbox, identifiers};

use crate::SoakError;
use crate::agents::Told;
use crate::direct::Direct;
use crate::world::Customer;

/// A usage event's identifier, as bytes.
pub(crate) type Identifier = [u8; 32];

/// What is checked, and against what.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) direct: &'a Direct,
    pub(crate) customers: &'a [Customer],
    pub(crate) told: &'a [Told],
}

/// Everything, of a system at rest whose periods are over.
pub(crate) async fn check_all(
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Result<(), SoakError> {
    let rows = audit::read_log(subject, findings).await?;
    let stripe = audit::read_stripe(subject).await?;
    audit::compare(subject, &rows, &stripe, findings);
    totals::compare(subject, &rows, findings).await?;
    invoices::compare(subject, &rows, &stripe, findings).await?;
    check_outbox(subject, findings).await
}

/// SHA-256 over customer and event id, each with its length in front in eight
/// bytes, the largest first (docs/exactness.md).
pub(crate) fn identifier(customer_id: &str, event_id: &str) -> Identifier {
    let mut hasher = Sha256::new();
    for part in [customer_id, event_id] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// The identifier that 64 hex digits stand for.
fn parse_identifier(digits: &str) -> Option<Identifier> {
    hex::decode(digits).ok()?.try_into().ok()
}

/// The place of a customer in the list.
fn place_of(customers: &[Customer], id: &str) -> Option<usize> {
    customers.iter().position(|customer| customer.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by other means: `printf` and `sha256sum`.
    #[test]
    fn an_identifier_is_what_docs_exactness_says() {
        assert_eq!(
            hex::encode(identifier("cus_1", "job-7/ä#")),
            "009d2e048faf8d9a481e3695a2fa375d519640ee4b82507f709e8a66cbd81484"
        );
    }
}
