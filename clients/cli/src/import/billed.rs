//! What counts and bills a row of the file, by the rules of emission.

use billing::{Catalog, FieldError, window};
use metering::{Billed, KnownCustomer};
use stripe::UsageApi;

use super::{ImportRow, Outcome};

/// Why a row is not recorded.
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
}

impl Refusal {
    fn invalid(refusal: &FieldError) -> Self {
        Self {
            outcome: Outcome::Invalid,
            reason: refusal.to_string(),
        }
    }
}

/// What counts and bills a row that Stripe has not, if it is to be recorded.
pub(super) fn to_send<'a>(
    row: &ImportRow,
    customer: &'a KnownCustomer,
    catalog: Option<&'a Catalog>,
    usage_api: UsageApi,
) -> Result<Billed<'a>, Refusal> {
    let billed = by_catalog(row, customer, catalog)?;
    if billed.is_of_other_api(usage_api) {
        return Err(Refusal {
            outcome: Outcome::Invalid,
            reason: other_usage_api(row, usage_api),
        });
    }
    if let Some(item) = billed.item {
        let named = row.event.subscription_item_id.as_ref();
        if named.is_some_and(|id| *id != item.subscription_item_id) {
            let reason = "is not the customer's subscription item that bills the action";
            let refusal = FieldError::new("subscription_item_id", reason);
            return Err(Refusal::invalid(&refusal));
        }
    }
    let in_window = window::check_occurred_at(row.occurred_at, customer.now);
    in_window.map_err(|refusal| Refusal {
        outcome: match row.occurred_at < customer.now {
            true => Outcome::TooOld,
            false => Outcome::Invalid,
        },
        reason: refusal.to_string(),
    })?;
    Ok(billed)
}

/// What counts a row that Stripe has already. The item that it names says more
/// than the catalog does, which is from later.
pub(super) fn already<'a>(
    row: &ImportRow,
    customer: &'a KnownCustomer,
    catalog: Option<&'a Catalog>,
) -> Result<Billed<'a>, Refusal> {
    let named = row.event.subscription_item_id.as_ref();
    let mut items = customer.row.items();
    let item = items.find(|item| named.is_some_and(|id| *id == item.subscription_item_id));
    match item {
        Some(item) => Ok(Billed::of(item)),
        None => by_catalog(row, customer, catalog),
    }
}

fn by_catalog<'a>(
    row: &ImportRow,
    customer: &'a KnownCustomer,
    catalog: Option<&'a Catalog>,
) -> Result<Billed<'a>, Refusal> {
    let action_type = &row.event.action_type;
    Billed::by(catalog, &customer.row, action_type).ok_or_else(|| {
        let reason = format!(
            "{} is not in the catalog of billable actions: add it there, or a default_meter, and \
             import again",
            action_type.as_str()
        );
        Refusal::invalid(&FieldError::new("action_type", reason))
    })
}

/// Stripe would take no usage of this customer's, or bill it never.
fn other_usage_api(row: &ImportRow, usage_api: UsageApi) -> String {
    format!(
        "the price of customer {} takes no usage by {usage_api}: set {} to what its prices need",
        row.event.customer_id,
        UsageApi::VARIABLE
    )
}
