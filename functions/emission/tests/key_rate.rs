//! Requests of a key, counted over all environments: each emission here is one,
//! with a memory of its own, on one set of tables.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::{Request, Response};
use billing::Clock;
use futures_util::future::join_all;
use ledger::{ApiKeyCursor, Ledger, NewApiKey, RATE_WINDOW_MS, RequestRate, Scope, rate_window};
use serde_json::Value;
use stripe::{ExposeSecret, SecretString};
use tower::ServiceExt;
use web::Metrics;

use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;
use crate::support::world::{HandClock, World};

const WINDOW_S: u64 = RATE_WINDOW_MS as u64 / 1_000;

/// Any call with a key that is let in: there is nothing in it to emit.
const LET_IN: u16 = 400;

struct Environment(Router);

impl Environment {
    fn start(world: &World, ledger: &Ledger, clock: &HandClock) -> Self {
        Self::measured(world, ledger, clock, Metrics::default())
    }

    fn measured(world: &World, ledger: &Ledger, clock: &HandClock, metrics: Metrics) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let state = emission::State::new(ledger.clone(), world.stripe.clone(), clock);
        let state = state
            .with_metrics(metrics)
            .with_key_rate(RequestRate::new(1_000).unwrap());
        Self(web::service(emission::router(state)))
    }

    async fn answer(&self, key: &str) -> Response<Body> {
        let request = Request::post("/v1/usage").header(AUTHORIZATION, format!("Bearer {key}"));
        let request = request.body(Body::from("{}")).unwrap();
        self.0.clone().oneshot(request).await.unwrap()
    }

    async fn status(&self, key: &str) -> u16 {
        self.answer(key).await.status().as_u16()
    }

    /// How many of `count` requests at once are let in; the others are over the limit.
    async fn let_in(&self, key: &str, count: usize) -> u64 {
        let statuses = join_all((0..count).map(|_| self.status(key))).await;
        assert!(statuses.iter().all(|it| [LET_IN, 429].contains(it)));
        statuses.iter().map(|it| u64::from(*it == LET_IN)).sum()
    }
}

/// A key of `requests_per_second`.
async fn a_key(world: &World, requests_per_second: u32) -> (String, SecretString) {
    let mut made = NewApiKey::generate(vec![Scope::Emit], world.now()).unwrap();
    made.row.requests_per_second = Some(RequestRate::new(requests_per_second).unwrap());
    world.ledger.put_api_key(&made.row).await.unwrap();
    (made.row.key_id, made.key)
}

/// A world at the start of a window.
async fn a_world() -> World {
    let world = World::start().await;
    let start = rate_window(world.now()).plus_ms(RATE_WINDOW_MS);
    world.clock.advance_ms(start.ms_since(world.now()));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_environments_together_let_in_the_limit_and_no_request_more() {
    let world = a_world().await;
    let (_, key) = a_key(&world, 30).await;
    let key = key.expose_secret();
    // One clock is late, and one ahead, by less than a window.
    let clocks = [0, 0, 0, -2_000, 2_000].map(|ahead_ms| world.clock.ahead_by_ms(ahead_ms));
    let ledger = Tables::with_retries(&world.tables.url).ledger;
    let environments = clocks
        .iter()
        .map(|clock| Environment::start(&world, &ledger, clock));
    let environments: Vec<Environment> = environments.collect();
    // Who is late learns from the counter that the window has begun.
    let mut let_in = environments[0].let_in(key, 1).await;
    for _ in 0..3 {
        let counts = environments
            .iter()
            .map(|environment| environment.let_in(key, 100));
        let_in += join_all(counts).await.iter().sum::<u64>();
        // At most a fifth lies leased where nobody spends it.
        let limit = 30 * WINDOW_S;
        assert!((limit - limit / 5..=limit).contains(&let_in), "{let_in}");
        let_in = 0;
        for clock in &clocks {
            clock.advance_ms(RATE_WINDOW_MS);
        }
    }
}

#[tokio::test]
async fn who_is_over_the_limit_is_told_how_long_to_wait() {
    let world = a_world().await;
    let (_, key) = a_key(&world, 1).await;
    let environment = Environment::start(&world, &world.ledger, &world.clock);
    assert_eq!(environment.let_in(key.expose_secret(), 11).await, 10);
    world.clock.advance_ms(6_500);
    let refused = environment.answer(key.expose_secret()).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()[RETRY_AFTER], "4");
    let body = axum::body::to_bytes(refused.into_body(), 10_000).await;
    let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    assert_eq!(body["type"], "urn:meterline:problem:rate-limited");
    world.clock.advance_ms(4_000);
    assert_eq!(environment.status(key.expose_secret()).await, LET_IN);
}

#[tokio::test]
async fn what_is_over_the_limit_is_counted_and_a_guess_is_not() {
    let world = a_world().await;
    let (_, key) = a_key(&world, 1).await;
    let (metrics, lines) = Metrics::channel("meterline", "meterline-Emission");
    let environment = Environment::measured(&world, &world.ledger, &world.clock, metrics);
    assert_eq!(environment.let_in(key.expose_secret(), 13).await, 10);
    // Too many guesses are answered 429 as well, and are no key's.
    for n in 0..12 {
        let guess = format!("mk_{n:016x}_{}", "00".repeat(32));
        environment.status(&guess).await;
    }
    let counted = lines.try_iter().map(|line| line["rate_limited"].clone());
    assert_eq!(counted.collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn one_key_does_not_use_up_another_nor_a_stranger_its_requests() {
    let world = a_world().await;
    let (key_id, key) = a_key(&world, 1).await;
    let (_, other) = a_key(&world, 1).await;
    let environment = Environment::start(&world, &world.ledger, &world.clock);
    let wrong = format!("mk_{key_id}_{}", "00".repeat(32));
    for _ in 0..20 {
        assert_eq!(environment.status(&wrong).await, 401);
    }
    assert_eq!(environment.let_in(key.expose_secret(), 12).await, 10);
    assert_eq!(environment.let_in(other.expose_secret(), 12).await, 10);
}

#[tokio::test]
async fn without_its_counter_a_request_is_let_in() {
    let world = a_world().await;
    let (_, key) = a_key(&world, 1).await;
    let key = key.expose_secret();
    let lossy = Lossy::start(&world.tables.url).await;
    let ledger = Tables::at(&lossy.url).ledger;
    let environment = Environment::start(&world, &ledger, &world.clock);
    lossy.lose_of_keys("UpdateItem", Loss::Request);
    // For a window it is not asked again; then it counts what comes.
    assert_eq!(environment.let_in(key, 15).await, 15);
    lossy.assert_all_lost();
    world.clock.advance_ms(RATE_WINDOW_MS);
    assert_eq!(environment.let_in(key, 15).await, 10);
}

/// How often the counter of a key is written, at a steady rate of requests.
async fn writes(world: &World, environments: &[Environment], lossy: &Lossy, key: &str) -> usize {
    let before = lossy.seen("UpdateItem");
    for n in 0..100 {
        let environment = &environments[n % environments.len()];
        assert_eq!(environment.status(key).await, LET_IN);
        world.clock.advance_ms(RATE_WINDOW_MS / 100);
    }
    lossy.seen("UpdateItem") - before
}

#[tokio::test]
async fn a_steady_environment_writes_once_a_window() {
    let world = a_world().await;
    let (key_id, key) = a_key(&world, 1_000).await;
    let key = key.expose_secret();
    let lossy = Lossy::start(&world.tables.url).await;
    let ledger = Tables::at(&lossy.url).ledger;
    let start = || Environment::start(&world, &ledger, &world.clock);
    let one = [start()];
    let first = writes(&world, &one, &lossy, key).await;
    assert!((2..10).contains(&first), "{first}");
    assert_eq!(writes(&world, &one, &lossy, key).await, 1);
    assert_eq!(writes(&world, &one, &lossy, key).await, 1);

    // Of several, one opens the window, and who does so next knows it.
    let five = [start(), start(), start(), start(), start()];
    for _ in 0..2 {
        writes(&world, &five, &lossy, key).await;
    }
    let steady = writes(&world, &five, &lossy, key).await;
    assert!((5..=10).contains(&steady), "{steady}");

    let mut cursor = ApiKeyCursor::default();
    let page = world.ledger.next_api_keys(&mut cursor).await.unwrap();
    let page = page.unwrap();
    assert_eq!(page.keys.len(), 1);
    let unused_ms = world.now().ms_since(page.last_used_at[&key_id]);
    assert!((0..=RATE_WINDOW_MS).contains(&unused_ms), "{unused_ms}");
}

#[tokio::test]
async fn guesses_cost_few_reads_and_texts_that_are_no_keys_none() {
    let world = a_world().await;
    let (_, key) = a_key(&world, 1_000).await;
    let lossy = Lossy::start(&world.tables.url).await;
    let ledger = Tables::at(&lossy.url).ledger;
    let environment = Environment::start(&world, &ledger, &world.clock);
    assert_eq!(environment.status(key.expose_secret()).await, LET_IN);
    let known = lossy.seen("GetItem");
    for text in ["", "mk_1", "sk_live_123"] {
        assert_eq!(environment.status(text).await, 401);
    }
    assert_eq!(lossy.seen("GetItem"), known);

    let secret = "00".repeat(32);
    let mut statuses = Vec::new();
    for n in 0..50 {
        statuses.push(environment.status(&format!("mk_{n:016x}_{secret}")).await);
    }
    assert_eq!(lossy.seen("GetItem"), known + 10);
    assert_eq!(
        statuses,
        [[401; 10], [429; 10], [429; 10], [429; 10], [429; 10]].concat()
    );
    // Who is known is not kept waiting.
    world.clock.advance_ms(60_000);
    assert_eq!(environment.status(key.expose_secret()).await, LET_IN);
}
