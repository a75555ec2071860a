//! Lines of invoices (Stripe API reference: Invoice Line Items).

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{optional_id, or_default};
use crate::request::segment;

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Line")]
pub struct InvoiceLine {
    /// `il_…`.
    pub id: String,
    /// In minor units, rounded.
    pub amount: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// What the invoice says.
    pub description: Option<String>,
    /// Units.
    pub quantity: Option<i64>,
    /// From when to when.
    pub period: Period,
    /// The price, `price_…`.
    pub price: Option<String>,
    /// What the price is for, `prod_…`.
    pub product: Option<String>,
    /// Per unit, in minor units, with up to 12 decimals.
    pub unit_amount_decimal: Option<String>,
    /// The subscription that it bills, `sub_…`.
    pub subscription: Option<String>,
    /// The subscription's item, `si_…`; none where an invoice item stands for
    /// it, as for the usage of an item that was removed (Stripe documentation:
    /// "Flexible billing mode").
    pub subscription_item: Option<String>,
}

/// From a moment up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Period {
    /// Unix seconds.
    pub start: i64,
    /// Unix seconds, past the last one.
    pub end: i64,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    amount: i64,
    currency: String,
    description: Option<String>,
    quantity: Option<i64>,
    period: Period,
    #[serde(default, deserialize_with = "or_default")]
    pricing: Pricing,
    #[serde(default, deserialize_with = "or_default")]
    parent: Parent,
}

#[derive(Default, Deserialize)]
struct Pricing {
    #[serde(default, deserialize_with = "or_default")]
    price_details: PriceDetails,
    unit_amount_decimal: Option<String>,
}

#[derive(Default, Deserialize)]
struct PriceDetails {
    #[serde(default, deserialize_with = "optional_id")]
    price: Option<String>,
    #[serde(default, deserialize_with = "optional_id")]
    product: Option<String>,
}

#[derive(Default, Deserialize)]
struct Parent {
    #[serde(default, deserialize_with = "or_default")]
    subscription_item_details: SubscriptionItemDetails,
    #[serde(default, deserialize_with = "or_default")]
    invoice_item_details: InvoiceItemDetails,
}

#[derive(Default, Deserialize)]
struct InvoiceItemDetails {
    #[serde(default, deserialize_with = "optional_id")]
    subscription: Option<String>,
}

#[derive(Default, Deserialize)]
struct SubscriptionItemDetails {
    #[serde(default, deserialize_with = "optional_id")]
    subscription: Option<String>,
    #[serde(default, deserialize_with = "optional_id")]
    subscription_item: Option<String>,
}

impl From<Line> for InvoiceLine {
    fn from(line: Line) -> Self {
        let item = line.parent.subscription_item_details;
        let invoice_item = line.parent.invoice_item_details;
        Self {
            id: line.id,
            amount: line.amount,
            currency: line.currency,
            description: line.description,
            quantity: line.quantity,
            period: line.period,
            price: line.pricing.price_details.price,
            product: line.pricing.price_details.product,
            unit_amount_decimal: line.pricing.unit_amount_decimal,
            subscription: item.subscription.or(invoice_item.subscription),
            subscription_item: item.subscription_item,
        }
    }
}

listed!(InvoiceLine);

impl Client {
    /// All lines of an invoice. The invoice itself holds only the first ones.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_invoice_lines(&self, invoice_id: &str) -> Result<List<InvoiceLine>, Error> {
        let path = format!("/v1/invoices/{}/lines", segment(invoice_id)?);
        self.list_all(&path, &Form::new()).await
    }
}
