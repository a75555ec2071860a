//! Events sent again by the story's own clock, and not by the machine's.

use std::sync::Arc;

use metering::{CustomerDirectory, Deliverer, Redriven, Redriver};

use super::Story;

impl Story {
    pub(crate) fn redriver(&self) -> Redriver {
        let (ledger, stripe) = (self.system.ledger().clone(), self.system.stripe().clone());
        let clock = || Arc::clone(&self.clock);
        Redriver::new(
            ledger.clone(),
            CustomerDirectory::new(ledger.clone(), stripe.clone(), clock()),
            Deliverer::new(ledger, stripe, clock()),
            clock(),
        )
    }

    pub(crate) async fn redrive(&self, event_id: &str) -> Redriven {
        let row = self.row(event_id).await;
        self.redriver().redrive(&[row]).await.pop().unwrap()
    }
}
