//! Watches limits: sees when a threshold is crossed, tells the operator, and says
//! when it matters no more.
//!
//! What was seen is stored before it is told, in one conditional write, with an id
//! that follows from customer, period, limit and threshold: whoever looks at the
//! same time, again, or after a crash, stores nothing twice. What is stored as
//! untold is told by whoever looks next, and its row is due for redelivery's
//! minute run until it is.

use std::ops::Range;
use std::sync::Arc;

use billing::{Clock, Timestamp};
use ledger::{
    CustomerRow, Ledger, LedgerError, LimitWatch, PeriodUsage, RaisedAlert, UntoldAlert, Updated,
};
use notify::Ways;

use crate::news::{Resolution, Subject, event};
use crate::{MixedCurrencies, Spending, Standing};

/// How often a limit is looked at that nobody touches: prices may change, and a
/// look may have failed.
const LOOK_EVERY_MS: i64 = 3_600_000;
/// For how long whoever stores an alert has to tell it, before others do.
const TELLING_MS: i64 = 30_000;
/// How often a row that others change meanwhile is read again.
const ATTEMPTS_MAX: u32 = 8;

/// Why nobody knows whether a threshold is crossed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A table failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The limit cannot be held against a cost.
    #[error(transparent)]
    Currencies(#[from] MixedCurrencies),
    /// Others change the row again and again.
    #[error("the row of a watched limit is being changed by others")]
    Contended,
}

/// What a look at a limit found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Thresholds that this look saw crossed.
    pub raised: usize,
    /// Thresholds that it saw matter no more.
    pub resolved: usize,
    /// News that is stored and did not get out.
    pub untold: usize,
}

impl Looked {
    /// Adds what another look found.
    pub const fn add(&mut self, other: Self) {
        self.raised += other.raised;
        self.resolved += other.resolved;
        self.untold += other.untold;
    }
}

/// Why somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Usage was counted.
    Usage,
    /// Its time has come.
    Due,
}

/// Watches the limits of the customers in a ledger.
#[derive(Clone)]
pub struct LimitWatcher {
    ledger: Ledger,
    ways: Ways,
    clock: Arc<dyn Clock>,
}

impl LimitWatcher {
    /// Watches limits in `ledger` and tells by `ways`.
    pub const fn new(ledger: Ledger, ways: Ways, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            ways,
            clock,
        }
    }

    /// Looks at the limit of `customer` in `period`, the one that it is in.
    ///
    /// # Errors
    /// A [`WatchError`]: what is stored stays stored, and somebody has to look again.
    pub async fn look(
        &self,
        customer: &CustomerRow,
        period: &Range<Timestamp>,
        occasion: Occasion,
    ) -> Result<Looked, WatchError> {
        let customer_id = &customer.customer_id;
        for _ in 0..ATTEMPTS_MAX {
            let usage = self.ledger.usage_of_period(customer_id, period.start);
            let mut usage = usage.await?;
            let watch = usage.watch.take();
            let watch = watch.unwrap_or_else(|| LimitWatch::new(customer_id.clone(), period.start));
            let now = self.clock.now();
            let (next, _) = seen_of(customer, period, &usage, &watch, occasion, now)?;
            if next == watch {
                return Ok(Looked::default());
            }
            // Before anything is told or put off: the limit may be another one by now.
            // It is read after the row, so whoever changes it from here on changes the
            // row as well, and this look begins anew.
            let current = self.ledger.customer(customer_id).await?;
            let known = current.as_ref().unwrap_or(customer);
            let (next, seen) = seen_of(known, period, &usage, &watch, occasion, now)?;
            if next == watch {
                return Ok(Looked::default());
            }
            if let Some(mut looked) = self.store(&watch, &next, seen).await? {
                looked.untold = self.tell(next, known).await?;
                return Ok(looked);
            }
        }
        Err(WatchError::Contended)
    }

    /// Says that what was told of a period matters no more: it is over, and
    /// whoever ends it has looked at the one after it.
    ///
    /// # Errors
    /// A [`WatchError`], as above.
    pub async fn end(
        &self,
        customer: &CustomerRow,
        period: &Range<Timestamp>,
    ) -> Result<Looked, WatchError> {
        let subject = Subject { customer, period };
        for _ in 0..ATTEMPTS_MAX {
            let customer_id = &customer.customer_id;
            let watch = self.ledger.limit_watch(customer_id, period.start).await?;
            let Some(watch) = watch else {
                return Ok(Looked::default());
            };
            let now = self.clock.now();
            let mut next = watch.clone();
            let resolve = |raised| subject.resolved(&raised, Resolution::PeriodEnded, now);
            let resolved = next.raised.drain(..).map(resolve);
            next.untold.extend(resolved);
            next.due_at = match next.untold.is_empty() {
                true => watch.due_at.filter(|due_at| *due_at > now),
                false => Some(now.plus_ms(TELLING_MS)),
            };
            let seen = Looked {
                resolved: watch.raised.len(),
                ..Looked::default()
            };
            if next == watch {
                return Ok(seen);
            }
            if let Some(mut looked) = self.store(&watch, &next, seen).await? {
                looked.untold = self.tell(next, customer).await?;
                return Ok(looked);
            }
        }
        Err(WatchError::Contended)
    }

    /// Stores `next` in the place of `watch`; none where somebody was faster.
    async fn store(
        &self,
        watch: &LimitWatch,
        next: &LimitWatch,
        seen: Looked,
    ) -> Result<Option<Looked>, WatchError> {
        let put = self.ledger.put_limit_watch(watch.version, next).await?;
        Ok((put == Updated::Done).then_some(seen))
    }

    /// Tells what is untold of the row that is now `watch`, and notes what got
    /// out. How much did not.
    async fn tell(&self, watch: LimitWatch, customer: &CustomerRow) -> Result<usize, WatchError> {
        if watch.untold.is_empty() {
            return Ok(0);
        }
        let mut told = Vec::new();
        for untold in &watch.untold {
            if self.send(untold, customer).await {
                told.push(untold);
            }
        }
        let left = watch.untold.len() - told.len();
        if told.is_empty() {
            return Ok(left);
        }
        let told: Vec<_> = told.into_iter().map(key_of).collect();
        let (customer_id, period_start) = (&watch.customer_id, watch.period_start);
        for _ in 0..ATTEMPTS_MAX {
            let read = self.ledger.limit_watch(customer_id, period_start).await?;
            let Some(read) = read else { return Ok(left) };
            // It stays due: somebody may have had it looked at meanwhile.
            let mut next = read.clone();
            next.untold.retain(|untold| !told.contains(&key_of(untold)));
            let put = self.ledger.put_limit_watch(read.version, &next).await?;
            if put == Updated::Done {
                return Ok(left);
            }
        }
        Err(WatchError::Contended)
    }

    /// Whether it is out: stored for the channels, and with the topic.
    async fn send(&self, untold: &UntoldAlert, customer: &CustomerRow) -> bool {
        let channels = self.ways.channels.as_slice();
        let (notification, event) = match event(untold, customer, channels, self.clock.now()) {
            Ok(told) => told,
            Err(error) => {
                tracing::error!(id = untold.id, %error, "an alert cannot be put into words");
                return false;
            }
        };
        let (id, kind) = (&notification.id, &notification.kind);
        // A repeat finds it stored, and what has become of it since stays as it is.
        if !channels.is_empty()
            && let Err(error) = self.ledger.store_billing_event(&event).await
        {
            tracing::warn!(id, kind, %error, "an alert is not stored yet: the next minute does it");
            return false;
        }
        let sent = self.ways.notifier.send(&notification).await;
        let log = |error: &_| {
            tracing::warn!(
                id,
                kind,
                error = %error,
                "an alert is not out yet: it is told again within a minute or two"
            );
        };
        sent.inspect_err(log).is_ok()
    }
}

/// What the row is to become for `customer`, and what is new in it.
fn seen_of(
    customer: &CustomerRow,
    period: &Range<Timestamp>,
    usage: &PeriodUsage,
    watch: &LimitWatch,
    occasion: Occasion,
    now: Timestamp,
) -> Result<(LimitWatch, Looked), MixedCurrencies> {
    let standing = Standing::of(&Spending::of(customer, period.start, usage))?;
    let subject = Subject { customer, period };
    let mut next = watch.clone();
    let seen = see(&subject, standing.as_ref(), &mut next, now);
    next.due_at = due_at(watch, &next, &subject, occasion, now);
    Ok((next, seen))
}

/// What is new of a limit, put into `watch`.
fn see(
    subject: &Subject<'_>,
    standing: Option<&Standing>,
    watch: &mut LimitWatch,
    now: Timestamp,
) -> Looked {
    let mut seen = Looked::default();
    let crossed = |percent: u16| {
        standing.is_some_and(|standing| {
            let used = standing.used_percent.unwrap_or(0);
            used >= u64::from(percent) && standing.limit.thresholds_percent.contains(&percent)
        })
    };
    let resolution = match standing {
        Some(_) => Resolution::LimitChanged,
        None => Resolution::LimitRemoved,
    };
    let revision = standing.map(|standing| standing.limit.revision);
    let mut still = Vec::new();
    for raised in std::mem::take(&mut watch.raised) {
        // Usage that is voided or refused takes no alert back: only another limit
        // does, of which each threshold is told of anew. That it is crossed now says
        // nothing of what it was when the limit was set.
        if Some(raised.revision) == revision {
            still.push(raised);
        } else {
            seen.resolved += 1;
            watch
                .untold
                .push(subject.resolved(&raised, resolution, now));
        }
    }
    watch.raised = still;
    let Some(standing) = standing else {
        return seen;
    };
    for percent in standing.limit.thresholds_percent.iter().copied() {
        let is_raised = watch.raised.iter().any(|raised| raised.percent == percent);
        if is_raised || !crossed(percent) {
            continue;
        }
        seen.raised += 1;
        watch.raised.push(RaisedAlert {
            percent,
            revision: standing.limit.revision,
            raised_at: now,
        });
        watch.untold.push(subject.reached(percent, standing, now));
    }
    seen
}

/// When the row has to be looked at next. A time that has not come is not put off:
/// whoever sets a limit makes it before the limit is there to be seen.
fn due_at(
    watch: &LimitWatch,
    next: &LimitWatch,
    subject: &Subject<'_>,
    occasion: Occasion,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_watched = subject.customer.spending_limit.is_some() || !next.raised.is_empty();
    let due_at = if !next.untold.is_empty() {
        Some(now.plus_ms(TELLING_MS))
    } else if !is_watched {
        None
    } else if subject.customer.test_clock.is_some() {
        Some(now.plus_ms(LOOK_EVERY_MS))
    } else {
        // The end of a period resolves what it had.
        let end = subject.period.end.max(now.plus_ms(TELLING_MS));
        Some(now.plus_ms(LOOK_EVERY_MS).min(end))
    };
    match watch.due_at {
        Some(before) if occasion == Occasion::Usage || before > now => {
            Some(due_at.map_or(before, |at| at.min(before)))
        }
        _ => due_at,
    }
}

/// What makes an alert: an id, and whether it is raised or resolved.
fn key_of(untold: &UntoldAlert) -> (String, String) {
    (untold.id.clone(), untold.kind.clone())
}
