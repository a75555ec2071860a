//! `meterline import`: usage from elsewhere, once, and events that the audit log has
//! lost. What Stripe has already is noted and never sent; the rest goes the way of an
//! emission.
//!
//! | module | does |
//! | --- | --- |
//! | [`source`] | reads rows from a file, one after the other |
//! | [`row`] | makes usage events of them |
//! | [`report`] | what is said |
//! | `billed`, `periods` | find what counts, and the period, of what Stripe has already |
//! | `refusal` | says why a row is not recorded |

mod billed;
mod periods;
mod refusal;
pub mod report;
pub mod row;
pub mod source;

use std::collections::HashSet;
use std::sync::Arc;

use billing::{Catalog, Clock, ContentHash, HeldReason, Identifier, Repeat, UsageStatus};
use ledger::{Ledger, LedgerError, Recorded, UsageEventRow};
use metering::delivery::{BATCH_EVENTS_MAX, SEND_BUDGET_MS};
use metering::{
    Billed, CatalogCache, CustomerDirectory, CustomerError, Delivered, Deliverer, Kept,
    KnownCustomer, NewUsage, PeriodUnknown, Sending, attempt_token, in_order, keep_billable,
};
use stripe::UsageApi;

use periods::Periods;
use refusal::Refusal;
pub use report::{ImportReport, Issue, Outcome};
pub use row::{ImportRow, InStripe, InvalidSourceName, Origin, SourceName};
pub use source::{Format, Source, SourceError, SourceRow};

/// Calls to the tables under way at once.
const TABLE_CALLS_IN_FLIGHT: usize = 16;

/// Why an import stopped. What was recorded stays so; run again, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A customer could not be looked up.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe did not tell whether a period still takes usage.
    #[error(transparent)]
    PeriodUnknown(#[from] PeriodUnknown),
    /// Stripe did not tell a customer's periods.
    #[error("Stripe could not be asked for a customer's invoices: {0}")]
    Periods(#[source] stripe::Error),
}

/// Records and delivers what comes from elsewhere.
pub struct Importer {
    ledger: Ledger,
    customers: CustomerDirectory,
    catalog: CatalogCache,
    periods: Periods,
    deliverer: Deliverer,
    usage_api: UsageApi,
    clock: Arc<dyn Clock>,
    origin: Origin,
    is_dry_run: bool,
}

/// What is to be done with a row.
enum Plan {
    /// It is not recorded.
    Leave(Outcome, String),
    /// It is recorded, and sent if it is pending then.
    Record {
        row: Box<UsageEventRow>,
        customer: KnownCustomer,
        outcome: Outcome,
    },
}

/// A row of the file, and what came of it.
struct Done {
    number: i64,
    units: u64,
    outcome: Outcome,
    reason: String,
    /// What is to be sent for it.
    to_send: Option<Box<UsageEventRow>>,
}

impl Importer {
    /// Imports into `ledger` and `stripe` what comes from `origin`; with
    /// `is_dry_run` only says what it would do.
    pub fn new(
        ledger: Ledger,
        stripe: stripe::Client,
        clock: Arc<dyn Clock>,
        origin: Origin,
        is_dry_run: bool,
    ) -> Self {
        let customers = CustomerDirectory::new(ledger.clone(), stripe.clone(), Arc::clone(&clock));
        Self {
            customers,
            catalog: CatalogCache::new(ledger.clone(), Arc::clone(&clock)),
            deliverer: Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            usage_api: stripe.usage_api(),
            periods: Periods::new(stripe),
            ledger,
            clock,
            origin,
            is_dry_run,
        }
    }

    /// Imports all rows of `file`. `report` holds what came of them, those
    /// before an error too; `on_batch` sees it after every hundred.
    ///
    /// # Errors
    /// An [`ImportError`]. Bad rows are none: they are counted.
    pub async fn import(
        &mut self,
        file: &mut Source,
        report: &mut ImportReport,
        mut on_batch: impl FnMut(&ImportReport),
    ) -> Result<(), ImportError> {
        loop {
            let mut rows = Vec::with_capacity(BATCH_EVENTS_MAX);
            while rows.len() < BATCH_EVENTS_MAX {
                match file.next_row()? {
                    Some(row) => rows.push(row),
                    None => break,
                }
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.import_batch(rows, report).await?;
            on_batch(report);
        }
    }

    async fn import_batch(
        &mut self,
        rows: Vec<SourceRow>,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let mut plans = Vec::with_capacity(rows.len());
        for SourceRow { number, fields } in rows {
            let fields = fields.map_err(|reason| format!("the row {reason}"));
            let row = fields.and_then(|fields| {
                ImportRow::read(&self.origin, number, &fields).map_err(|error| error.to_string())
            });
            let (units, plan) = match row {
                Ok(row) => (row.event.quantity.get(), self.plan(&row).await?),
                Err(reason) => (0, Plan::Leave(Outcome::Invalid, reason)),
            };
            plans.push((number, units, plan));
        }
        let recorded = plans
            .into_iter()
            .map(|(number, units, plan)| self.carry_out(number, units, plan));
        let recorded = in_order(recorded.collect(), TABLE_CALLS_IN_FLIGHT).await;
        let mut done = recorded.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.deliver(&mut done).await;
        for row in done {
            report.count(row.number, row.units, row.outcome, row.reason);
        }
        Ok(())
    }

    async fn plan(&mut self, row: &ImportRow) -> Result<Plan, ImportError> {
        let event = &row.event;
        let Some(customer) = self.customers.customer(&event.customer_id).await? else {
            let reason = format!("there is no customer {}", event.customer_id);
            return Ok(Plan::Leave(Outcome::UnknownCustomer, reason));
        };
        let catalog = self.catalog.current().await?;
        let catalog = catalog.as_deref();
        if let Some(in_stripe) = &row.in_stripe {
            return self.plan_noting(row, in_stripe, customer, catalog).await;
        }
        let usage = NewUsage {
            event,
            occurred_at: row.occurred_at,
            customer: &customer,
            catalog,
            usage_api: self.usage_api,
        };
        let to_record = match usage.row(&self.customers, self.clock.now()).await {
            Ok(to_record) => to_record,
            Err(reason) => return self.refuse(row, Refusal::of(event, reason)?).await,
        };
        let outcome = match to_record.status {
            UsageStatus::Held => Outcome::Held,
            _ => Outcome::ToSend,
        };
        Ok(Plan::Record {
            row: Box::new(to_record),
            customer,
            outcome,
        })
    }

    /// What becomes of a row that Stripe has already.
    async fn plan_noting(
        &mut self,
        row: &ImportRow,
        in_stripe: &InStripe,
        customer: KnownCustomer,
        catalog: Option<&Catalog>,
    ) -> Result<Plan, ImportError> {
        let Billed {
            meter_event_name, ..
        } = match billed::already(row, &customer, catalog) {
            Ok(billed) => billed,
            Err(reason) => return self.refuse(row, Refusal::of(&row.event, reason)?).await,
        };
        let at = row.occurred_at;
        let period_start = self.periods.start_of(&customer.row, at).await;
        let times = (at, period_start.map_err(ImportError::Periods)?);
        let to_record = UsageEventRow::already_delivered(
            &row.event,
            times,
            in_stripe.stripe_record_id.as_deref(),
            meter_event_name,
            attempt_token(),
            self.clock.now(),
        );
        Ok(Plan::Record {
            row: Box::new(to_record),
            customer,
            outcome: Outcome::AlreadyInStripe,
        })
    }

    /// What was recorded once is a repeat, however late: the checks are for
    /// what is new.
    async fn refuse(&self, row: &ImportRow, refusal: Refusal) -> Result<Plan, ImportError> {
        let identifier = Identifier::of(&row.event.customer_id, &row.event.event_id);
        let known = self.ledger.usage_event(&identifier).await?;
        Ok(match known {
            Some(known) => {
                let (outcome, reason) = repeated(&known, &ContentHash::of(&row.event));
                Plan::Leave(outcome, reason)
            }
            None => Plan::Leave(refusal.outcome, refusal.reason),
        })
    }

    async fn carry_out(&self, number: i64, units: u64, plan: Plan) -> Result<Done, ImportError> {
        let done = |outcome, reason| Done {
            number,
            units,
            outcome,
            reason,
            to_send: None,
        };
        let (row, customer, outcome) = match plan {
            Plan::Leave(outcome, reason) => return Ok(done(outcome, reason)),
            Plan::Record {
                row,
                customer,
                outcome,
            } => (row, customer, outcome),
        };
        if self.is_dry_run {
            let known = self.ledger.usage_event(&row.identifier).await?;
            return Ok(match known {
                Some(known) => {
                    let (outcome, reason) = repeated(&known, &row.content_hash);
                    done(outcome, reason)
                }
                None => done(outcome, outcome_reason(&row)),
            });
        }
        let now = self.clock.now();
        let recorded = self
            .ledger
            .record_usage_event(&row, now, SEND_BUDGET_MS)
            .await?;
        match recorded {
            Recorded::New => Ok(Done {
                to_send: (row.status == UsageStatus::Pending).then(|| row.clone()),
                ..done(outcome, outcome_reason(&row))
            }),
            Recorded::Repeat(Repeat::TakeOver, known) => {
                // An import that was cut off left it.
                let kept = keep_billable(&self.customers, known, &customer, now).await?;
                Ok(match kept {
                    Kept::Billable(known) => Done {
                        to_send: Some(known),
                        ..done(Outcome::Duplicate, String::new())
                    },
                    Kept::Waits | Kept::Settled(_) => done(Outcome::Duplicate, String::new()),
                })
            }
            Recorded::Repeat(_, known) => {
                let (outcome, reason) = repeated(&known, &row.content_hash);
                Ok(done(outcome, reason))
            }
        }
    }

    /// Sends what is to be sent, each event once, in one request to Stripe.
    async fn deliver(&self, done: &mut [Done]) {
        let mut seen = HashSet::new();
        let mut rows: Vec<(UsageEventRow, bool)> = Vec::new();
        let mut places = Vec::new();
        for (place, done) in done.iter_mut().enumerate() {
            if let Some(row) = done.to_send.take()
                && seen.insert(row.identifier.clone())
            {
                rows.push((*row, done.outcome == Outcome::ToSend));
                places.push(place);
            }
        }
        if rows.is_empty() {
            return;
        }
        let sendings = rows.iter().map(|(row, is_new)| match is_new {
            true => Sending::first(row),
            false => Sending::again(row),
        });
        let sendings: Vec<Sending<'_>> = sendings.collect();
        let delivered = self.deliverer.send(&sendings).await;
        for (place, delivery) in places.into_iter().zip(delivered.each) {
            let Some(done) = done.get_mut(place) else {
                continue;
            };
            if done.outcome == Outcome::ToSend {
                (done.outcome, done.reason) = outcome_of(delivery.outcome);
            }
        }
    }
}

/// What the log makes of a row that it knows.
fn repeated(known: &UsageEventRow, content_hash: &ContentHash) -> (Outcome, String) {
    if known.content_hash == *content_hash {
        (Outcome::Duplicate, String::new())
    } else {
        let reason = "is recorded with other content: it is left as it was";
        (Outcome::Conflict, reason.to_owned())
    }
}

fn outcome_of(delivered: Delivered) -> (Outcome, String) {
    match delivered {
        Delivered::Delivered | Delivered::Settled(UsageStatus::Delivered) => {
            (Outcome::Delivered, String::new())
        }
        Delivered::Pending | Delivered::Settled(UsageStatus::Pending) => {
            (Outcome::Pending, String::new())
        }
        Delivered::Rejected { stripe_code } => (
            Outcome::Rejected,
            format!("Stripe refused it: {stripe_code}"),
        ),
        Delivered::Quarantined | Delivered::Settled(UsageStatus::Quarantined) => {
            let reason = "Stripe perhaps has it: `meterline reconcile` finds out";
            (Outcome::Quarantined, reason.to_owned())
        }
        Delivered::Settled(UsageStatus::Held) => (Outcome::Held, "is held".to_owned()),
        Delivered::Settled(status) => (Outcome::Rejected, format!("is {status}")),
    }
}

/// Why a row that is recorded is not billed, where it is not.
fn outcome_reason(row: &UsageEventRow) -> String {
    match row.held_reason {
        Some(HeldReason::NoSubscriptionItem) => format!(
            "is held: the customer has no subscription item of the meter {}; `meterline catalog \
             subscribe` adds it, then `meterline redrive --status held` sends this",
            row.meter_event_name
        ),
        Some(reason) => format!(
            "is held, {}: it lies in no billable period",
            reason.as_str()
        ),
        None => String::new(),
    }
}
