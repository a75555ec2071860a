//! The meters behind prices that no customer's row names any more: of items
//! that were removed, and of prices that items had before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::ReconcileError;

/// The meters of prices, asked for once in a run: they never change (Stripe API
/// reference: Update a price).
#[derive(Debug, Default)]
pub(super) struct MeterOfPrice(Mutex<HashMap<String, Option<String>>>);

impl MeterOfPrice {
    /// The meter behind the price, `mtr_…`; none where it has none.
    pub(super) async fn meter_of(
        &self,
        stripe: &stripe::Client,
        price_id: &str,
    ) -> Result<Option<String>, ReconcileError> {
        let known = self.lock().get(price_id).cloned();
        if let Some(meter_id) = known {
            return Ok(meter_id);
        }
        let price = stripe.retrieve_price(price_id).await;
        let price = price.map_err(ReconcileError::stripe("the price of an invoice's line"))?;
        let meter_id = price.recurring.and_then(|recurring| recurring.meter);
        self.lock().insert(price_id.to_owned(), meter_id.clone());
        Ok(meter_id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
