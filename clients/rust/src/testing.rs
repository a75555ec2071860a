//! A meter for the tests of whoever uses this crate: it keeps what it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::access::{Access, AccessQuery, Enforcement, SpendingLimit};
use crate::answer::{Problem, Recorded, Status};
use crate::checks;
use crate::emission::{Emit, sealed::Sealed};
use crate::error::{AccessError, EmitError, ReservationError};
use crate::reservation::{
    Reservation, ReservationOutcome, ReservationRequest, ReservationStatus, WireReservation,
};
use crate::usage::Usage;
use crate::wire::WireEvent;

const REACHED: &str = "the spending limit of the period is reached";
const EXCEEDED: &str = "so many units are more than what is left of the spending limit";
/// For how long units are held where nothing is said, in seconds.
const EXPIRES_IN_S: u64 = 300;

/// Records usage in memory: the same id of the same customer once, as Meterline
/// does. Failures and refusals are ordered beforehand.
///
/// One meter counts every action, a unit costs nothing, and what is held expires when
/// the test says so.
#[derive(Debug, Default)]
pub struct RecordedUsage(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    recorded: Vec<Entry>,
    errors: VecDeque<EmitError>,
    reservation_errors: VecDeque<ReservationError>,
    denial: Option<String>,
    limits: HashMap<String, Limit>,
    /// By customer and id.
    reservations: HashMap<(String, String), Held>,
}

#[derive(Debug)]
struct Entry {
    event: WireEvent,
    usage: Usage,
    reservation: Option<ReservationOutcome>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    units: u64,
    set_at: SystemTime,
}

#[derive(Clone, Debug)]
struct Held {
    wanted: WireReservation,
    status: ReservationStatus,
    expires_at: SystemTime,
}

impl RecordedUsage {
    /// A meter that has recorded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next call of `emit` fails with `error`, and records nothing.
    pub fn fail_next(&self, error: EmitError) {
        self.kept().errors.push_back(error);
    }

    /// The next call of `reserve` fails with `error`, and holds nothing.
    pub fn fail_next_reservation(&self, error: ReservationError) {
        self.kept().reservation_errors.push_back(error);
    }

    /// Nobody may act from now on, for this reason.
    pub fn deny(&self, reason: impl Into<String>) {
        self.kept().denial = Some(reason.into());
    }

    /// `customer_id` has a hard limit of so many units from now on. What happened is
    /// recorded above it, too.
    pub fn limit(&self, customer_id: impl Into<String>, units: u64) {
        let set_at = SystemTime::now();
        let limit = Limit { units, set_at };
        self.kept().limits.insert(customer_id.into(), limit);
    }

    /// The time of everything that is held for `customer_id` is over.
    pub fn expire(&self, customer_id: &str) {
        let mut kept = self.kept();
        for held in kept.held_of(customer_id) {
            held.status = ReservationStatus::Expired;
        }
    }

    /// What is billed, in the order of its recording.
    pub fn usages(&self) -> Vec<Usage> {
        let kept = self.kept();
        let usages = kept.recorded.iter().map(|entry| entry.usage.clone());
        usages.collect()
    }

    /// Units that are billed to `customer_id`.
    pub fn units(&self, customer_id: &str) -> u64 {
        self.kept().units(customer_id)
    }

    /// Units that reservations hold of the limit of `customer_id`.
    pub fn held_units(&self, customer_id: &str) -> u64 {
        self.kept().held_units(customer_id)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn units(&self, customer_id: &str) -> u64 {
        let usages = self.recorded.iter().map(|entry| &entry.usage);
        let usages = usages.filter(|usage| usage.customer_id == customer_id);
        usages.map(|usage| usage.quantity).sum()
    }

    fn held_of(&mut self, customer_id: &str) -> impl Iterator<Item = &mut Held> {
        let held = self.reservations.values_mut();
        held.filter(move |held| held.is_of(customer_id))
    }

    fn held_units(&self, customer_id: &str) -> u64 {
        let held = self.reservations.values();
        let held = held.filter(|held| held.is_of(customer_id));
        held.map(|held| held.wanted.quantity).sum()
    }

    /// Units that are left of a limit beside what is held; none without a limit.
    fn left_units(&self, customer_id: &str) -> Option<u64> {
        let taken = self.units(customer_id) + self.held_units(customer_id);
        let limit = self.limits.get(customer_id)?;
        Some(limit.units.saturating_sub(taken))
    }

    fn spending_limit(&self, customer_id: &str) -> Option<SpendingLimit> {
        let Limit { units, set_at } = *self.limits.get(customer_id)?;
        let used_units = self.units(customer_id);
        Some(SpendingLimit {
            units: Some(units),
            amount: None,
            currency: "usd".to_owned(),
            enforcement: Enforcement::Hard,
            thresholds_percent: Vec::new(),
            set_at,
            used_units,
            used_amount: "0.00".to_owned(),
            used_currency: Some("usd".to_owned()),
            held_units: self.held_units(customer_id),
            used_percent: used_units.saturating_mul(100).checked_div(units),
            left_units: self.left_units(customer_id),
            left_amount: None,
            alerts: Vec::new(),
        })
    }

    /// What becomes of the reservation that a new event names.
    fn settle(&mut self, event: &WireEvent) -> Option<ReservationOutcome> {
        let key = (event.customer_id.clone(), event.reservation_id.clone()?);
        let Some(held) = self.reservations.get_mut(&key) else {
            return Some(ReservationOutcome::Unknown);
        };
        Some(match &held.status {
            ReservationStatus::Held => {
                held.status = ReservationStatus::Settled;
                ReservationOutcome::Settled
            }
            ReservationStatus::Settled => ReservationOutcome::SettledBefore,
            ReservationStatus::Released => ReservationOutcome::Released,
            ReservationStatus::Expired => ReservationOutcome::Expired,
            ReservationStatus::Other(word) => ReservationOutcome::Other(word.clone()),
        })
    }
}

impl Held {
    fn is_of(&self, customer_id: &str) -> bool {
        self.status == ReservationStatus::Held && self.wanted.customer_id == customer_id
    }

    fn shown(&self) -> Reservation {
        Reservation {
            reservation_id: self.wanted.reservation_id.clone(),
            status: self.status.clone(),
            quantity: self.wanted.quantity,
            expires_at: self.expires_at,
        }
    }
}

impl Sealed for RecordedUsage {}

impl Emit for RecordedUsage {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let mut kept = self.kept();
        if let Some(error) = kept.errors.pop_front() {
            return Err(error);
        }
        let event = usage.wire_event()?;
        let is_known = |entry: &&Entry| {
            let known = &entry.event;
            known.event_id == event.event_id && known.customer_id == event.customer_id
        };
        let recorded = |duplicate, reservation| Recorded {
            event_id: event.event_id.clone(),
            status: Status::Delivered,
            duplicate,
            quantity: event.quantity,
            stripe_record_id: None,
            customer_status: Some("active".to_owned()),
            reservation,
        };
        if let Some(known) = kept.recorded.iter().find(is_known) {
            if !known.event.has_content_of(&event) {
                return Err(EmitError::conflict(event.event_id));
            }
            return Ok(recorded(true, known.reservation.clone()));
        }
        let reservation = kept.settle(&event);
        let recorded = recorded(false, reservation.clone());
        kept.recorded.push(Entry {
            event,
            usage,
            reservation,
        });
        Ok(recorded)
    }

    async fn access(&self, query: impl Into<AccessQuery> + Send) -> Result<Access, AccessError> {
        let AccessQuery {
            customer_id, units, ..
        } = query.into().checked()?;
        let kept = self.kept();
        let left_units = kept.left_units(&customer_id);
        let stops = (left_units == Some(0)).then_some(REACHED);
        let exceeds = left_units.is_some_and(|left| units.is_some_and(|units| units > left));
        let refusal = stops.or(exceeds.then_some(EXCEEDED)).map(str::to_owned);
        let reason = kept.denial.clone().or(refusal);
        let spending_limit = kept.spending_limit(&customer_id);
        Ok(Access {
            allowed: reason.is_none(),
            status: "active".to_owned(),
            reason,
            units: kept.units(&customer_id),
            limit: spending_limit.as_ref().and_then(|limit| limit.units),
            spending_limit,
        })
    }

    async fn reserve(&self, request: ReservationRequest) -> Result<Reservation, ReservationError> {
        let mut kept = self.kept();
        if let Some(error) = kept.reservation_errors.pop_front() {
            return Err(error);
        }
        let wanted = request.wire()?;
        let key = (wanted.customer_id.clone(), wanted.reservation_id.clone());
        if let Some(known) = kept.reservations.get(&key) {
            let is_same = known.wanted.quantity == wanted.quantity
                && known.wanted.action_type == wanted.action_type;
            if is_same && known.status == ReservationStatus::Held {
                return Ok(known.shown());
            }
            return Err(refused(wanted.reservation_id, Problem::conflict()));
        }
        let left_units = kept.left_units(&wanted.customer_id);
        if let Some(left_units) = left_units.filter(|left| wanted.quantity > *left) {
            return Err(ReservationError::LimitReached {
                reservation_id: wanted.reservation_id,
                problem: Box::new(Problem::limit_reached(left_units)),
            });
        }
        let expires_in = Duration::from_secs(wanted.expires_in_s.unwrap_or(EXPIRES_IN_S));
        let held = Held {
            wanted,
            status: ReservationStatus::Held,
            expires_at: SystemTime::now() + expires_in,
        };
        let shown = held.shown();
        kept.reservations.insert(key, held);
        Ok(shown)
    }

    async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> Result<ReservationStatus, ReservationError> {
        checks::customer_id(customer_id)?;
        checks::reservation_id(reservation_id)?;
        let key = (customer_id.to_owned(), reservation_id.to_owned());
        let mut kept = self.kept();
        let Some(held) = kept.reservations.get_mut(&key) else {
            return Err(refused(key.1, Problem::no_such_reservation()));
        };
        if held.status == ReservationStatus::Held {
            held.status = ReservationStatus::Released;
        }
        Ok(held.status.clone())
    }
}

fn refused(reservation_id: String, problem: Problem) -> ReservationError {
    ReservationError::Refused {
        reservation_id,
        http_status: problem.status,
        problem: Box::new(problem),
    }
}
