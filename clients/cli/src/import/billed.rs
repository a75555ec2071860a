//! What counts a row that Stripe has already.

use billing::Catalog;
use metering::{Billed, KnownCustomer, NotRecorded};

use super::ImportRow;

/// The item that it names says more than the catalog does, which is from later.
pub(super) fn already<'a>(
    row: &ImportRow,
    customer: &'a KnownCustomer,
    catalog: Option<&'a Catalog>,
) -> Result<Billed<'a>, NotRecorded> {
    let named = row.event.subscription_item_id.as_ref();
    let mut items = customer.row.items();
    let item = items.find(|item| named.is_some_and(|id| *id == item.subscription_item_id));
    let billed = match item {
        Some(item) => Some(Billed::of(item)),
        None => Billed::by(catalog, &customer.row, &row.event.action_type),
    };
    billed.ok_or(NotRecorded::NotInCatalog)
}
