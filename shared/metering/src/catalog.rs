//! Which item of a customer's subscription bills an action, by the catalog as
//! the tables hold it now.

use std::sync::{Arc, Mutex, PoisonError};

use billing::{ActionType, Catalog, Clock, Timestamp};
use ledger::{CustomerRow, Ledger, LedgerError, MeteredItem};

/// For how long a catalog is believed: how late a change of it counts.
pub const CATALOG_FRESH_MS: i64 = 30_000;

/// What bills an action of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BilledBy<'a> {
    /// This item of its subscription.
    Item(&'a MeteredItem),
    /// No item: the meter that counts the action is none that the customer
    /// subscribes to. Stripe would take its usage and bill it never.
    NoItem {
        /// The event name of that meter.
        meter_event_name: &'a str,
    },
    /// No meter: the catalog does not cover the action.
    Uncovered,
}

/// What bills `action_type` of `customer`. Without a catalog all of its usage
/// goes to the one item that it was onboarded with.
pub fn billed_by<'a>(
    catalog: Option<&'a Catalog>,
    customer: &'a CustomerRow,
    action_type: &ActionType,
) -> BilledBy<'a> {
    let Some(catalog) = catalog else {
        return BilledBy::Item(&customer.item);
    };
    let Some(meter) = catalog.meter_of(action_type) else {
        return BilledBy::Uncovered;
    };
    match customer.item_of_meter(&meter.event_name) {
        Some(item) => BilledBy::Item(item),
        None => BilledBy::NoItem {
            meter_event_name: &meter.event_name,
        },
    }
}

/// The catalog, remembered for a moment.
pub struct CatalogCache {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    catalog: Option<Arc<Catalog>>,
    until: Timestamp,
}

impl CatalogCache {
    /// Remembers the catalog of `ledger`.
    pub fn new(ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            clock,
            known: Mutex::new(None),
        }
    }

    /// The catalog, as known for up to half a minute; none where there is none.
    /// Where the table cannot be read, the one that was read last goes on.
    ///
    /// # Errors
    /// [`LedgerError`] where it was never read and the table fails.
    pub async fn current(&self) -> Result<Option<Arc<Catalog>>, LedgerError> {
        let now = self.clock.now();
        let known = self.lock().clone();
        if let Some(known) = known.as_ref().filter(|known| now < known.until) {
            return Ok(known.catalog.clone());
        }
        let catalog = match (self.ledger.catalog().await, known) {
            (Ok(row), _) => row.map(|row| Arc::new(row.catalog)),
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "the catalog cannot be read: the last one goes on");
                known.catalog
            }
            (Err(error), None) => return Err(error),
        };
        *self.lock() = Some(Known {
            catalog: catalog.clone(),
            until: now.plus_ms(CATALOG_FRESH_MS),
        });
        Ok(catalog)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
