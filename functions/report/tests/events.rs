//! Stories of a customer's audit log: lists and exports of it, over HTTP.

use billing::{
    ActionType, BillingTime, CustomerId, EventId, HeldReason, Quantity, Timestamp, UsageEvent,
    UsageStatus,
};
use ledger::{Recorded, Scope, Transition, UsageEventRow};
use reqwest::Method;
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::world::{Answer, HOUR_MS, METER_EVENT_NAME, a_customer, send};

const MINUTE_MS: i64 = 60_000;

/// A usage event that is told of to the log, as an emission does.
struct Told<'a> {
    event_id: &'a str,
    action_type: &'a str,
    /// After the period's start.
    minute: i64,
    meter: &'a str,
    /// When it is billed, after the period's start; none where it is held.
    billed_minute: Option<i64>,
}

impl<'a> Told<'a> {
    fn at(event_id: &'a str, minute: i64) -> Self {
        Self {
            event_id,
            action_type: "document_processed",
            minute,
            meter: METER_EVENT_NAME,
            billed_minute: Some(minute),
        }
    }
}

impl Story {
    async fn tell(&self, told: Told<'_>) -> UsageEventRow {
        let start = self.customer.period_start;
        let occurred_at = start.plus_ms(told.minute * MINUTE_MS);
        let event = UsageEvent {
            event_id: EventId::parse(told.event_id).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(3).unwrap(),
            action_type: ActionType::parse(told.action_type).unwrap(),
            occurred_at: Some(occurred_at),
            source: None,
        };
        let held = BillingTime::Held(HeldReason::NoSubscriptionItem);
        let billed = told
            .billed_minute
            .map_or(held, |minute| BillingTime::Billable {
                billed_at: start.plus_ms(minute * MINUTE_MS),
                period_start: start,
                carried_over: minute != told.minute,
            });
        let token = told.event_id.to_owned();
        let row = UsageEventRow::new(&event, occurred_at, billed, told.meter, token, occurred_at);
        let recorded = self.world.ledger.record_usage_event(&row, occurred_at, 0);
        assert_eq!(recorded.await.unwrap(), Recorded::New);
        row
    }

    async fn move_to(&self, row: &UsageEventRow, status: UsageStatus, stripe_code: Option<&str>) {
        let transition = Transition {
            from: UsageStatus::Pending,
            to: status,
            at: row.recorded_at.plus_ms(150),
            stripe_code,
        };
        let ledger = &self.world.ledger;
        let moved = ledger.transition_usage_event(&row.identifier, transition);
        moved.await.unwrap();
    }

    fn time(&self, minute: i64) -> Timestamp {
        self.customer.period_start.plus_ms(minute * MINUTE_MS)
    }

    /// Every page of a list, by the ids on it; `between` happens after each.
    async fn pages(&self, query: &str, mut between: impl AsyncFnMut(usize)) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("events?{query}{cursor}")).await;
            let page = page.expect(200);
            pages.push(ids(&page));
            let Some(next) = page["next_cursor"].as_str() else {
                return pages;
            };
            cursor = format!("&cursor={next}");
            between(pages.len()).await;
        }
    }

    /// Every part of an export, by following the links.
    async fn parts(&self, query: &str) -> Vec<Answer> {
        let mut parts = Vec::new();
        let mut url = self.customer_url(&format!("events/export?{query}"));
        loop {
            let part = self.world.get(&url).await;
            assert_eq!(part.status, 200, "{}", part.text);
            let link = part.headers.get("link");
            let link = link.map(|link| link.to_str().unwrap().to_owned());
            parts.push(part);
            let Some(link) = link else { return parts };
            let path = link.strip_prefix('<').unwrap();
            let path = path.strip_suffix(">; rel=\"next\"").unwrap();
            url = format!("{}{path}", self.url);
        }
    }
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    let ids = events.map(|event| event["event_id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn the_latest_events_come_first_each_with_where_it_stands_and_why() {
    let story = Story::start().await;
    let delivered = story.tell(Told::at("delivered", 1)).await;
    story
        .move_to(&delivered, UsageStatus::Delivered, None)
        .await;
    let rejected = story.tell(Told::at("rejected", 2)).await;
    let code = Some("no_meter");
    story.move_to(&rejected, UsageStatus::Rejected, code).await;
    story.tell(Told::at("pending", 3)).await;
    let held = Told {
        billed_minute: None,
        ..Told::at("held", 4)
    };
    story.tell(held).await;
    let listed = story.get("events").await.expect(200);
    assert_eq!(listed["next_cursor"], Value::Null);
    let stands = |event: &Value| {
        let names = [
            "event_id",
            "status",
            "held_reason",
            "stripe_code",
            "quantity",
        ];
        names.map(|name| event[name].clone())
    };
    let events = listed["events"].as_array().unwrap();
    let stand: Vec<_> = events.iter().map(stands).collect();
    assert_eq!(
        json!(stand),
        json!([
            ["held", "held", "no_subscription_item", null, 3],
            ["pending", "pending", null, null, 3],
            ["rejected", "rejected", null, "no_meter", 3],
            ["delivered", "delivered", null, null, 3],
        ])
    );
    // As the one event is shown.
    let url = format!("{}/v1/usage/{}", story.url, story.customer.customer_id);
    let shown = story.world.get(&format!("{url}/delivered")).await;
    assert_eq!(shown.expect(200), events[3]);
    assert_eq!(events[3]["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn no_event_is_on_two_pages_or_on_none_whatever_is_recorded_meanwhile() {
    let story = Story::start().await;
    // Of each millisecond several, which only their identifiers tell apart.
    let told: Vec<String> = (0..60).map(|n| format!("event-{n}")).collect();
    let mut rows = Vec::new();
    for (n, event_id) in (0..).zip(&told) {
        rows.push(story.tell(Told::at(event_id, 100 + n / 7)).await);
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.occurred_at, row.identifier.clone())));
    let expected: Vec<&str> = rows.iter().map(|row| row.event_id.as_str()).collect();
    for limit in [1, 7, 59, 60, 61, 100] {
        let pages = story.pages(&format!("limit={limit}"), async |_| {}).await;
        assert_eq!(pages.concat(), expected, "{limit}");
        assert!(pages.iter().all(|page| page.len() <= limit), "{limit}");
        let full = pages.len() - 1;
        assert!(pages[..full].iter().all(|page| page.len() == limit));
        assert!(!pages[full].is_empty(), "{limit}");
    }
    let meanwhile = async |page: usize| {
        story.tell(Told::at(&format!("new-{page}"), 200)).await;
        if page == 1 {
            story.tell(Told::at("late", 1)).await;
        }
    };
    let pages = story.pages("limit=9", meanwhile).await.concat();
    assert_eq!(pages[..60], expected);
    assert_eq!(pages[60..], ["late"]);
}

#[tokio::test]
async fn a_list_holds_what_its_filter_says() {
    let story = Story::start().await;
    for (event_id, minute) in [("a", 10), ("b", 20), ("c", 30)] {
        let row = story.tell(Told::at(event_id, minute)).await;
        if event_id != "c" {
            story.move_to(&row, UsageStatus::Delivered, None).await;
        }
    }
    let read = Told {
        action_type: "page_read",
        meter: "pages",
        ..Told::at("read", 40)
    };
    story.tell(read).await;
    let carried = Told {
        billed_minute: Some(25),
        ..Told::at("carried", -3_000)
    };
    story.tell(carried).await;
    let held = Told {
        billed_minute: None,
        ..Told::at("held", 25)
    };
    story.tell(held).await;
    let (at_20, at_30) = (story.time(20), story.time(30));
    for (query, expected) in [
        (
            String::new(),
            vec!["read", "c", "held", "b", "a", "carried"],
        ),
        (format!("from={at_20}"), vec!["read", "c", "held", "b"]),
        (format!("to={at_20}"), vec!["a", "carried"]),
        (format!("from={at_20}&to={at_30}"), vec!["held", "b"]),
        ("status=delivered".to_owned(), vec!["b", "a"]),
        ("action_type=page_read".to_owned(), vec!["read"]),
        ("meter_event_name=pages".to_owned(), vec!["read"]),
        (
            format!("billed_from={at_20}&billed_to={at_30}"),
            vec!["b", "carried"],
        ),
        (
            format!("billed_from={at_20}&billed_to={at_30}&status=delivered"),
            vec!["b"],
        ),
        ("status=voided".to_owned(), vec![]),
    ] {
        let pages = story.pages(&query, async |_| {}).await;
        assert_eq!(pages.concat(), expected, "{query}");
        let one_by_one = story.pages(&format!("limit=1&{query}"), async |_| {}).await;
        assert_eq!(one_by_one.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_a_filter_passes_over_is_bounded_for_each_answer() {
    let story = Story::start().await;
    story.tell(Told::at("the first", 0)).await;
    for n in 0..1_050 {
        let event_id = format!("read-{n}");
        let other = Told {
            action_type: "page_read",
            ..Told::at(&event_id, 1 + n)
        };
        story.tell(other).await;
    }
    for filter in ["action_type=document_processed", "meter_event_name=none"] {
        let first = story.get(&format!("events?{filter}")).await.expect(200);
        assert_eq!(ids(&first), [""; 0], "{filter}");
        assert!(first["next_cursor"].is_string(), "{filter}");
    }
    let pages = story
        .pages("action_type=document_processed", async |_| {})
        .await;
    assert_eq!(pages, [vec![], vec!["the first".to_owned()]]);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_by_name() {
    let story = Story::start().await;
    let row = story.tell(Told::at("a", 0)).await;
    let cursor = row.position().to_token().unwrap();
    for (query, field) in [
        ("events?limit=0", "limit"),
        ("events?limit=101", "limit"),
        ("events?cursor=", "cursor"),
        (&format!("events?cursor={}", &cursor[1..]), "cursor"),
        (
            &format!("events?cursor={}", cursor.to_uppercase()),
            "cursor",
        ),
        ("events?from=yesterday", "from"),
        ("events?from=1769860800&to=1769860800", "to"),
        ("events?billed_from=1769860800&billed_to=1", "billed_to"),
        ("events?action_type=a%20b", "action_type"),
        ("events?status=gone", "status"),
        ("events?format=csv", "format"),
        ("events/export?format=xlsx", "format"),
        ("events/export?limit=1001", "limit"),
    ] {
        let refusal = story.get(query).await;
        assert_eq!(refusal.problem(400), "invalid-field", "{query}");
        assert_eq!(refusal.json()["field"], field, "{query}");
    }
    let misspelt = story.get("events?state=held").await;
    assert_eq!(misspelt.problem(400), "invalid-request");
    let there = story.get(&format!("events?cursor={cursor}")).await;
    assert_eq!(ids(&there.expect(200)), [""; 0]);
}

#[tokio::test]
async fn a_customer_is_read_by_who_may_and_nobody_is_nobody() {
    let story = Story::start().await;
    story.tell(Told::at("a", 0)).await;
    let own = Some(vec![story.customer.customer_id.clone()]);
    let other = Some(vec![CustomerId::parse("cus_other").unwrap()]);
    for (scope, customers, status) in [
        (Scope::Read, own.clone(), 200),
        (Scope::Read, None, 200),
        (Scope::Admin, own.clone(), 200),
        (Scope::Read, other, 403),
        (Scope::Emit, own, 403),
    ] {
        let key = story.world.api_key(scope, customers.clone()).await;
        for path in ["events", "events/export"] {
            let request = story.world.http.get(story.customer_url(path));
            let answer = send(request.bearer_auth(&key)).await;
            assert_eq!(answer.status, status, "{scope:?} {customers:?} {path}");
        }
    }
    for path in ["events", "events/export"] {
        let url = format!("{}/v1/customers/cus_nobody/{path}", story.url);
        let nobody = story.world.get(&url).await;
        assert_eq!(nobody.problem(404), "customer-not-found", "{path}");
    }
}

/// A cursor is a place, and no key: under another customer it is a place of theirs.
#[tokio::test]
async fn a_cursor_of_one_customer_shows_nothing_of_it_to_another() {
    let story = Story::start().await;
    let first = story.tell(Told::at("a", 0)).await;
    story.tell(Told::at("b", 1)).await;
    let onboarding = onboarding::State::new(
        story.world.ledger.clone(),
        story.world.stripe.clone(),
        crate::support::world::LOOKUP_KEY.to_owned(),
        story.world.clock(),
    );
    let onboarding = story.world.serve(onboarding::router(onboarding)).await;
    let request = story
        .world
        .request(Method::POST, &format!("{onboarding}/v1/customers"));
    let other = send(request.json(&a_customer("other"))).await.expect(201);
    let other = other["customer_id"].as_str().unwrap();
    let cursor = first.position().to_token().unwrap();
    for path in ["events", "events/export?format=jsonl"] {
        let and = if path.contains('?') { '&' } else { '?' };
        let url = format!(
            "{}/v1/customers/{other}/{path}{and}cursor={cursor}",
            story.url
        );
        let theirs = story.world.get(&url).await;
        assert_eq!(theirs.status, 200, "{}", theirs.text);
        assert!(!theirs.text.contains("event_id"), "{}", theirs.text);
    }
}

#[tokio::test]
async fn the_parts_of_an_export_are_the_file() {
    let story = Story::start().await;
    let hostile = ["=1+1", "a,\"b\"\r\nc", "plain", "ä", "@x", "e6"];
    for (minute, event_id) in (0..).zip(hostile) {
        story.tell(Told::at(event_id, minute)).await;
    }
    let csv: String = story
        .parts("limit=2")
        .await
        .into_iter()
        .map(|part| part.text)
        .collect();
    let whole = story.parts("").await;
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].text, csv);
    assert_eq!(whole[0].headers["content-type"], "text/csv; charset=utf-8");
    let name = format!(
        "attachment; filename=\"events-{}.csv\"",
        story.customer.customer_id
    );
    assert_eq!(whole[0].headers["content-disposition"], name);
    assert!(csv.starts_with("\"event_id\",\"identifier\","), "{csv}");
    assert_eq!(csv.matches("\"event_id\",\"identifier\",").count(), 1);
    let lines = [
        "\r\n\"'=1+1\",",
        "\r\n\"a,\"\"b\"\"\r\nc\",",
        "\r\n\"plain\",",
        "\r\n\"ä\",",
        "\r\n\"'@x\",",
    ];
    let places: Vec<_> = lines.map(|line| csv.find(line).unwrap()).into();
    assert!(places.is_sorted(), "{csv}");

    let parts = story
        .parts("format=jsonl&limit=4&from=2000-01-01T00:00:00%2B00:00")
        .await;
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].headers["content-type"], "application/x-ndjson");
    let lines: String = parts.into_iter().map(|part| part.text).collect();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = events
        .iter()
        .map(|it| it["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, hostile);
    let mut listed = story.get("events").await.expect(200);
    listed["events"].as_array_mut().unwrap().reverse();
    assert_eq!(listed["events"], json!(events));
}

#[tokio::test]
async fn an_export_of_what_a_period_bills_has_what_was_carried_into_it() {
    let story = Story::start().await;
    let minutes = HOUR_MS / MINUTE_MS;
    for (event_id, minute, billed_minute) in [
        ("long before", -30 * 24 * minutes, 5),
        ("just before", -1, -1),
        ("within", 3, 3),
        ("after", 60, 60),
    ] {
        let told = Told {
            billed_minute: Some(billed_minute),
            ..Told::at(event_id, minute)
        };
        story.tell(told).await;
    }
    let (from, to) = (story.time(0), story.time(60));
    let query = format!("format=jsonl&billed_from={from}&billed_to={to}");
    let parts = story.parts(&query).await;
    let ids: Vec<Value> = parts[0]
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].clone())
        .collect();
    assert_eq!(ids, ["long before", "within"]);
}
