//! Which item of a customer's subscription bills an action, by the catalog as
//! the tables hold it now.

use std::sync::{Arc, Mutex, PoisonError};

use billing::{ActionType, Catalog, Clock, Timestamp};
use ledger::{CustomerRow, Ledger, LedgerError, MeteredItem};
use stripe::UsageApi;

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

/// What counts and bills a new event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billed<'a> {
    /// The event name of the meter that counts it.
    pub meter_event_name: &'a str,
    /// None where the event is held for the lack of one.
    pub item: Option<&'a MeteredItem>,
}

impl<'a> Billed<'a> {
    /// What counts and bills `action_type` of `customer`; none where the catalog
    /// does not cover it.
    pub fn by(
        catalog: Option<&'a Catalog>,
        customer: &'a CustomerRow,
        action_type: &ActionType,
    ) -> Option<Self> {
        match billed_by(catalog, customer, action_type) {
            BilledBy::Item(item) => Some(Self::of(item)),
            BilledBy::NoItem { meter_event_name } => Some(Self {
                meter_event_name,
                item: None,
            }),
            BilledBy::Uncovered => None,
        }
    }

    /// What `item` bills.
    pub const fn of(item: &'a MeteredItem) -> Self {
        Self {
            meter_event_name: item.meter_event_name.as_str(),
            item: Some(item),
        }
    }

    /// Whether its item takes no usage by `usage_api`.
    pub fn is_of_other_api(&self, usage_api: UsageApi) -> bool {
        let is_other = |item: &MeteredItem| item.meter_id.is_empty() == usage_api.has_meter();
        self.item.is_some_and(is_other)
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
