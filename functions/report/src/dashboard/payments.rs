//! `GET /dashboard/invoices`: the upcoming invoice and the latest ones, from Stripe. They
//! come apart from the usage, which must not wait for Stripe.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use billing::{CustomerId, Memory, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::{not_onboarded, of_error};
use crate::entity_tag::EntityTag;
use crate::invoices::{InvoiceAnswer, LIMIT_DEFAULT};

/// For how long Stripe's answers are believed, unless the customer's row changes: a
/// webhook about an invoice changes it.
const FRESH_MS: i64 = 60_000;
/// For how long a failure is: Stripe is not asked by everybody in turn.
const FAILURE_FRESH_MS: i64 = 5_000;
/// Customers whose invoices are kept at once.
const CUSTOMERS_MAX: usize = 1_000;

/// What Stripe has of a customer's payments.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardInvoices)]
pub(crate) struct Payments {
    /// The invoice of the current period as Stripe would bill now; null where none is to
    /// come.
    #[schema(required)]
    pub(crate) upcoming: Option<InvoiceAnswer>,
    /// The latest invoices, the newest first.
    pub(crate) invoices: Vec<InvoiceAnswer>,
}

/// The same, ready to be sent.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) payments: Arc<Payments>,
    pub(crate) body: Bytes,
    pub(crate) tag: EntityTag,
}

#[derive(Clone)]
struct Shelved {
    listed: Result<Listed, Problem>,
    row_version: u64,
}

/// The invoices of customers whose dashboards are open.
pub(crate) struct InvoiceShelf(Mutex<Memory<CustomerId, Shelved>>);

impl Default for InvoiceShelf {
    fn default() -> Self {
        Self(Mutex::new(Memory::of(CUSTOMERS_MAX)))
    }
}

impl InvoiceShelf {
    fn recall(
        &self,
        customer_id: &CustomerId,
        row_version: u64,
        now: Timestamp,
    ) -> Option<Result<Listed, Problem>> {
        let shelved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shelved.get(customer_id, now)?;
        (found.row_version == row_version).then(|| found.listed.clone())
    }

    fn put(&self, customer_id: &CustomerId, put: Shelved, until: Timestamp, now: Timestamp) {
        let mut shelved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelved.put(customer_id.clone(), put, until, now);
    }
}

impl Parts {
    /// The upcoming invoice and the latest ones, up to a minute old.
    pub(crate) async fn payments(&self, customer_id: &CustomerId) -> Result<Listed, Problem> {
        let customer = self.directory.customer(customer_id).await;
        let customer = customer.map_err(of_error)?.ok_or_else(not_onboarded)?;
        let (row_version, now) = (customer.row.version, self.clock.now());
        if let Some(listed) = self.invoices.recall(customer_id, row_version, now) {
            return listed;
        }
        let (upcoming, invoices) = tokio::join!(
            self.upcoming_invoice(&customer.row),
            self.latest_invoices(customer_id)
        );
        let listed = match (upcoming, invoices) {
            (Ok(upcoming), Ok(invoices)) => Listed::new(Payments { upcoming, invoices }),
            (Err(problem), _) | (_, Err(problem)) => Err(problem),
        };
        let fresh_ms = if listed.is_ok() {
            FRESH_MS
        } else {
            FAILURE_FRESH_MS
        };
        let shelved = Shelved {
            listed: listed.clone(),
            row_version,
        };
        let until = now.plus_ms(fresh_ms);
        self.invoices.put(customer_id, shelved, until, now);
        listed
    }

    async fn latest_invoices(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Vec<InvoiceAnswer>, Problem> {
        let customer_id = customer_id.as_str();
        let invoices = self.stripe.list_invoices(customer_id, LIMIT_DEFAULT).await;
        let invoices = invoices.map_err(|error| Problem::from_stripe("list invoices", &error))?;
        invoices.iter().map(InvoiceAnswer::of).collect()
    }
}

impl Listed {
    fn new(payments: Payments) -> Result<Self, Problem> {
        let body = serde_json::to_vec(&payments).map_err(|error| {
            tracing::error!(%error, "invoices cannot be written as JSON");
            Problem::new(ProblemType::Internal, "the invoices cannot be written")
        })?;
        Ok(Self {
            tag: EntityTag::of(&body),
            body: body.into(),
            payments: Arc::new(payments),
        })
    }
}
