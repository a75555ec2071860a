//! What answers say of a customer's items.

use ledger::CustomerRow;
use serde::Serialize;
use utoipa::ToSchema;

/// A metered item of the customer's subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionItem)]
pub(crate) struct ItemAnswer<'a> {
    subscription_item_id: &'a str,
    price_id: &'a str,
    /// Empty where usage records are billed and no catalog names them.
    meter_event_name: &'a str,
}

/// The metered items of `row`, the first one first.
pub(crate) fn item_answers(row: &CustomerRow) -> Vec<ItemAnswer<'_>> {
    let items = row.items().map(|item| ItemAnswer {
        subscription_item_id: &item.subscription_item_id,
        price_id: &item.price_id,
        meter_event_name: &item.meter_event_name,
    });
    items.collect()
}
