//! One run: rounds of agents under faults, manoeuvres of the clock, rest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::agents::{Agents, Answers, Side, make};
use crate::checker::Subject;
use crate::direct::integer;
use crate::fault::Fault;
use crate::functions::Functions;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::stream::Stream;
use crate::world::World;
use crate::{Options, Progress, SoakError, Step};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// What the schedule gives a redelivery, in real time; what it may need in the
/// simulation with all its faults is far less.
const REDELIVERY_TIMEOUT: Duration = Duration::from_secs(55);

/// Something becomes pending a minute before redelivery looks at it.
const REDELIVERED_AFTER_MS: i64 = MINUTE_MS + SECOND_MS;

/// Each kind of manoeuvre happens so often in a run.
const MANOEUVRES: u64 = 3;

/// Moments around a period's end, in milliseconds from it. A draft is final an
/// hour after its `invoice.created` was taken.
const AROUND_PERIOD_END_MS: [i64; 15] = [
    -40 * SECOND_MS,
    -SECOND_MS,
    0,
    30 * SECOND_MS,
    20 * MINUTE_MS,
    44 * MINUTE_MS + 50 * SECOND_MS,
    45 * MINUTE_MS,
    52 * MINUTE_MS,
    59 * MINUTE_MS,
    60 * MINUTE_MS - SECOND_MS,
    60 * MINUTE_MS,
    61 * MINUTE_MS,
    75 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
];

/// Steps that end shortly before, or after, the send window of 23 hours does.
const AROUND_SEND_WINDOW_MS: [i64; 5] = [
    22 * HOUR_MS + 40 * MINUTE_MS,
    22 * HOUR_MS + 54 * MINUTE_MS,
    23 * HOUR_MS,
    24 * HOUR_MS + SECOND_MS,
    30 * HOUR_MS,
];

/// What happens in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Calls of agents, all at once.
    calls: usize,
    /// Nobody reaches Stripe.
    is_stripe_away: bool,
    /// Nobody reaches DynamoDB.
    is_dynamodb_away: bool,
    /// Redeliveries, at once.
    redeliveries: u64,
    rolls_up: bool,
    settles: bool,
    /// Requests after which the process is killed.
    kill_after: Option<u64>,
}

impl Round {
    /// The proxies at which nobody listens.
    fn proxies_away(self, world: &World) -> impl Iterator<Item = &Proxy> {
        let stripe = self.is_stripe_away.then_some(&world.stripe_proxy);
        let dynamodb = self.is_dynamodb_away.then_some(&world.dynamodb_proxy);
        stripe.into_iter().chain(dynamodb)
    }
}

/// A run.
pub(crate) struct Runner<'a> {
    pub(crate) world: World,
    pub(crate) agents: Agents,
    options: &'a Options,
    functions: Arc<Functions>,
    stream: Stream,
    random: Random,
    step: Step,
    started: Instant,
    told_at: Instant,
    on_progress: &'a dyn Fn(&Progress),
}

impl<'a> Runner<'a> {
    pub(crate) async fn start(
        world: World,
        options: &'a Options,
        on_progress: &'a dyn Fn(&Progress),
    ) -> Result<Self, SoakError> {
        let functions = Arc::new(Functions::start(&world.surroundings)?);
        world.endpoint.serve_with(Some(Arc::clone(&functions)));
        let table = world.surroundings.tables.usage_events.clone();
        let records = world.stream_records.clone();
        let stream = Stream::open(options.seed, &world.direct, &table, records).await?;
        Ok(Self {
            agents: Agents::new(options.seed, world.customers.len()),
            random: Random::of(options.seed, "runner"),
            step: Step::Emitting,
            started: Instant::now(),
            told_at: Instant::now(),
            world,
            options,
            functions,
            stream,
            on_progress,
        })
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            direct: &self.world.direct,
            customers: &self.world.customers,
            told: &self.agents.told,
        }
    }

    /// All events, and every manoeuvre on the way; at the end usage is pending.
    pub(crate) async fn play(&mut self) -> Result<(), SoakError> {
        self.world.faults.switch(true);
        let part = self.options.events / (2 * MANOEUVRES + 1);
        for n in 1..=2 * MANOEUVRES {
            self.emit_until(n * part).await?;
            if n % 2 == 1 {
                self.step_over_send_window().await?;
            } else {
                self.step_over_period_end().await?;
            }
        }
        self.emit_until(self.options.events).await?;
        let away = Round {
            calls: self.options.calls_at_once,
            is_stripe_away: true,
            rolls_up: true,
            ..Round::default()
        };
        self.round(away).await?;
        self.round(away).await
    }

    async fn emit_until(&mut self, events: u64) -> Result<(), SoakError> {
        while (self.agents.told.len() as u64) < events {
            let round = self.next_round();
            self.round(round).await?;
            let step_ms = self.random.below(20_000);
            self.step_ms(i64::try_from(step_ms).unwrap_or(0)).await?;
        }
        Ok(())
    }

    fn next_round(&mut self) -> Round {
        let random = &mut self.random;
        let requests = 4 * self.options.batch_events_max;
        Round {
            calls: self.options.calls_at_once,
            is_stripe_away: random.percent(4),
            is_dynamodb_away: random.percent(2),
            redeliveries: match random.below(100) {
                0..=19 => 1,
                20..=27 => 2,
                _ => 0,
            },
            rolls_up: random.percent(85),
            settles: random.percent(10),
            kill_after: random.percent(5).then(|| random.below(requests)),
        }
    }

    /// Agents, rollup, redelivery and Stripe, all at once, until all are done or
    /// the process is killed.
    async fn round(&mut self, round: Round) -> Result<(), SoakError> {
        let now_ms = self.now_ms().await?;
        let world = &self.world;
        for proxy in round.proxies_away(world) {
            proxy.close().await?;
        }
        if round.redeliveries > 1 {
            world.faults.count(Fault::RedeliveryTwoAtOnce);
        }
        if self.random.percent(1) {
            self.stream.split(&world.faults);
        }
        let events_max = self.options.batch_events_max;
        let calls: Vec<_> = (0..round.calls)
            .map(|_| self.agents.next_call(&now_ms, events_max))
            .collect();
        let (functions, faults) = (Arc::clone(&self.functions), &world.faults);
        let side = Side {
            functions: &functions,
            customers: &world.customers,
            faults,
        };
        let answers = Answers::default();
        let emitting = join_all(calls.into_iter().map(|call| make(call, side, &answers)));
        let deadline = Instant::now() + REDELIVERY_TIMEOUT;
        let redelivering = (0..round.redeliveries).map(|_| functions.redelivery.run(deadline));
        let rolling_up = async {
            self.stream.read(&world.direct).await?;
            if round.rolls_up {
                self.stream.deliver(&functions, faults).await;
            }
            Ok(())
        };
        let working = async { tokio::join!(emitting, join_all(redelivering), rolling_up) };
        let killed = async {
            match round.kill_after {
                Some(requests) => world.traffic.after(requests).await,
                None => std::future::pending().await,
            }
        };
        let living = async {
            tokio::select! {
                biased;
                () = killed => (true, Ok(())),
                (_, _, rolled_up) = working => (false, rolled_up),
            }
        };
        let settling = async {
            if round.settles {
                world.direct.settle().await
            } else {
                Ok(())
            }
        };
        let ((is_killed, rolled_up), settled) = tokio::join!(living, settling);
        rolled_up.and(settled)?;
        self.agents.hear(answers);
        if is_killed {
            self.restart()?;
        }
        for proxy in round.proxies_away(&self.world) {
            proxy.open().await?;
        }
        self.tell();
        Ok(())
    }

    /// What the process had begun and what it knew is gone.
    fn restart(&mut self) -> Result<(), SoakError> {
        self.world.faults.count(Fault::Killed);
        self.functions.killed.notify_waiters();
        self.functions = Arc::new(Functions::start(&self.world.surroundings)?);
        let functions = Arc::clone(&self.functions);
        self.world.endpoint.serve_with(Some(functions));
        Ok(())
    }

    async fn now_ms(&self) -> Result<Vec<i64>, SoakError> {
        let mut now_ms = Vec::with_capacity(self.world.customers.len());
        for customer in &self.world.customers {
            now_ms.push(self.world.now_ms_of(customer).await?);
        }
        Ok(now_ms)
    }

    async fn step_ms(&self, duration_ms: i64) -> Result<(), SoakError> {
        self.world.step_ms(duration_ms).await
    }

    /// Pending usage, and a day later.
    async fn step_over_send_window(&mut self) -> Result<(), SoakError> {
        self.world.faults.count(Fault::ClockOverSendWindow);
        self.leave_pending().await?;
        let place = self.random.place(AROUND_SEND_WINDOW_MS.len());
        let step_ms = AROUND_SEND_WINDOW_MS.get(place).copied();
        self.step_ms(step_ms.unwrap_or(HOUR_MS)).await?;
        for _ in 0..3 {
            self.late_round().await?;
            self.step_ms(6 * MINUTE_MS).await?;
        }
        Ok(())
    }

    /// Slowly over the end of everybody's period.
    async fn step_over_period_end(&mut self) -> Result<(), SoakError> {
        self.world.faults.count(Fault::ClockOverPeriodEnd);
        let end_ms = self.period_end_ms().await?;
        for (n, offset_ms) in AROUND_PERIOD_END_MS.into_iter().enumerate() {
            let is_left_out = n > 0 && self.random.percent(40);
            if is_left_out {
                continue;
            }
            let step_ms = end_ms + offset_ms - self.world.clock.unix_ms();
            self.step_ms(step_ms).await?;
            if self.random.percent(60) {
                self.world.direct.settle().await?;
            }
            if self.random.percent(30) {
                self.world.move_test_clocks().await?;
            }
            if self.random.percent(50) {
                self.leave_pending().await?;
            } else {
                self.late_round().await?;
            }
        }
        Ok(())
    }

    /// A round whose usage does not get to Stripe, and stands in the outbox.
    async fn leave_pending(&mut self) -> Result<(), SoakError> {
        let round = Round {
            calls: self.options.calls_at_once.div_ceil(2),
            is_stripe_away: true,
            rolls_up: true,
            ..Round::default()
        };
        self.round(round).await?;
        let round = Round {
            rolls_up: true,
            ..Round::default()
        };
        self.round(round).await
    }

    /// A round in which what waited is sent.
    async fn late_round(&mut self) -> Result<(), SoakError> {
        let round = Round {
            calls: self.options.calls_at_once.div_ceil(4),
            redeliveries: 1 + self.random.below(2),
            settles: self.random.percent(30),
            ..self.next_round()
        };
        self.round(round).await
    }

    /// The end of the current period of those who live in the account's time.
    async fn period_end_ms(&self) -> Result<i64, SoakError> {
        let direct = &self.world.direct;
        direct.settle().await?;
        let mut customers = self.world.customers.iter();
        let customer = customers.find(|customer| customer.test_clock.is_none());
        let customer = customer.map_or("", |customer| customer.id.as_str());
        let path = format!("/v1/subscriptions?customer={customer}");
        let subscriptions = direct.stripe(&path).await?;
        let item: &Value = &subscriptions["data"][0]["items"]["data"][0];
        Ok(integer(item, "current_period_end")? * SECOND_MS)
    }

    /// Peace: nothing is under way, everything that was written is rolled up.
    pub(crate) async fn make_peace(&mut self) -> Result<(), SoakError> {
        self.world.faults.switch(false);
        self.step_ms(0).await?;
        self.stream.drain(&self.world.direct, &self.functions).await
    }

    /// Redelivers until the outbox is empty.
    pub(crate) async fn come_to_rest(&mut self) -> Result<(), SoakError> {
        const ROUNDS_MAX: u32 = 50;
        for _ in 0..ROUNDS_MAX {
            self.step_ms(REDELIVERED_AFTER_MS).await?;
            let deadline = Instant::now() + REDELIVERY_TIMEOUT;
            let redelivered = self.functions.redelivery.run(deadline).await;
            self.stream
                .drain(&self.world.direct, &self.functions)
                .await?;
            let is_settled =
                redelivered.is_ok_and(|report| report == redelivery::Report::default());
            if is_settled {
                return Ok(());
            }
        }
        Err(SoakError::Restless("the outbox does not become empty"))
    }

    /// Ends everybody's period and waits until its invoice is final.
    pub(crate) async fn close_periods(&mut self) -> Result<(), SoakError> {
        let end_ms = self.period_end_ms().await?;
        self.step_ms(end_ms + MINUTE_MS - self.world.clock.unix_ms())
            .await?;
        for _ in 0..3 {
            self.world.move_test_clocks().await?;
            self.world.direct.settle().await?;
            self.step_ms(2 * HOUR_MS).await?;
        }
        self.world.direct.settle().await
    }

    fn tell(&mut self) {
        const EVERY: Duration = Duration::from_secs(1);
        if self.told_at.elapsed() < EVERY {
            return;
        }
        self.told_at = Instant::now();
        (self.on_progress)(&self.progress());
    }

    /// Says what comes now.
    pub(crate) fn begin(&mut self, step: Step) {
        self.step = step;
        (self.on_progress)(&self.progress());
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            step: self.step,
            events: self.agents.told.len() as u64,
            faults: self.world.faults.struck().values().sum(),
            elapsed: self.started.elapsed(),
        }
    }
}
