//! Thresholds of spending limits: each is told of once, whatever repeats, and
//! taken back when it matters no more.

use std::collections::BTreeSet;
use std::time::Duration;

use limits::{Duties, LimitWatcher, Looked, Occasion};
use notify::{Notifier, Ways};
use rollup::LimitLooks;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;
use stack::notifications::TOPIC_ARN;
use stack::stream_pump::StreamPump;
use tokio::time::Instant;

use crate::support::{Story, http, pump_all, settle};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;

impl Story {
    async fn set_limit(&self, units: u64) {
        self.set_limit_of(&self.customer_id, units).await;
    }

    async fn set_limit_of(&self, customer_id: &str, units: u64) {
        let path = format!("/v1/customers/{customer_id}/spending-limit");
        let limit = json!({ "units": units, "enforcement": "soft" });
        let (status, answer) = self.caller.put(&path, limit).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn remove_limit(&self) {
        let path = format!("/v1/customers/{}/spending-limit", self.customer_id);
        let (status, answer) = self.caller.delete(&path).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Uses so many units, and has them counted.
    async fn used(&self, name: &str, units: usize) {
        self.caller.emit(&self.customer_id, name, units).await;
        pump_all(&self.system).await;
    }

    /// Lets the minute run do what is due a minute later.
    async fn pass_a_minute(&self) {
        self.clock.advance_s(MINUTE_S);
        self.system.redeliver().await.unwrap();
    }

    /// What the operator was told of limits, in order.
    fn told(&self) -> Vec<Value> {
        let told = std::fs::read_to_string(self.system.notifications().file()).unwrap();
        let told = told.lines().map(|line| serde_json::from_str(line).unwrap());
        let of_limits = |news: &Value| news["kind"].as_str().unwrap().starts_with("limit_");
        told.filter(of_limits).collect()
    }

    /// The same, each by what it says: `50 reached`.
    fn told_in_short(&self) -> Vec<String> {
        let short = |news: Value| {
            let kind = news["kind"].as_str().unwrap();
            let kind = kind.strip_prefix("limit_threshold_").unwrap();
            format!("{} {kind}", news["data"]["threshold_percent"])
        };
        self.told().into_iter().map(short).collect()
    }
}

#[tokio::test]
async fn each_threshold_is_told_of_once_as_it_is_crossed() {
    let story = Story::start().await;
    story.set_limit(10).await;
    story.used("a", 4).await;
    assert_eq!(story.told_in_short(), [""; 0]);
    story.used("b", 1).await;
    assert_eq!(story.told_in_short(), ["50 reached"]);
    story.used("c", 5).await;
    let all = ["50 reached", "80 reached", "100 reached"];
    assert_eq!(story.told_in_short(), all);
    // More usage, and whoever looks again, has nothing new to say.
    story.used("d", 3).await;
    story.pass_a_minute().await;
    story.clock.advance_s(2 * HOUR_S);
    story.pass_a_minute().await;
    assert_eq!(story.told_in_short(), all);

    let told = story.told();
    let row = story.system.ledger();
    let customer_id = billing::CustomerId::parse(&story.customer_id).unwrap();
    let row = row.customer(&customer_id).await.unwrap().unwrap();
    assert_eq!(
        told[0],
        json!({
            "version": 1,
            "id": format!(
                "limit:{customer_id}:{}:{}:50:limit_threshold_reached",
                row.period_start.unix_s(),
                row.spending_limit.unwrap().revision
            ),
            "kind": "limit_threshold_reached",
            "created_at": told[0]["created_at"],
            "customer": { "customer_id": story.customer_id, "external_id": "first" },
            "data": {
                "threshold_percent": 50,
                "period_start": row.period_start.to_string(),
                "period_end": row.period_end.to_string(),
                "limit": { "units": 10, "amount": null, "enforcement": "soft" },
                "used_units": 5, "used_amount": "0.10", "currency": "usd",
                "used_percent": 50, "stopped": false,
            },
        })
    );
    let ids: BTreeSet<_> = told.iter().map(|news| news["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_that_is_raised_takes_its_alerts_back_until_they_are_crossed_anew() {
    let story = Story::start().await;
    story.set_limit(10).await;
    story.used("a", 9).await;
    assert_eq!(story.told_in_short(), ["50 reached", "80 reached"]);
    // Of 15 units, 9 are 60 percent: of another limit, which is told of for itself.
    story.set_limit(15).await;
    story.pass_a_minute().await;
    assert_eq!(
        story.told_in_short()[2..],
        ["50 resolved", "80 resolved", "50 reached"]
    );
    assert_eq!(story.told()[2]["data"]["reason"], "limit_changed");
    story.used("b", 3).await;
    assert_eq!(story.told_in_short()[5..], ["80 reached"]);
    assert_ne!(story.told()[5]["id"], story.told()[1]["id"]);
    // One that is lowered under what is used is told of, too.
    story.set_limit(12).await;
    story.pass_a_minute().await;
    let lowered = [
        "50 resolved",
        "80 resolved",
        "50 reached",
        "80 reached",
        "100 reached",
    ];
    assert_eq!(story.told_in_short()[6..], lowered);

    story.remove_limit().await;
    story.pass_a_minute().await;
    assert_eq!(
        story.told_in_short()[11..],
        ["50 resolved", "80 resolved", "100 resolved"]
    );
    assert_eq!(story.told()[11]["data"]["reason"], "limit_removed");
    story.used("c", 5).await;
    story.pass_a_minute().await;
    assert_eq!(story.told().len(), 14);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_look_that_knows_an_older_limit_puts_off_nothing_that_is_to_be_looked_at() {
    let story = Story::start().await;
    story.used("a", 9).await;
    let (ledger, clock) = (story.system.ledger(), story.system.clock());
    let customer_id = billing::CustomerId::parse(&story.customer_id).unwrap();
    let without = ledger.customer(&customer_id).await.unwrap().unwrap();
    let (start, end) = (without.period_start, without.period_end);
    let watcher = LimitWatcher::new(ledger.clone(), Ways::default(), clock.clone());
    // Whoever sets a limit has said when to look, and not yet set it.
    let look_at = clock.now().plus_ms(30_000);
    let said = ledger.watch_limit(&customer_id, start, look_at).await;
    said.unwrap();
    let looked = watcher.look(&without, &(start..end), Occasion::Due).await;
    assert_eq!(looked.unwrap(), Looked::default());
    let watch = ledger.limit_watch(&customer_id, start).await.unwrap();
    assert_eq!(watch.unwrap().due_at, Some(look_at));
    // Now it is set; who knows only what was before reads it before anything is stored.
    story.set_limit(10).await;
    story.clock.advance_s(MINUTE_S);
    let looked = watcher.look(&without, &(start..end), Occasion::Due).await;
    assert_eq!(looked.unwrap().raised, 2);
    story.pass_a_minute().await;
    let watch = ledger.limit_watch(&customer_id, start).await.unwrap();
    assert_eq!(watch.unwrap().raised.len(), 2);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn the_limit_of_a_customer_who_went_with_its_test_clock_is_looked_at_no_more() {
    let story = Story::start().await;
    let stripe = story.system.stripe();
    let now_s = story.system.clock().now().unix_s();
    let options = stripe::RequestOptions::new();
    let test_clock = stripe.create_test_clock(now_s, "trial", &options).await;
    let test_clock = test_clock.unwrap().id;
    let body = json!({
        "email": "agent@example.com", "payment_method": "pm_card_visa",
        "external_id": "clocked", "test_clock": test_clock,
    });
    let (status, customer) = story.caller.post("/v1/customers", body).await;
    assert_eq!(status, 201, "{customer}");
    let customer_id = customer["customer_id"].as_str().unwrap();
    story.set_limit_of(customer_id, 10).await;
    let gone = format!(
        "{}/v1/test_helpers/test_clocks/{test_clock}",
        story.system.stripe_url()
    );
    let key = story.system.stripe_secret_key().expose_secret();
    let gone = http().delete(gone).bearer_auth(key).send().await.unwrap();
    assert!(gone.status().is_success(), "{gone:?}");

    story.clock.advance_s(MINUTE_S);
    let report = story.system.redeliver().await.unwrap().limits;
    assert_eq!((report.looked, report.failed), (1, 0), "{report:?}");
    story.clock.advance_s(2 * HOUR_S);
    let report = story.system.redeliver().await.unwrap().limits;
    assert_eq!((report.looked, report.failed), (0, 0), "{report:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_new_period_begins_without_alerts_and_raises_its_own() {
    let story = Story::start().await;
    story.set_limit(10).await;
    story.used("a", 5).await;
    assert_eq!(story.told_in_short(), ["50 reached"]);
    story.pass_a_minute().await;
    story.clock.advance_s(32 * DAY_S);
    settle(&story.system).await;
    story.pass_a_minute().await;
    assert_eq!(story.told_in_short()[1..], ["50 resolved"]);
    assert_eq!(story.told()[1]["data"]["reason"], "period_ended");
    story.used("b", 5).await;
    assert_eq!(story.told_in_short()[2..], ["50 reached"]);
    let [first, second] = [0, 2].map(|n| story.told()[n].clone());
    assert_ne!(
        first["data"]["period_start"],
        second["data"]["period_start"]
    );
    assert_ne!(first["id"], second["id"]);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_could_not_be_told_is_told_later_under_the_same_id() {
    let story = Story::start().await;
    story.set_limit(10).await;
    story.caller.emit(&story.customer_id, "a", 5).await;
    // Another topic is refused: the rollup goes on, and the alert stays untold.
    let system = &story.system;
    let connection = Connection::embedded(system.dynamodb_url());
    let client = connection.sns_client(system.notifications().url());
    let deaf = Ways {
        notifier: Notifier::topic(client, format!("{TOPIC_ARN}-gone")),
        ..Ways::default()
    };
    let (ledger, stripe) = (system.ledger().clone(), system.stripe().clone());
    let watcher = LimitWatcher::new(ledger.clone(), deaf.clone(), system.clock());
    let looks = LimitLooks::new(ledger.clone(), watcher, system.clock());
    let (tables, streams) = (connection.client(), connection.streams_client());
    let pump = StreamPump::new(tables, streams, ledger.clone(), looks, None);
    while pump.pump().await.unwrap() > 0 {}
    assert_eq!(story.caller.total_units(&story.customer_id).await, 5);
    assert_eq!(story.told(), [Value::Null; 0]);

    // So does the minute run, as long as nobody listens.
    story.clock.advance_s(MINUTE_S);
    let duties = Duties::new(ledger, stripe, deaf, system.clock());
    let deadline = Instant::now() + Duration::from_secs(30);
    let report = duties.run(deadline).await.unwrap();
    assert_eq!((report.looked, report.untold, report.failed), (1, 1, 0));
    story.pass_a_minute().await;
    assert_eq!(story.told_in_short(), ["50 reached"]);
    story.pass_a_minute().await;
    story.used("b", 1).await;
    assert_eq!(story.told().len(), 1);
    story.system.stop().await.unwrap();
}
