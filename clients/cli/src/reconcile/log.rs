//! What the audit log says of one customer, by the meter and the minute of billing.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use billing::{
    ContentHash, CustomerId, HeldReason, Identifier, MINUTE_MS, Quantity, Timestamp, UsageEvent,
    UsageStatus, window,
};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use ledger::{Ledger, LedgerError, Tally, TotalKey, UsageEventRow, UsageLogCursor};

use super::meters::Meters;
use super::narrowing::{HOUR_S, MINUTE_S, Window, round_down};
use super::usage_records::UsagePeriods;

/// Parts of the index that are read at once. A read is a query and then its
/// rows, one after the other: waiting, nearly all of it.
const READS_IN_FLIGHT: usize = 8;

/// For how long a change may be unknown to Stripe's sums and to the totals:
/// meters aggregate, and the rollup runs, a moment later.
const IN_FLIGHT_MS: i64 = 5 * MINUTE_MS;

/// For how long after its first sending an event may still be on its way into
/// Stripe's sums: the send window, and what a meter may lag behind.
const SETTLED_MS: i64 = window::SEND_WINDOW_MS + 2 * 60 * MINUTE_MS;

/// What Stripe's ids of legacy usage records begin with. No meter counts them.
const USAGE_RECORD_PREFIX: &str = "mbur_";

/// A row, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its key.
    pub identifier: Identifier,
    /// Units.
    pub quantity: u64,
    /// Where it stands.
    pub status: UsageStatus,
    /// When it is billed, in unix seconds.
    pub billed_at_s: i64,
    /// The other times, in unix seconds, that Stripe may have it at, since it was
    /// carried over: of a row that is looked at where it was carried over from, those
    /// that lie there.
    pub told_s: Vec<i64>,
    /// Whether it changed only a moment ago.
    pub is_in_flight: bool,
    /// Whether its fields are not those that were recorded.
    pub is_altered: bool,
    /// Whether nobody sends it any more, and Stripe has had time to count it.
    pub is_settled: bool,
    /// Whether its void left it in the meter and gave a credit instead.
    pub is_credited: bool,
    /// Where it is kept by the log, when it is looked at in a minute that Stripe was
    /// told besides: Stripe has it there if that sending arrived.
    pub carried_to: Option<i64>,
}

impl LogRow {
    fn read(row: &UsageEventRow, billed_at: Timestamp, now: Timestamp) -> Self {
        Self {
            identifier: row.identifier.clone(),
            quantity: row.quantity,
            status: row.status,
            billed_at_s: billed_at.unix_s(),
            told_s: row.told_at.iter().map(|at| at.unix_s()).collect(),
            is_in_flight: is_in_flight(row, now),
            is_altered: is_altered(row),
            is_settled: now.ms_since(row.first_attempt_at) > SETTLED_MS,
            is_credited: row.void_credit_minor_units.is_some(),
            carried_to: None,
        }
    }

    /// Whether the log says that Stripe has it in the minute that is looked at.
    pub const fn counts_here(&self) -> bool {
        self.is_in_stripe() && self.carried_to.is_none()
    }

    /// Whether the log says that Stripe has it.
    pub const fn is_in_stripe(&self) -> bool {
        self.is_credited || matches!(self.status, UsageStatus::Delivered)
    }

    /// A row that nothing is special about, as stories of it begin.
    #[cfg(test)]
    pub(super) fn plain(event_id: &str, quantity: u64, status: UsageStatus) -> Self {
        use billing::EventId;
        Self {
            identifier: Identifier::of(
                &CustomerId::parse("cus_1").unwrap(),
                &EventId::parse(event_id).unwrap(),
            ),
            quantity,
            status,
            billed_at_s: 0,
            told_s: Vec::new(),
            is_in_flight: false,
            is_altered: false,
            is_settled: true,
            is_credited: false,
            carried_to: None,
        }
    }

    /// Whether it waits for a delivery, or for somebody to find out.
    pub const fn is_open(&self) -> bool {
        matches!(self.status, UsageStatus::Pending | UsageStatus::Quarantined)
    }

    /// Whether nobody decided that it is not billed: what Stripe said of it may be
    /// overtaken by what Stripe has.
    pub const fn is_undecided(&self) -> bool {
        self.is_open() || matches!(self.status, UsageStatus::Rejected)
    }

    /// Its units, as sums have them.
    pub fn units(&self) -> i64 {
        i64::try_from(self.quantity).unwrap_or(i64::MAX)
    }
}

/// The rows of one customer that are billed in a window.
#[derive(Clone, Debug, Default)]
pub struct CustomerLog {
    /// By the event name of the meter that they are compared with.
    pub meters: BTreeMap<String, MeterLog>,
    /// Units and events of the window's whole hours, as the totals should be.
    pub totals: BTreeMap<TotalKey, Tally>,
    /// Hours, by their starts, that the totals may lag behind in.
    pub hours_in_flight: BTreeSet<i64>,
    /// What is held of what happened in the window: it is billed at no time.
    pub held: Held,
}

/// Events and units that are held, by the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<&'static str, (HeldReason, u64, u64)>);

impl Held {
    fn enter(&mut self, reason: HeldReason, quantity: u64) {
        let entry = self.0.entry(reason.as_str());
        let (_, events, units) = entry.or_insert((reason, 0, 0));
        *events = events.saturating_add(1);
        *units = units.saturating_add(quantity);
    }

    /// Each reason with its events and its units.
    pub fn iter(&self) -> impl Iterator<Item = (HeldReason, u64, u64)> {
        self.0.values().copied()
    }
}

/// The rows of one customer that one meter counts and that are billed in a window.
#[derive(Clone, Debug, Default)]
pub struct MeterLog {
    /// By the minute's start, in unix seconds; for a customer who is billed by
    /// usage records, by the billing period's. Those that Stripe's sums leave out
    /// are left out.
    pub rows: BTreeMap<i64, Vec<LogRow>>,
    /// Rows that were carried over, by where else Stripe may have them.
    carried_away: BTreeMap<i64, Vec<LogRow>>,
    /// Rows of billing periods that Stripe tells no sum of: only invoices do.
    unsummed: Vec<LogRow>,
    /// Units and events, by status.
    pub tally: Tally,
    /// Units of usage records that no sum of Stripe's was compared with.
    pub usage_record_units: u64,
    /// The subscription items that rows name.
    pub subscription_item_ids: BTreeSet<String>,
}

impl CustomerLog {
    /// Reads the log of `customer_id` for what is billed in `window`, in one pass
    /// for all of its `meters`; `now` is real time. With `is_thorough` of all that
    /// ever happened, else of what happened from 36 days before: an event that
    /// was redriven later than that is missed.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn read(
        ledger: &Ledger,
        customer_id: &CustomerId,
        window: Window,
        now: Timestamp,
        is_thorough: bool,
        meters: &Meters,
    ) -> Result<Self, LedgerError> {
        let (start, end) = (
            Timestamp::from_unix_s(window.start),
            Timestamp::from_unix_s(window.end),
        );
        let from = if is_thorough {
            Timestamp::from_unix_s(0)
        } else {
            start.plus_ms(-window::CARRIED_MS)
        };
        let to = end.plus_ms(window::AHEAD_MS);
        let parts = UsageLogCursor::by_bucket(customer_id, from, to);
        let mut pages = pin!(
            stream::iter(parts)
                .map(|part| pages(ledger, part).boxed())
                .flatten_unordered(READS_IN_FLIGHT)
        );
        let mut log = Self::default();
        while let Some(rows) = pages.try_next().await? {
            for row in &rows {
                log.note_hours(row, now);
                if let Some(billed_at) = row.billed_at.filter(|at| (start..end).contains(at)) {
                    let kept = log.count(row, billed_at, window, now);
                    log.keep(kept, row, meters);
                }
                if row.status == UsageStatus::Held
                    && (start..end).contains(&row.occurred_at)
                    && let Some(reason) = row.held_reason
                {
                    log.held.enter(reason, row.quantity);
                }
            }
        }
        Ok(log)
    }

    /// Notes the hours that the totals may count a row in that has just changed: the one
    /// that it has moved to, and those that it may have left.
    fn note_hours(&mut self, row: &UsageEventRow, now: Timestamp) {
        if is_in_flight(row, now) {
            let times = row.billed_at.iter().chain(&row.told_at);
            let times = times.chain([&row.occurred_at]);
            let hours = times.map(|at| at.start_of_hour().unix_s());
            self.hours_in_flight.extend(hours);
        }
    }

    fn count(
        &mut self,
        row: &UsageEventRow,
        billed_at: Timestamp,
        window: Window,
        now: Timestamp,
    ) -> LogRow {
        let hour = billed_at.start_of_hour().unix_s();
        let kept = LogRow::read(row, billed_at, now);
        if hour >= window.start && hour + HOUR_S <= window.end {
            let total = self.totals.entry(total_key(row, billed_at)).or_default();
            total.enter(row.status, row.quantity);
        }
        kept
    }

    fn keep(&mut self, kept: LogRow, row: &UsageEventRow, meters: &Meters) {
        let name = meters.name_of(row);
        if !self.meters.contains_key(name) {
            self.meters.insert(name.to_owned(), MeterLog::default());
        }
        if let Some(log) = self.meters.get_mut(name) {
            log.tally.enter(row.status, row.quantity);
            log.note_item(row);
            match meters.periods_of(name) {
                Some(periods) => log.keep_by_period(kept, periods),
                None => log.keep_by_minute(kept, row),
            }
        }
    }
}

/// The rows of a part of the index, page by page.
fn pages(
    ledger: &Ledger,
    part: UsageLogCursor,
) -> impl Stream<Item = Result<Vec<UsageEventRow>, LedgerError>> + Send + '_ {
    stream::try_unfold(part, async |mut part| {
        let rows = ledger.next_usage_events(&mut part).await?;
        Ok(rows.map(|rows| (rows, part)))
    })
}

impl MeterLog {
    /// What Stripe has by the log, by the minute.
    pub fn by_minute(&self) -> BTreeMap<i64, i64> {
        let minutes = self.rows.iter();
        minutes
            .map(|(minute, rows)| (*minute, units_in_stripe(rows.iter())))
            .collect()
    }

    /// What Stripe has by the log of `from..to`, in unix seconds.
    pub fn units_between(&self, from: i64, to: i64) -> i64 {
        let minutes = self.rows.range(round_down(from, MINUTE_S)..to);
        let rows = minutes.flat_map(|(_, rows)| rows).chain(&self.unsummed);
        units_in_stripe(rows.filter(|row| (from..to).contains(&row.billed_at_s)))
    }

    /// The rows from `from` on, in unix seconds: what any period may be billed for.
    pub fn rows_from(&self, from: i64) -> impl Iterator<Item = &LogRow> {
        let rows = self.rows.range(from..).flat_map(|(_, rows)| rows);
        let unsummed = self.unsummed.iter();
        rows.chain(unsummed.filter(move |row| row.billed_at_s >= from))
    }

    /// What may be behind a difference of `minute`: its rows, and then those that
    /// Stripe may have there, though the log has them elsewhere.
    pub fn candidates(&self, minute: i64) -> Vec<LogRow> {
        let kept = self.rows.get(&minute).into_iter().flatten();
        let carried_away = self.carried_away.get(&minute).into_iter().flatten();
        kept.chain(carried_away).cloned().collect()
    }

    /// Keeps `row` at `place`; `place_of` tells where a time that Stripe was told lies.
    pub(super) fn keep_at(
        &mut self,
        place: i64,
        row: LogRow,
        place_of: impl Fn(i64) -> Option<i64>,
    ) {
        let mut elsewhere: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for told in &row.told_s {
            if let Some(there) = place_of(*told).filter(|there| *there != place) {
                elsewhere.entry(there).or_default().push(*told);
            }
        }
        for (there, told_s) in elsewhere {
            let carried_away = LogRow {
                carried_to: Some(place),
                told_s,
                ..row.clone()
            };
            let rows = self.carried_away.entry(there).or_default();
            rows.push(carried_away);
        }
        self.rows.entry(place).or_default().push(row);
    }

    fn note_item(&mut self, row: &UsageEventRow) {
        if let Some(id) = &row.subscription_item_id
            && !self.subscription_item_ids.contains(id)
        {
            self.subscription_item_ids.insert(id.clone());
        }
    }

    fn keep_by_minute(&mut self, kept: LogRow, row: &UsageEventRow) {
        let record_id = row.stripe_record_id.as_deref().unwrap_or_default();
        if record_id.starts_with(USAGE_RECORD_PREFIX) {
            self.usage_record_units = self.usage_record_units.saturating_add(row.quantity);
            return;
        }
        let minute = |at| round_down(at, MINUTE_S);
        self.keep_at(minute(kept.billed_at_s), kept, |at| Some(minute(at)));
    }

    fn keep_by_period(&mut self, kept: LogRow, periods: &UsagePeriods) {
        match periods.start_of(kept.billed_at_s) {
            Some(start) => self.keep_at(start, kept, |at| periods.start_of(at)),
            None => {
                let units = if kept.is_in_stripe() {
                    kept.quantity
                } else {
                    0
                };
                self.usage_record_units = self.usage_record_units.saturating_add(units);
                self.unsummed.push(kept);
            }
        }
    }
}

/// Whether it changed only a moment ago.
fn is_in_flight(row: &UsageEventRow, now: Timestamp) -> bool {
    let changed_at = row.history.last().map_or(row.recorded_at, |entry| entry.at);
    now.ms_since(changed_at) < IN_FLIGHT_MS
}

fn units_in_stripe<'a>(rows: impl Iterator<Item = &'a LogRow>) -> i64 {
    let in_stripe = rows.filter(|row| row.is_in_stripe());
    in_stripe.fold(0, |sum, row| sum.saturating_add(row.units()))
}

/// The cell that the rollup counts `row` in.
fn total_key(row: &UsageEventRow, billed_at: Timestamp) -> TotalKey {
    TotalKey {
        customer_id: row.customer_id.clone(),
        period_start: row
            .period_start
            .map(|at| Timestamp::from_unix_s(at.unix_s())),
        hour: billed_at.start_of_hour(),
        meter_event_name: row.meter_event_name.clone(),
        action_type: row.action_type.clone(),
    }
}

/// Whether `row` no longer says what its fingerprint says. Whether its agent
/// named a time, or the subscription item that the row names, is not known, so
/// either fingerprint will do.
fn is_altered(row: &UsageEventRow) -> bool {
    let Ok(quantity) = Quantity::new(row.quantity) else {
        return true;
    };
    let occurred_at = [None, Some(row.occurred_at)];
    let items = [None, row.subscription_item_id.clone()];
    let said = occurred_at.map(|at| items.clone().map(|item| (at, item)));
    let mut fingerprints = said.into_iter().flatten().map(|(occurred_at, item)| {
        ContentHash::of(&UsageEvent {
            event_id: row.event_id.clone(),
            customer_id: row.customer_id.clone(),
            subscription_item_id: item,
            quantity,
            action_type: row.action_type.clone(),
            occurred_at,
            source: row.source.clone(),
        })
    });
    !fingerprints.any(|fingerprint| fingerprint == row.content_hash)
        || row.identifier != Identifier::of(&row.customer_id, &row.event_id)
}
