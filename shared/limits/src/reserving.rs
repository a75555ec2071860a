//! Holds units of a limit for an agent before it acts, and gives them back.

use billing::{ActionType, Cap, Clock, CustomerId, Enforcement, Money, ReservationId, Timestamp};
use ledger::{
    Due, DueBucket, Duty, Ended, Ledger, LedgerError, ReservationRow, ReservationState, Reserving,
    Room,
};
use metering::KnownCustomer;

use crate::{Left, MixedCurrencies, Spending, Standing};

/// How often what others reserve meanwhile is read again.
const ATTEMPTS_MAX: u32 = 16;
/// What is due, of others as well, that one refusal looks through for expired
/// reservations of its customer. What lies behind that, the minute run ends.
const DUE_PAGE_ROWS: i32 = 500;
const DUE_PAGES_MAX: usize = 4;
/// Beyond every sum of units that is reserved.
const UNITS_MAX: u64 = 1_000_000_000_000_000;

/// What an agent wants to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The agent's id of it.
    pub reservation_id: ReservationId,
    /// Units.
    pub quantity: u64,
    /// What they are for.
    pub action_type: ActionType,
    /// The event name of the meter that counts them.
    pub meter_event_name: String,
    /// For how long.
    pub expires_in_s: i64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The units are held by this call.
    Held(ReservationRow),
    /// They were held by an earlier one, and are.
    HeldBefore(ReservationRow),
    /// The id is used for other units, or for a reservation that has ended.
    Conflict(ReservationRow),
    /// A hard limit has less left than that.
    LimitReached(Left),
}

/// Why nobody knows what became of it.
#[derive(Debug, thiserror::Error)]
pub enum ReservingError {
    /// A table failed: perhaps the units are held.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The limit cannot be held against a cost.
    #[error(transparent)]
    Currencies(#[from] MixedCurrencies),
    /// Others reserve so much that this call did not get its turn.
    #[error("too many reservations of this customer are made at once")]
    Contended,
}

/// Holds what is `wanted` of the limit of `customer`, in the period that it is in.
/// Without a hard limit there is always enough, and it is held all the same: one
/// may be set before it is used.
///
/// # Errors
/// A [`ReservingError`]: asking again with the same id is safe.
pub async fn reserve(
    ledger: &Ledger,
    clock: &dyn Clock,
    customer: &KnownCustomer,
    wanted: &Wanted,
) -> Result<Outcome, ReservingError> {
    let (row, now) = (&customer.row, clock.now());
    let customer_id = &row.customer_id;
    let period_start = Timestamp::from_unix_s(customer.current_period().start.unix_s());
    let reservation = ReservationRow {
        customer_id: customer_id.clone(),
        reservation_id: wanted.reservation_id.clone(),
        quantity: wanted.quantity,
        action_type: wanted.action_type.clone(),
        meter_event_name: wanted.meter_event_name.clone(),
        period_start,
        held_at: now,
        expires_at: now.plus_ms(wanted.expires_in_s.saturating_mul(1_000)),
        state: ReservationState::Held,
        settled_by: None,
    };
    let mut has_expired_others = false;
    for _ in 0..ATTEMPTS_MAX {
        let usage = ledger.usage_of_period(customer_id, period_start).await?;
        if usage.reserved.is_none() {
            ledger.begin_reserving(customer_id, period_start).await?;
        }
        let spending = Spending::of(row, period_start, &usage);
        let room = match &row.spending_limit {
            Some(limit) if limit.enforcement == Enforcement::Hard => {
                room(&limit.cap, &spending, wanted)?
            }
            _ => Some(Room::default()),
        };
        let Some(room) = room else {
            // A repeat finds no room beside itself.
            let known = ledger.reservation(customer_id, &wanted.reservation_id);
            if let Some(known) = known.await? {
                return Ok(repeated(known, wanted));
            }
            if !has_expired_others {
                has_expired_others = true;
                if expire_of(ledger, clock, customer_id).await? > 0 {
                    continue;
                }
            }
            return Ok(Outcome::LimitReached(left(&spending)?));
        };
        match ledger.reserve(&reservation, &room).await? {
            Reserving::Held => return Ok(Outcome::Held(reservation)),
            Reserving::Exists(known) => return Ok(repeated(*known, wanted)),
            Reserving::NoRoom => {}
        }
    }
    Err(ReservingError::Contended)
}

/// Ends reservations of `customer_id` whose time is over; how many.
///
/// # Errors
/// [`LedgerError`].
async fn expire_of(
    ledger: &Ledger,
    clock: &dyn Clock,
    customer_id: &CustomerId,
) -> Result<usize, LedgerError> {
    let (bucket, now) = (DueBucket::of(customer_id), clock.now());
    let (mut expired, mut start) = (0, None);
    for _ in 0..DUE_PAGES_MAX {
        let page = ledger.due(bucket, now, DUE_PAGE_ROWS, start).await?;
        let due = page.due.iter();
        for Due { duty, .. } in due.filter(|due| due.customer_id == *customer_id) {
            if let Duty::Reservation(id) = duty
                && expire(ledger, clock, customer_id, id).await?
            {
                expired += 1;
            }
        }
        start = page.next;
        if expired > 0 || start.is_none() {
            break;
        }
    }
    Ok(expired)
}

/// Ends a reservation, if it is held and its time is over; whether it was.
///
/// # Errors
/// [`LedgerError`].
pub(crate) async fn expire(
    ledger: &Ledger,
    clock: &dyn Clock,
    customer_id: &CustomerId,
    reservation_id: &str,
) -> Result<bool, LedgerError> {
    let Ok(reservation_id) = ReservationId::parse(reservation_id) else {
        return Ok(false);
    };
    let known = ledger.reservation(customer_id, &reservation_id).await?;
    let Some(known) = known.filter(|known| known.state == ReservationState::Held) else {
        return Ok(false);
    };
    let ended = ledger.end_reservation(&known, ReservationState::Expired, clock.now());
    Ok(ended.await? == Ended::Done)
}

/// Gives a reservation back; none where there is no such one. One that has ended
/// stays as it is.
///
/// # Errors
/// [`LedgerError`]: perhaps given back; asking again tells.
pub async fn release(
    ledger: &Ledger,
    clock: &dyn Clock,
    customer_id: &CustomerId,
    reservation_id: &ReservationId,
) -> Result<Option<ReservationRow>, LedgerError> {
    let known = ledger.reservation(customer_id, reservation_id).await?;
    let Some(known) = known else { return Ok(None) };
    if known.state != ReservationState::Held {
        return Ok(Some(known));
    }
    let released = ReservationState::Released;
    match ledger
        .end_reservation(&known, released, clock.now())
        .await?
    {
        Ended::Done => Ok(Some(ReservationRow {
            state: released,
            ..known
        })),
        Ended::Was(now) => Ok(Some(*now)),
        Ended::NoSuchReservation => Ok(None),
    }
}

fn repeated(known: ReservationRow, wanted: &Wanted) -> Outcome {
    let is_same = known.quantity == wanted.quantity && known.action_type == wanted.action_type;
    if is_same && known.state == ReservationState::Held {
        Outcome::HeldBefore(known)
    } else {
        Outcome::Conflict(known)
    }
}

/// How much may be reserved so that `wanted` fits under `cap` beside it; none where
/// it does not fit now.
fn room(
    cap: &Cap,
    spending: &Spending<'_>,
    wanted: &Wanted,
) -> Result<Option<Room>, MixedCurrencies> {
    let quantity = wanted.quantity;
    let Some(most) = cap.money() else {
        let Cap::Units(most) = cap else {
            return Ok(None);
        };
        let taken = spending.units().saturating_add(spending.held_units());
        let free = i128::from(*most) - i128::from(taken) - i128::from(quantity);
        let units_max = spending.reserved_units().saturating_add(free);
        return Ok((free >= 0).then(|| Room {
            units_max: Some(units_max),
            ..Room::default()
        }));
    };
    let meter = wanted.meter_event_name.as_str();
    let Some(fitting) = units_that_fit(&most, spending, meter, quantity)? else {
        return Ok(None);
    };
    let mut by_meter_max: std::collections::BTreeMap<String, i128> = spending
        .customer()
        .items()
        .map(|item| item.meter_event_name.clone())
        .map(|meter| {
            let reserved = spending.reserved_of(&meter);
            (meter, reserved)
        })
        .collect();
    let free = i128::from(fitting) - i128::from(quantity);
    let reserved = spending.reserved_of(meter).saturating_add(free);
    by_meter_max.insert(meter.to_owned(), reserved);
    Ok(Some(Room {
        units_max: None,
        by_meter_max,
    }))
}

/// The most units of a meter that cost no more than `most` beside what is used and
/// held, whatever part of them comes; none where `quantity` do not fit.
fn units_that_fit(
    most: &Money,
    spending: &Spending<'_>,
    meter_event_name: &str,
    quantity: u64,
) -> Result<Option<u64>, MixedCurrencies> {
    let fits = |units: u64| {
        let cost = spending.dearest_with(meter_event_name, units)?;
        // In another currency the limit stops nobody.
        Ok(cost.is_more_than(most) != Some(true))
    };
    if !fits(quantity)? {
        return Ok(None);
    }
    let (mut fitting, mut beyond) = (quantity, UNITS_MAX);
    if fits(beyond)? {
        return Ok(Some(beyond));
    }
    while beyond - fitting > 1 {
        let middle = fitting + (beyond - fitting) / 2;
        if fits(middle)? {
            fitting = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(Some(fitting))
}

fn left(spending: &Spending<'_>) -> Result<Left, MixedCurrencies> {
    let left = Standing::of(spending)?.and_then(|standing| standing.left);
    Ok(left.unwrap_or(Left::Units(0)))
}
