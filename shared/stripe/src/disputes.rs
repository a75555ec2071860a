//! Disputes (Stripe API reference: Disputes).

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::object::{optional_id, or_default};
use crate::request::{Request, segment};

/// A charge that its cardholder has asked the bank to take back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Dispute {
    /// `dp_…`, of old `du_…`.
    pub id: String,
    /// The disputed charge, `ch_…`.
    pub charge: Option<String>,
    /// Whose charge it is, `cus_…`.
    pub customer: Option<String>,
    /// What is disputed, in minor units.
    pub amount: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// Why, such as `fraudulent`.
    pub reason: String,
    /// Such as `needs_response`, `won` or `lost`.
    pub status: String,
    /// Until when evidence can be brought, in unix seconds.
    pub evidence_due_by: Option<i64>,
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    charge: Option<Charge>,
    amount: i64,
    currency: String,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    evidence_details: EvidenceDetails,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Charge {
    Id(String),
    Object {
        id: String,
        #[serde(default, deserialize_with = "optional_id")]
        customer: Option<String>,
    },
}

#[derive(Default, Deserialize)]
struct EvidenceDetails {
    due_by: Option<i64>,
}

impl From<Wire> for Dispute {
    fn from(wire: Wire) -> Self {
        let (charge, customer) = match wire.charge {
            Some(Charge::Object { id, customer }) => (Some(id), customer),
            Some(Charge::Id(id)) => (Some(id), None),
            None => (None, None),
        };
        Self {
            id: wire.id,
            charge,
            customer,
            amount: wire.amount,
            currency: wire.currency,
            reason: wire.reason,
            status: wire.status,
            evidence_due_by: wire.evidence_details.due_by,
        }
    }
}

impl Client {
    /// The dispute `id`, with the customer of its charge.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_dispute(&self, id: &str) -> Result<Dispute, Error> {
        let path = format!("/v1/disputes/{}", segment(id)?);
        let query = Form::new().with_array("expand", &["charge"]);
        self.read(Request::get(path, &query)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn dispute(charge: &Value) -> Dispute {
        serde_json::from_value(json!({
            "id": "dp_1", "object": "dispute", "charge": charge, "amount": 2_010,
            "currency": "usd", "reason": "fraudulent", "status": "needs_response",
            "evidence_details": { "due_by": 1_769_860_800 },
        }))
        .unwrap()
    }

    #[test]
    fn a_dispute_is_of_the_customer_of_its_charge() {
        let expanded = dispute(&json!({ "id": "ch_1", "object": "charge", "customer": "cus_1" }));
        assert_eq!(expanded.charge.as_deref(), Some("ch_1"));
        assert_eq!(expanded.customer.as_deref(), Some("cus_1"));
        assert_eq!(expanded.evidence_due_by, Some(1_769_860_800));
        let guest = dispute(&json!({ "id": "ch_1", "object": "charge", "customer": null }));
        assert_eq!(guest.customer, None);
        assert_eq!(dispute(&json!("ch_1")).charge.as_deref(), Some("ch_1"));
    }
}
