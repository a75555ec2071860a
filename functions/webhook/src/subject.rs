//! Which events concern a customer's standing, and whose.

use billing::CustomerId;
use metering::EVENT_TYPES;
use serde_json::Value;
use stripe::Event;

/// Whom an event is about. Of the snapshot only ids are taken, which never
/// change: what they name is fetched as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) customer_id: CustomerId,
    /// The subscription; none where the customer as a whole is meant.
    pub(crate) subscription_id: Option<String>,
    /// The invoice, where it is about one.
    pub(crate) invoice_id: Option<String>,
}

impl Subject {
    /// The subject of `event`; none where the event can concern no customer
    /// here: another type, or an invoice that belongs to no subscription.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        if !EVENT_TYPES.contains(&event.event_type.as_str()) {
            return None;
        }
        let object = &event.data.object;
        let id = object.get("id").and_then(Value::as_str);
        let (customer, subscription, invoice) = if event.event_type.starts_with("invoice.") {
            let subscription = subscription_of_invoice(object)?;
            (id_at(object, "/customer"), Some(subscription), id)
        } else if event.event_type == "customer.deleted" {
            (id, None, None)
        } else if event.event_type.starts_with("customer.subscription.") {
            (id_at(object, "/customer"), Some(id?), None)
        } else {
            // A dispute names its charge only, and a setup concerns no standing.
            return None;
        };
        Some(Self {
            customer_id: CustomerId::parse(customer?).ok()?,
            subscription_id: subscription.map(str::to_owned),
            invoice_id: invoice.map(str::to_owned),
        })
    }
}

/// Where it is since version `2025-03-31.basil`, and where it was before: the
/// version of a snapshot is the endpoint's, which may be older than ours.
fn subscription_of_invoice(invoice: &Value) -> Option<&str> {
    id_at(invoice, "/parent/subscription_details/subscription")
        .or_else(|| id_at(invoice, "/subscription"))
}

/// An id, which may be expanded to its object.
fn id_at<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    let value = object.pointer(pointer)?;
    value.as_str().or_else(|| value.get("id")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stripe::WebhookEvent;

    fn subject(event_type: &str, object: &Value) -> Option<(String, Option<String>)> {
        let event = json!({
            "id": "evt_1", "object": "event", "api_version": stripe::STRIPE_VERSION,
            "created": 1_769_860_800, "livemode": false, "type": event_type,
            "data": { "object": object },
        });
        let event = WebhookEvent::parse(event.to_string().as_bytes()).unwrap();
        let WebhookEvent::Snapshot(event) = event else {
            panic!("a snapshot is expected");
        };
        let subject = Subject::of(&event)?;
        Some((subject.customer_id.to_string(), subject.subscription_id))
    }

    fn found(customer: &str, subscription: Option<&str>) -> Option<(String, Option<String>)> {
        Some((customer.to_owned(), subscription.map(str::to_owned)))
    }

    #[test]
    fn ids_are_found_in_every_form_that_stripe_has() {
        let new = json!({ "id": "in_1", "customer": "cus_1",
            "parent": { "subscription_details": { "subscription": "sub_1" } } });
        let old = json!({ "id": "in_1", "customer": { "id": "cus_1" }, "subscription": "sub_1" });
        for invoice in [new, old] {
            assert_eq!(
                subject("invoice.paid", &invoice),
                found("cus_1", Some("sub_1"))
            );
        }
        let subscription = json!({ "id": "sub_1", "customer": "cus_1" });
        assert_eq!(
            subject("customer.subscription.updated", &subscription),
            found("cus_1", Some("sub_1"))
        );
        assert_eq!(
            subject("customer.deleted", &json!({ "id": "cus_1" })),
            found("cus_1", None)
        );
    }

    #[test]
    fn what_can_concern_nobody_here_has_no_subject() {
        let one_off = json!({ "id": "in_1", "customer": "cus_1", "parent": null });
        assert_eq!(subject("invoice.paid", &one_off), None);
        assert_eq!(
            subject(
                "charge.succeeded",
                &json!({ "id": "ch_1", "customer": "cus_1" })
            ),
            None
        );
        assert_eq!(subject("customer.subscription.updated", &json!({})), None);
        assert_eq!(subject("customer.deleted", &json!({ "id": "no id" })), None);
    }
}
