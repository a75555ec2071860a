//! What no webhook brought: Stripe gives an event up after three days, and one
//! that it makes while no endpoint is enabled it delivers to nobody. So its lists
//! of events are gone through, and what is not applied yet is.

use billing::{DAY_MS, MINUTE_MS, Timestamp};
use ledger::{EventSweep, SweepWindow, SweptList, Updated};
use metering::EVENT_TYPES;
use serde::Serialize;
use stripe::{ListEvents, ListV2Events, MeterErrorReport, WebhookEvent};
use tokio::time::Instant;
use web::metrics::{Figure, Unit};

use crate::error::WebhookError;
use crate::subject::Subject;
use crate::{Parts, State};

/// What is younger is left to Stripe's own deliveries.
const LEFT_TO_STRIPE_MS: i64 = 60 * MINUTE_MS;
/// By how much two windows overlap: a list may show an event late.
const OVERLAP_MS: i64 = 10 * MINUTE_MS;
/// How far the first sweep looks back. What is older Stripe had given up before
/// there was a sweep.
const FIRST_LOOK_BACK_MS: i64 = 3 * DAY_MS;
/// How long an event is tried that cannot be dealt with.
const TRIED_MS_MAX: i64 = 7 * DAY_MS;
/// Events of a page, Stripe's most.
const PAGE_EVENTS: u32 = 100;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Events that were looked at.
    pub looked_at: u64,
    /// Those of them that no webhook had brought, and that are applied now.
    pub applied: u64,
    /// Those that could not be dealt with, and are tried again.
    pub failed: u64,
    /// Those that were tried for a week, and are given up.
    pub given_up: u64,
    /// Whether the next run goes on in the middle: time was over.
    pub is_cut_short: bool,
}

impl SweepReport {
    /// Its figures, for the metrics.
    pub const fn figures(&self) -> [Figure; 2] {
        [
            ("swept_events", Unit::Count, self.applied),
            ("unswept_events", Unit::Count, self.failed + self.given_up),
        ]
    }
}

/// Why a sweep broke off. The next one goes on where it stood.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SweepError(#[from] WebhookError);

/// What became of one event.
enum Swept {
    Applied,
    AppliedBefore,
    NotOurs,
}

/// A page of one of the lists, and what the next one is asked for by.
struct Page {
    events: Vec<WebhookEvent>,
    next: Option<String>,
}

impl Page {
    /// Its events after the one with the id `looked_at`, or all: none has it.
    fn events_after(&self, looked_at: Option<&str>) -> &[WebhookEvent] {
        let mut events = self.events.iter();
        let last = events.position(|event| Some(event.id()) == looked_at);
        let next = last.map_or(0, |last| last + 1);
        self.events.get(next..).unwrap_or_default()
    }
}

impl State {
    /// Goes through Stripe's lists of events from where the last sweep stood, and
    /// starts no further event after `deadline`.
    ///
    /// # Errors
    /// [`SweepError`] where a list or the tables cannot be read.
    pub async fn sweep(&self, deadline: Instant) -> Result<SweepReport, SweepError> {
        let Self(parts) = self;
        let mut report = SweepReport::default();
        // One list that cannot be read, or whose events take long, keeps nobody from
        // the other.
        let now = Instant::now();
        let half_time = now + deadline.saturating_duration_since(now) / 2;
        let thin = parts.sweep_list(SweptList::Thin, half_time, &mut report);
        let thin = thin.await;
        let snapshot = parts.sweep_list(SweptList::Snapshot, deadline, &mut report);
        let snapshot = snapshot.await;
        parts.metrics.write(&report.figures());
        thin.and(snapshot)?;
        Ok(report)
    }
}

impl Parts {
    async fn sweep_list(
        &self,
        list: SweptList,
        deadline: Instant,
        report: &mut SweepReport,
    ) -> Result<(), WebhookError> {
        let mut read = self.ledger.event_sweep(list).await?;
        while let Some(mut window) = self.window(read.as_ref()) {
            let page = self.page(list, &window).await?;
            let mut is_cut_short = false;
            for event in page.events_after(window.looked_at.as_deref()) {
                if Instant::now() >= deadline {
                    is_cut_short = true;
                    break;
                }
                report.looked_at += 1;
                match self.sweep_event(event).await {
                    Ok(Swept::Applied) => report.applied += 1,
                    Ok(Swept::AppliedBefore | Swept::NotOurs) => {}
                    Err(error) => self.note_failure(event, &error, &mut window, report),
                }
                window.looked_at = Some(event.id().to_owned());
            }
            let through = read.as_ref().map_or(window.from, |sweep| sweep.through);
            let version = read.as_ref().map_or(0, |sweep| sweep.version);
            if !is_cut_short {
                window.page = page.next;
                window.looked_at = None;
            }
            let is_over = !is_cut_short && window.page.is_none();
            report.is_cut_short |= is_cut_short;
            let sweep = EventSweep {
                through: if is_over {
                    window.dealt_with_through()
                } else {
                    through
                },
                version: version.saturating_add(1),
                window: (!is_over).then_some(window),
            };
            let noted = self.ledger.put_event_sweep(list, read.as_ref(), &sweep);
            if noted.await? == Updated::VersionConflict {
                // Another run goes on from there.
                return Ok(());
            }
            if is_over || is_cut_short {
                return Ok(());
            }
            read = Some(sweep);
        }
        Ok(())
    }

    /// The window to go on with, or a new one; none where all that is not left to
    /// Stripe is dealt with.
    fn window(&self, sweep: Option<&EventSweep>) -> Option<SweepWindow> {
        if let Some(window) = sweep.and_then(|sweep| sweep.window.clone()) {
            return Some(window);
        }
        let until = self.clock.now().plus_ms(-LEFT_TO_STRIPE_MS);
        let from = match sweep {
            Some(sweep) if sweep.through >= until => return None,
            Some(sweep) => sweep.through.plus_ms(-OVERLAP_MS),
            None => until.plus_ms(-FIRST_LOOK_BACK_MS),
        };
        Some(SweepWindow {
            from,
            until,
            page: None,
            looked_at: None,
            oldest_failed: None,
        })
    }

    async fn page(&self, list: SweptList, window: &SweepWindow) -> Result<Page, WebhookError> {
        match list {
            SweptList::Snapshot => {
                let filter = ListEvents {
                    types: EVENT_TYPES.map(str::to_owned).to_vec(),
                    created_gte: Some(window.from.unix_s()),
                    created_lt: Some(window.until.unix_s()),
                    limit: Some(PAGE_EVENTS),
                    starting_after: window.page.clone(),
                    ..ListEvents::default()
                };
                let events = self.stripe.list_events(&filter).await;
                let events = events.map_err(WebhookError::stripe("list events"))?;
                let last = events.data.last().map(|event| event.id.clone());
                Ok(Page {
                    next: last.filter(|_| events.has_more),
                    events: events.into_iter().map(WebhookEvent::Snapshot).collect(),
                })
            }
            SweptList::Thin => {
                let filter = ListV2Events {
                    types: MeterErrorReport::EVENT_TYPES.map(str::to_owned).to_vec(),
                    created_gte_unix_ms: Some(window.from.unix_ms()),
                    created_lt_unix_ms: Some(window.until.unix_ms()),
                };
                let page = window.page.as_deref();
                let events = self.stripe.list_v2_events(&filter, page).await;
                let events = events.map_err(WebhookError::stripe("list v2 events"))?;
                Ok(Page {
                    next: events.next_page,
                    events: events.data.into_iter().map(WebhookEvent::Thin).collect(),
                })
            }
        }
    }

    async fn sweep_event(&self, event: &WebhookEvent) -> Result<Swept, WebhookError> {
        if self.was_applied(event.id()).await? {
            return Ok(Swept::AppliedBefore);
        }
        if let WebhookEvent::Snapshot(event) = event
            && let Some(subject) = Subject::of(event)
            && self.ledger.customer(&subject.customer_id).await?.is_none()
        {
            // An onboarding that is finished later than this reads for itself how
            // the subscription stands.
            return Ok(Swept::NotOurs);
        }
        self.deal_with(event).await?;
        match self.ledger.billing_event(event.id()).await? {
            Some(_) => Ok(Swept::Applied),
            None => Ok(Swept::NotOurs),
        }
    }

    fn note_failure(
        &self,
        event: &WebhookEvent,
        error: &WebhookError,
        window: &mut SweepWindow,
        report: &mut SweepReport,
    ) {
        let created_at = created_at(event);
        let is_given_up = self.clock.now().ms_since(created_at) > TRIED_MS_MAX;
        let (event_id, event_type) = (event.id(), event.event_type());
        if is_given_up {
            report.given_up += 1;
        } else {
            report.failed += 1;
            let oldest = window.oldest_failed.unwrap_or(created_at);
            window.oldest_failed = Some(oldest.min(created_at));
        }
        tracing::error!(
            event_id,
            event_type,
            is_given_up,
            error = %error,
            "a swept event cannot be dealt with"
        );
    }
}

const fn created_at(event: &WebhookEvent) -> Timestamp {
    match event {
        WebhookEvent::Snapshot(event) => Timestamp::from_unix_s(event.created),
        WebhookEvent::Thin(event) => Timestamp::from_unix_ms(event.created_unix_ms),
    }
}
