//! The three steps of an emission: record, deliver, note. One event and a batch
//! of them go the same way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use billing::{
    Catalog, Clock, ContentHash, CustomerId, HeldReason, Identifier, Repeat, ReservationId,
    Timestamp, UsageEvent, UsageStatus,
};
use ledger::{CustomerStatus, Ledger, Recorded, ReservationOutcome, UsageEventRow};
use metering::delivery::SEND_BUDGET_MS;
use metering::{
    CatalogCache, CustomerDirectory, Delivered, Deliverer, Delivery, Kept, KnownCustomer, NewUsage,
    Sending, in_order, keep_billable,
};
use serde::Serialize;
use stripe::UsageApi;
use utoipa::ToSchema;
use web::Problem;
use web::openapi::schema;

use crate::problems;
use crate::request::Emission;
use crate::settling::record_settling;

/// Reads and writes of the tables under way at once, for one request.
const TABLE_CALLS_IN_FLIGHT: usize = 16;

/// What became of an event that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Emitted {
    /// The agent's id of the event.
    #[schema(schema_with = schema::event_id)]
    pub event_id: String,
    /// `delivered`; or where it waits: `pending`, `quarantined`, `held`.
    #[schema(schema_with = crate::openapi::emitted_status)]
    pub status: UsageStatus,
    /// Whether an earlier call had recorded it.
    pub duplicate: bool,
    /// The units recorded.
    #[schema(schema_with = schema::quantity)]
    pub quantity: u64,
    /// Stripe's id of the usage, where the way into Stripe gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stripe_record_id: Option<String>,
    /// Whether the customer may go on acting.
    #[schema(schema_with = schema::customer_status)]
    pub customer_status: CustomerStatus,
    /// Whether the event settled the reservation that it named, or why not. It is
    /// recorded in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = crate::openapi::reservation_outcome)]
    pub reservation: Option<ReservationOutcome>,
    /// Why it is held, where it is: for the metrics.
    #[serde(skip)]
    pub held_reason: Option<HeldReason>,
    /// Where this call delivered it: how long after it was first recorded.
    #[serde(skip)]
    pub delivery_lag_ms: Option<i64>,
}

/// Records usage and delivers it.
pub struct Emitter {
    pub(crate) ledger: Ledger,
    pub(crate) customers: CustomerDirectory,
    pub(crate) catalog: CatalogCache,
    deliverer: Deliverer,
    usage_api: UsageApi,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Where an event stands between recording and delivery.
enum Stage {
    /// Nothing is to be sent.
    Settled(Result<Emitted, Problem>),
    /// Pending, for this call to send.
    ToSend(Box<Recording>),
}

/// An event in the audit log, and what its answer needs besides.
struct Recording {
    row: UsageEventRow,
    duplicate: bool,
    customer_status: CustomerStatus,
    delivery_lag_ms: Option<i64>,
}

/// A customer, or none, or why that is not known.
type Found = Result<Option<KnownCustomer>, Problem>;

/// What a request's events are recorded by, looked up once.
struct Known {
    customers: HashMap<CustomerId, Found>,
    catalog: Result<Option<Arc<Catalog>>, Problem>,
}

impl Emitter {
    /// Records into `ledger` and delivers to `stripe`, by the API that it is
    /// configured for.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            usage_api: stripe.usage_api(),
            deliverer: Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            customers: CustomerDirectory::new(ledger.clone(), stripe, Arc::clone(&clock)),
            catalog: CatalogCache::new(ledger.clone(), Arc::clone(&clock)),
            ledger,
            clock,
        }
    }

    /// Emits `events`, up to [`metering::delivery::BATCH_EVENTS_MAX`] with one
    /// request to Stripe. Answers one outcome for each, in order: what is
    /// durable, or the problem that kept it from being so, or from being billed.
    pub async fn emit(&self, emissions: &[Emission]) -> Vec<Result<Emitted, Problem>> {
        let known = self.look_up(emissions).await;
        // Of several events with one id the first is emitted, and the others are
        // what they would be in a later call: repeats, or conflicts.
        let mut seen = HashSet::new();
        let is_first: Vec<bool> = emissions
            .iter()
            .map(|emission| seen.insert(identifier(&emission.event)))
            .collect();
        let pass = |first: bool| {
            let chosen = emissions.iter().zip(&is_first);
            let chosen = chosen.filter(move |(_, is_first)| **is_first == first);
            chosen.map(|(emission, _)| emission).collect::<Vec<_>>()
        };
        let stages = self.record_all(pass(true), &known).await;
        let mut firsts = self.deliver(stages).await.into_iter();
        let stages = self.record_all(pass(false), &known).await;
        let mut others = stages.into_iter().map(Stage::unsent);
        is_first
            .into_iter()
            .filter_map(|is_first| {
                if is_first {
                    firsts.next()
                } else {
                    others.next()
                }
            })
            .collect()
    }

    async fn look_up(&self, emissions: &[Emission]) -> Known {
        let customer_ids = emissions.iter().map(|it| &it.event.customer_id);
        let customer_ids: HashSet<&CustomerId> = customer_ids.collect();
        let found = customer_ids.into_iter().map(|id| self.look_up_one(id));
        let found = in_order(found.collect(), TABLE_CALLS_IN_FLIGHT);
        let (found, catalog) = tokio::join!(found, self.catalog.current());
        Known {
            customers: found.into_iter().collect(),
            catalog: catalog.map_err(Problem::from),
        }
    }

    async fn look_up_one(&self, customer_id: &CustomerId) -> (CustomerId, Found) {
        let found = self.customers.customer(customer_id).await;
        (
            customer_id.clone(),
            found.map_err(problems::customer_problem),
        )
    }

    async fn record_all(&self, emissions: Vec<&Emission>, known: &Known) -> Vec<Stage> {
        let recorded = emissions.into_iter().map(|it| self.record(it, known));
        in_order(recorded.collect(), TABLE_CALLS_IN_FLIGHT).await
    }

    async fn record(&self, emission: &Emission, known: &Known) -> Stage {
        let event = &emission.event;
        let recorded = match (known.customers.get(&event.customer_id), &known.catalog) {
            (Some(Ok(Some(customer))), Ok(catalog)) => {
                let usage = NewUsage {
                    event,
                    occurred_at: event.occurred_at.unwrap_or(customer.now),
                    customer,
                    catalog: catalog.as_deref(),
                    usage_api: self.usage_api,
                };
                let reservation_id = emission.reservation_id.as_ref();
                self.record_new(usage, reservation_id).await
            }
            (Some(Ok(Some(_))), Err(problem)) | (Some(Err(problem)), _) => Err(problem.clone()),
            (Some(Ok(None)) | None, _) => Err(problems::customer_not_found(&event.customer_id)),
        };
        recorded.unwrap_or_else(|problem| Stage::Settled(Err(problem)))
    }

    async fn record_new(
        &self,
        usage: NewUsage<'_>,
        reservation_id: Option<&ReservationId>,
    ) -> Result<Stage, Problem> {
        let customer = usage.customer;
        let now = self.clock.now();
        let mut row = match usage.row(&self.customers, now).await {
            Ok(row) => row,
            Err(reason) => {
                let refusal = problems::not_recorded(reason);
                return self.refused(usage.event, customer, refusal).await;
            }
        };
        let recorded = match reservation_id {
            Some(reservation_id) => {
                record_settling(&self.ledger, &mut row, reservation_id, now).await?
            }
            None => {
                self.ledger
                    .record_usage_event(&row, now, SEND_BUDGET_MS)
                    .await?
            }
        };
        match recorded {
            Recorded::New => Ok(Stage::recorded(row, customer.status())),
            Recorded::Repeat(repeat, known) => self.repeat(repeat, known, customer).await,
        }
    }

    /// What was recorded once is answered as a repeat, however late: `refusal` is
    /// for what is new.
    async fn refused(
        &self,
        event: &UsageEvent,
        customer: &KnownCustomer,
        refusal: Problem,
    ) -> Result<Stage, Problem> {
        let (identifier, content_hash) = (identifier(event), ContentHash::of(event));
        let known = self
            .ledger
            .repeat_of_usage_event(&identifier, &content_hash, self.clock.now(), SEND_BUDGET_MS)
            .await?;
        match known {
            Some((repeat, row)) => self.repeat(repeat, row, customer).await,
            None => Err(refusal),
        }
    }

    async fn repeat(
        &self,
        repeat: Repeat,
        row: Box<UsageEventRow>,
        customer: &KnownCustomer,
    ) -> Result<Stage, Problem> {
        if repeat == Repeat::Quarantine && row.status == UsageStatus::Quarantined {
            tracing::error!(
                identifier = %row.identifier,
                customer_id = %row.customer_id,
                "usage is quarantined: its send window is over"
            );
        }
        let recording = |row: UsageEventRow| Recording {
            row,
            duplicate: true,
            customer_status: customer.status(),
            delivery_lag_ms: None,
        };
        match repeat {
            Repeat::Conflict => Err(problems::conflict()),
            Repeat::TakeOver => {
                let mut known = recording((*row).clone());
                let now = self.clock.now();
                match keep_billable(&self.customers, row, customer, now).await? {
                    Kept::Billable(row) => Ok(Stage::ToSend(Box::new(recording(*row)))),
                    // It stays pending, and is redelivery's.
                    Kept::Waits => Ok(Stage::Settled(known.settled())),
                    Kept::Settled(status) => {
                        known.row.status = status;
                        Ok(Stage::Settled(known.settled()))
                    }
                }
            }
            // The row says where it stands.
            Repeat::Quarantine
            | Repeat::Duplicate
            | Repeat::StillRejected
            | Repeat::StillUndelivered
            | Repeat::Voided => Ok(Stage::Settled(recording(*row).settled())),
        }
    }

    async fn deliver(&self, stages: Vec<Stage>) -> Vec<Result<Emitted, Problem>> {
        let sendings: Vec<Sending<'_>> = stages.iter().filter_map(Stage::to_send).collect();
        let mut delivered = self.deliverer.send(&sendings).await.each.into_iter();
        let now = self.clock.now();
        stages
            .into_iter()
            .map(|stage| match stage {
                Stage::Settled(outcome) => outcome,
                Stage::ToSend(recording) => match delivered.next() {
                    Some(delivery) => recording.outcome(delivery, now),
                    None => recording.settled(),
                },
            })
            .collect()
    }
}

impl Stage {
    fn recorded(row: UsageEventRow, customer_status: CustomerStatus) -> Self {
        let recording = Recording {
            duplicate: false,
            customer_status,
            delivery_lag_ms: None,
            row,
        };
        if recording.row.status == UsageStatus::Pending {
            return Self::ToSend(Box::new(recording));
        }
        tracing::warn!(
            identifier = %recording.row.identifier,
            customer_id = %recording.row.customer_id,
            held_reason = ?recording.row.held_reason,
            "usage is held: nothing bills it"
        );
        Self::Settled(recording.settled())
    }

    fn to_send(&self) -> Option<Sending<'_>> {
        match self {
            Self::ToSend(recording) if recording.duplicate => Some(Sending::again(&recording.row)),
            Self::ToSend(recording) => Some(Sending::first(&recording.row)),
            Self::Settled(_) => None,
        }
    }

    /// The outcome of what is left to redelivery.
    fn unsent(self) -> Result<Emitted, Problem> {
        match self {
            Self::Settled(outcome) => outcome,
            Self::ToSend(recording) => recording.settled(),
        }
    }
}

impl Recording {
    fn outcome(mut self, delivery: Delivery, now: Timestamp) -> Result<Emitted, Problem> {
        self.row.stripe_record_id = delivery.stripe_record_id.or(self.row.stripe_record_id);
        self.row.status = match delivery.outcome {
            Delivered::Delivered => {
                self.delivery_lag_ms = Some(now.ms_since(self.row.pending_since));
                UsageStatus::Delivered
            }
            Delivered::Pending => UsageStatus::Pending,
            Delivered::Quarantined => UsageStatus::Quarantined,
            Delivered::Settled(status) => status,
            Delivered::Rejected { stripe_code } => {
                self.row.stripe_code = Some(stripe_code);
                UsageStatus::Rejected
            }
        };
        self.settled()
    }

    /// The outcome by the row's status.
    fn settled(self) -> Result<Emitted, Problem> {
        match self.row.status {
            UsageStatus::Rejected => Err(problems::rejected(self.row.stripe_code.as_deref())),
            UsageStatus::Voiding | UsageStatus::Voided => Err(problems::voided()),
            status @ (UsageStatus::Pending
            | UsageStatus::Delivered
            | UsageStatus::Quarantined
            | UsageStatus::Held) => Ok(Emitted {
                event_id: self.row.event_id.as_str().to_owned(),
                status,
                duplicate: self.duplicate,
                quantity: self.row.quantity,
                stripe_record_id: self.row.stripe_record_id,
                customer_status: self.customer_status,
                reservation: self.row.reservation.map(|it| it.outcome),
                held_reason: self.row.held_reason,
                delivery_lag_ms: self.delivery_lag_ms,
            }),
        }
    }
}

/// The key of the audit log for `event`.
fn identifier(event: &UsageEvent) -> Identifier {
    Identifier::of(&event.customer_id, &event.event_id)
}
