//! Taking usage back.

use billing::UsageStatus;
use metering::{Found, METADATA_VOID, Void, VoidError, Voider};
use stripe::CustomerBalanceTransaction;

use super::Story;

impl Story {
    pub(crate) fn voider(&self) -> Voider {
        let (ledger, stripe) = (self.system.ledger(), self.system.stripe());
        Voider::new(ledger.clone(), stripe.clone(), self.clock.clone())
    }

    pub(crate) async fn void(&self, event_id: &str) -> Result<Void, VoidError> {
        self.void_found(event_id, None).await
    }

    pub(crate) async fn void_found(
        &self,
        event_id: &str,
        found: Option<Found>,
    ) -> Result<Void, VoidError> {
        let identifier = self.identifier(event_id);
        self.voider().void(&identifier, found).await
    }

    pub(crate) async fn status(&self, event_id: &str) -> UsageStatus {
        self.row(event_id).await.status
    }

    /// Credits for voided usage, the newest first.
    pub(crate) async fn credits(&self) -> Vec<CustomerBalanceTransaction> {
        let stripe = self.system.stripe();
        let customer_id = self.customer_id.as_str();
        let all = stripe.list_customer_balance_transactions(customer_id).await;
        let all = all.unwrap().into_iter();
        all.filter(|it| it.metadata.contains_key(METADATA_VOID))
            .collect()
    }
}
