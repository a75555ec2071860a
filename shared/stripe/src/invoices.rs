//! Invoices (Stripe API reference: Invoices).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::invoice_lines::InvoiceLine;
use crate::list::{List, listed};
use crate::object::{Metadata, optional_id, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/invoices";

/// What a customer owes for a period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Invoice {
    /// `in_…`; `upcoming_in_…`, or empty, for a preview.
    pub id: String,
    /// What people call it; none until it is final.
    pub number: Option<String>,
    /// Whose it is, `cus_…`.
    pub customer: Option<String>,
    /// `draft`, `open`, `paid`, `uncollectible` or `void`.
    pub status: Option<String>,
    /// Why it was made, such as `subscription_cycle`.
    pub billing_reason: Option<String>,
    /// Three lower-case letters.
    pub currency: String,
    /// What is to be paid, in minor units.
    pub amount_due: i64,
    /// What was paid, in minor units.
    pub amount_paid: i64,
    /// What is still to be paid, in minor units.
    pub amount_remaining: i64,
    /// What its lines come to, in minor units.
    pub total: i64,
    /// The first lines; [`Client::list_invoice_lines`] has them all.
    pub lines: List<InvoiceLine>,
    /// Unix seconds. Of the invoice, not of the usage on it: see the lines.
    pub period_start: i64,
    /// Unix seconds.
    pub period_end: i64,
    /// Unix seconds.
    pub created: i64,
    /// When Stripe will make a draft final, in unix seconds; none where that is
    /// left to somebody, and for what is none.
    pub automatically_finalizes_at: Option<i64>,
    /// When it became what.
    pub status_transitions: InvoiceStatusTransitions,
    /// How often its payment was attempted.
    pub attempt_count: u64,
    /// When its payment will be attempted again, in unix seconds.
    pub next_payment_attempt: Option<i64>,
    /// Where the customer can look at it and pay.
    pub hosted_invoice_url: Option<String>,
    /// Where it can be downloaded.
    pub invoice_pdf: Option<String>,
    /// The subscription that it bills, `sub_…`
    /// (`parent.subscription_details.subscription`).
    pub subscription: Option<String>,
    /// Your own keys on that subscription, as they were when the invoice was
    /// made (`parent.subscription_details.metadata`).
    pub subscription_metadata: Metadata,
    /// Your own keys.
    pub metadata: Metadata,
    /// Whether it bills in live mode.
    pub livemode: bool,
}

/// When an invoice became what, in unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct InvoiceStatusTransitions {
    /// Final: nothing is added to it any more.
    pub finalized_at: Option<i64>,
    /// Given up.
    pub marked_uncollectible_at: Option<i64>,
    /// Paid.
    pub paid_at: Option<i64>,
    /// Void.
    pub voided_at: Option<i64>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    number: Option<String>,
    #[serde(default, deserialize_with = "optional_id")]
    customer: Option<String>,
    status: Option<String>,
    billing_reason: Option<String>,
    currency: String,
    amount_due: i64,
    amount_paid: i64,
    amount_remaining: i64,
    total: i64,
    #[serde(default, deserialize_with = "or_default")]
    lines: List<InvoiceLine>,
    period_start: i64,
    period_end: i64,
    created: i64,
    automatically_finalizes_at: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    status_transitions: InvoiceStatusTransitions,
    #[serde(default, deserialize_with = "or_default")]
    attempt_count: u64,
    next_payment_attempt: Option<i64>,
    hosted_invoice_url: Option<String>,
    invoice_pdf: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    parent: Parent,
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    livemode: bool,
}

#[derive(Default, Deserialize)]
struct Parent {
    #[serde(default, deserialize_with = "or_default")]
    subscription_details: SubscriptionDetails,
}

#[derive(Default, Deserialize)]
struct SubscriptionDetails {
    #[serde(default, deserialize_with = "optional_id")]
    subscription: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
}

impl From<Wire> for Invoice {
    fn from(wire: Wire) -> Self {
        let details = wire.parent.subscription_details;
        Self {
            id: wire.id,
            number: wire.number,
            customer: wire.customer,
            status: wire.status,
            billing_reason: wire.billing_reason,
            currency: wire.currency,
            amount_due: wire.amount_due,
            amount_paid: wire.amount_paid,
            amount_remaining: wire.amount_remaining,
            total: wire.total,
            lines: wire.lines,
            period_start: wire.period_start,
            period_end: wire.period_end,
            created: wire.created,
            automatically_finalizes_at: wire.automatically_finalizes_at,
            status_transitions: wire.status_transitions,
            attempt_count: wire.attempt_count,
            next_payment_attempt: wire.next_payment_attempt,
            hosted_invoice_url: wire.hosted_invoice_url,
            invoice_pdf: wire.invoice_pdf,
            subscription: details.subscription,
            subscription_metadata: details.metadata,
            metadata: wire.metadata,
            livemode: wire.livemode,
        }
    }
}

listed!(Invoice);

impl Client {
    /// The invoice `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_invoice(&self, id: &str) -> Result<Invoice, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// The customer's latest invoices, 1 to 100 of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_invoices(
        &self,
        customer_id: &str,
        limit: u32,
    ) -> Result<List<Invoice>, Error> {
        let query = Form::new()
            .with("customer", customer_id)
            .with("limit", limit);
        self.read(Request::get(PATH, &query)).await
    }

    /// All open invoices of the subscription: final, and neither paid nor given up.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_open_invoices(&self, subscription_id: &str) -> Result<List<Invoice>, Error> {
        let query = Form::new()
            .with("subscription", subscription_id)
            .with("status", "open");
        self.list_all(PATH, &query).await
    }

    /// Invoices of the subscription, the newest first, up to the page that holds one
    /// that `is_last`, else all.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_subscription_invoices_until(
        &self,
        subscription_id: &str,
        is_last: impl Fn(&Invoice) -> bool,
    ) -> Result<List<Invoice>, Error> {
        let query = Form::new().with("subscription", subscription_id);
        self.list_until(PATH, &query, None, is_last).await
    }

    /// All invoices of the customer, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_all_invoices(&self, customer_id: &str) -> Result<List<Invoice>, Error> {
        self.list_all(PATH, &Form::new().with("customer", customer_id))
            .await
    }

    /// The invoice that the current period would end with, as far as Stripe
    /// has aggregated its usage (Stripe API reference: Create a preview invoice).
    ///
    /// # Errors
    /// [`Error`]; the code is `invoice_upcoming_none` where the subscription has ended.
    pub async fn create_invoice_preview(
        &self,
        customer_id: &str,
        subscription_id: &str,
    ) -> Result<Invoice, Error> {
        let form = Form::new()
            .with("customer", customer_id)
            .with("subscription", subscription_id);
        self.read(Request::post("/v1/invoices/create_preview", form))
            .await
    }

    /// Pays the invoice now, by the customer's default payment method.
    ///
    /// # Errors
    /// [`Error`]; `is_card_error` where the payment fails.
    pub async fn pay_invoice(&self, id: &str, options: &RequestOptions) -> Result<Invoice, Error> {
        let path = format!("{PATH}/{}/pay", segment(id)?);
        self.call(Request::post(path, Form::new()), options).await
    }
}
