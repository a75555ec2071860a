//! What an environment knows of the customers whose dashboards are open, so that many
//! looks at a dashboard are few reads: docs/dashboard.md counts them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use billing::{CustomerId, Memory, Timestamp};
use ledger::{CustomerRow, PeriodUsage};
use metering::KnownCustomer;
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::{not_onboarded, of_error};
use crate::dashboard::figures::Figures;
use crate::dashboard::latest_events::{EventFigures, LatestEvents};
use crate::entity_tag::EntityTag;
use crate::past_days::{DAYS_FRESH_MS, yesterday};
use crate::usage::current_period;

/// For how long a look is everybody's: what is new shows as much later at most.
const LOOK_FRESH_MS: i64 = 1_000;
/// Events that are shown.
const EVENTS: usize = 10;
/// How long a board is kept that nobody looks at.
const BOARD_KEPT_MS: i64 = 60_000;
/// Boards at once; a busy customer's days are some hundred kilobytes.
const BOARDS_MAX: usize = 200;

/// What the page is told, and since when it is so.
#[derive(Serialize, ToSchema)]
#[schema(as = Dashboard)]
pub(crate) struct Answer<'a> {
    #[serde(flatten)]
    figures: &'a Figures,
    /// The events that happened last, the latest first.
    events: &'a [EventFigures],
    /// Since when all of this is known.
    #[schema(schema_with = schema::time)]
    as_of: String,
}

/// A customer's figures, ready to be sent.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) figures: Arc<Figures>,
    pub(crate) events: Arc<[EventFigures]>,
    pub(crate) as_of: Timestamp,
    /// [`Answer`] as JSON.
    pub(crate) body: Bytes,
    /// Of all but the time: the same in every environment.
    pub(crate) tag: EntityTag,
}

/// What is known of one customer.
#[derive(Default)]
pub(crate) struct Board {
    usage: Option<Usage>,
    events: Option<LatestEvents>,
    look: Option<Look>,
}

/// What a period holds: all of its days as of some seconds ago, the last two as of now,
/// and what a limit is held against besides, as of now.
struct Usage {
    period_start: Timestamp,
    /// Whether it was read for a limit, too.
    is_limited: bool,
    of_period: PeriodUsage,
    until: Timestamp,
}

/// What the last look saw. A failure is everybody's as well, so that a table that does
/// not answer is not asked by each of them in turn.
struct Look {
    seen: Result<Shown, Problem>,
    until: Timestamp,
}

type SharedBoard = Arc<tokio::sync::Mutex<Board>>;

/// The boards of the customers whose dashboards are open.
pub(crate) struct Boards(Mutex<Memory<CustomerId, SharedBoard>>);

impl Default for Boards {
    fn default() -> Self {
        Self(Mutex::new(Memory::of(BOARDS_MAX)))
    }
}

impl Boards {
    fn of(&self, customer_id: &CustomerId, now: Timestamp) -> SharedBoard {
        let mut boards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now.plus_ms(BOARD_KEPT_MS);
        Arc::clone(boards.keep(customer_id.clone(), until, now))
    }
}

impl Parts {
    /// What the dashboard of `customer_id` shows, a second old at most. Whoever asks at
    /// the same time waits for the same look.
    pub(crate) async fn board(&self, customer_id: &CustomerId) -> Result<Shown, Problem> {
        let board = self.boards.of(customer_id, self.clock.now());
        let mut board = board.lock().await;
        let now = self.clock.now();
        if let Some(look) = board.look.as_ref().filter(|look| now < look.until) {
            return look.seen.clone();
        }
        let seen = self.look(&mut board, customer_id, now).await;
        board.look = Some(Look {
            seen: seen.clone(),
            until: now.plus_ms(LOOK_FRESH_MS),
        });
        seen
    }

    async fn look(
        &self,
        board: &mut Board,
        customer_id: &CustomerId,
        now: Timestamp,
    ) -> Result<Shown, Problem> {
        let customer = self.directory.customer(customer_id).await;
        let customer = customer.map_err(of_error)?.ok_or_else(not_onboarded)?;
        let usage = self.usage(board, &customer, now).await?;
        let figures = Figures::of(&customer, usage)?;
        let events = self.events(board, customer_id, &figures, now).await?;
        let before = board.look.as_ref().and_then(|look| look.seen.as_ref().ok());
        match before {
            Some(before) if *before.figures == figures && before.events == events => {
                Ok(before.clone())
            }
            _ => Shown::new(figures, events, now),
        }
    }

    /// The latest events, read anew where they may be others.
    async fn events(
        &self,
        board: &mut Board,
        customer_id: &CustomerId,
        figures: &Figures,
        now: Timestamp,
    ) -> Result<Arc<[EventFigures]>, Problem> {
        let units = figures.moved_units();
        let known = board.events.take();
        let known = known.map(|known| known.at(units.clone(), now));
        let known = match known {
            Some(known) if !known.is_due(now) => known,
            known => {
                let events = self.latest_events(customer_id, EVENTS).await?;
                LatestEvents::read(known, events, units, now)
            }
        };
        Ok(Arc::clone(&board.events.insert(known).events))
    }

    /// The usage of the current period. What changes is read each time: today, and
    /// yesterday, for who works around midnight; and what lies beside the days, which is
    /// behind them in the same query.
    async fn usage<'a>(
        &self,
        board: &'a mut Board,
        customer: &KnownCustomer,
        now: Timestamp,
    ) -> Result<&'a PeriodUsage, Problem> {
        let row = &customer.row;
        let period_start = current_period(customer).start;
        let is_limited = row.spending_limit.is_some();
        let known = board.usage.take().filter(|known| {
            let is_same = known.period_start == period_start && known.is_limited == is_limited;
            is_same && now < known.until
        });
        let usage = match known {
            Some(mut known) => {
                let yesterday = yesterday(customer.now);
                let mut read = self.read(row, period_start, Some(yesterday)).await?;
                let mut days = std::mem::take(&mut known.of_period.days);
                days.retain(|day| day.midnight() < yesterday);
                days.append(&mut read.days);
                known.of_period = PeriodUsage { days, ..read };
                known
            }
            None => Usage {
                period_start,
                is_limited,
                of_period: self.read(row, period_start, None).await?,
                until: now.plus_ms(DAYS_FRESH_MS),
            },
        };
        Ok(&board.usage.insert(usage).of_period)
    }

    /// What the period that begins at `period_start` holds, of the days since a midnight
    /// or of all. Who has no limit needs the days alone, and half of what is in them.
    async fn read(
        &self,
        row: &CustomerRow,
        period_start: Timestamp,
        since: Option<Timestamp>,
    ) -> Result<PeriodUsage, Problem> {
        let (ledger, id) = (&self.ledger, &row.customer_id);
        if row.spending_limit.is_some() {
            return Ok(match since {
                Some(since) => {
                    ledger
                        .usage_of_period_since(id, period_start, since)
                        .await?
                }
                None => ledger.usage_of_period(id, period_start).await?,
            });
        }
        let days = match since {
            Some(since) => {
                let days = ledger.billable_days_of_period_since(id, period_start, since);
                days.await?
            }
            None => ledger.billable_days_of_period(id, period_start).await?,
        };
        Ok(PeriodUsage {
            days,
            ..PeriodUsage::default()
        })
    }
}

impl Shown {
    fn new(
        figures: Figures,
        events: Arc<[EventFigures]>,
        as_of: Timestamp,
    ) -> Result<Self, Problem> {
        let unwritable = |error| {
            tracing::error!(%error, "the dashboard's figures cannot be written as JSON");
            Problem::new(ProblemType::Internal, "the figures cannot be written")
        };
        let content = serde_json::to_vec(&(&figures, &events)).map_err(unwritable)?;
        let answer = Answer {
            figures: &figures,
            events: &events,
            as_of: as_of.to_string(),
        };
        let body = serde_json::to_vec(&answer).map_err(unwritable)?;
        Ok(Self {
            tag: EntityTag::of(&content),
            body: body.into(),
            figures: Arc::new(figures),
            events,
            as_of,
        })
    }
}
