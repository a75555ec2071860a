//! Deliveries: signed, repeated until taken, given up after three days.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{DAY, HOUR, START, Stripe, catalog, event, give_card, id};

/// What an endpoint was sent.
#[derive(Clone)]
pub(crate) struct Delivered {
    pub(crate) signature: String,
    pub(crate) body: String,
}

impl Delivered {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks the signature with the test's own HMAC; answers its timestamp.
    #[track_caller]
    pub(crate) fn check(&self, secret: &str) -> i64 {
        let (timestamp, signatures) = self.signature.split_once(",v1=").unwrap();
        let (signature, _) = signatures.split_once(",v0=").unwrap();
        let timestamp = timestamp.strip_prefix("t=").unwrap();
        let signed = format!("{timestamp}.{}", self.body);
        assert_eq!(signature, hmac_sha256(secret.as_bytes(), signed.as_bytes()));
        timestamp.parse().unwrap()
    }
}

/// RFC 2104, with a key shorter than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let padded = |filler: u8| {
        let mut block = [filler; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::digest([&padded(0x36)[..], message].concat());
    hex::encode(Sha256::digest([&padded(0x5c)[..], &inner].concat()))
}

/// A webhook endpoint whose next answers the test chooses; then it takes everything.
#[derive(Clone, Default)]
pub(crate) struct Endpoint {
    delivered: Arc<Mutex<Vec<Delivered>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Endpoint {
    pub(crate) async fn start() -> (Self, String) {
        let endpoint = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/hook", post(take))
            .with_state(endpoint.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (endpoint, url)
    }

    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    pub(crate) fn delivered(&self) -> Vec<Delivered> {
        self.delivered.lock().unwrap().clone()
    }

    pub(crate) fn types(&self) -> Vec<String> {
        let delivered = self.delivered();
        let text = |delivered: &Delivered| delivered.event()["type"].as_str().unwrap().to_owned();
        delivered.iter().map(text).collect()
    }
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> StatusCode {
    endpoint.delivered.lock().unwrap().push(Delivered {
        signature: headers["stripe-signature"].to_str().unwrap().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let status = endpoint.answers.lock().unwrap().pop_front();
    StatusCode::from_u16(status.unwrap_or(200)).unwrap()
}

#[tokio::test]
async fn a_delivery_is_repeated_until_it_is_taken() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let secret = stripe.webhook_endpoint(&url).await;
    endpoint.answer_next(&[500, 503]);

    let product = stripe.post("/v1/products", &[("name", "Documents")]).await;
    let product = product.ok();
    let done = stripe.settle().await;
    assert_eq!(
        (&done["delivered"], &done["failed"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(stripe.settle().await["failed"], 0, "the pause has begun");
    let pending = stripe.get("/v1/events?type=product.created").await;
    assert_eq!(pending["data"][0]["pending_webhooks"], 1);
    let failed = stripe.get("/v1/events?delivery_success=false").await;
    assert_eq!(failed["data"].as_array().unwrap().len(), 1);

    stripe.clock.pass(HOUR);
    assert_eq!(stripe.settle().await["failed"], 1);
    stripe.clock.pass(HOUR);
    assert_eq!(stripe.settle().await["delivered"], 1);

    let delivered = endpoint.delivered();
    let times: Vec<i64> = delivered.iter().map(|one| one.check(&secret)).collect();
    assert_eq!(times, [START, START + HOUR, START + 2 * HOUR]);
    assert!(
        delivered
            .iter()
            .all(|one| one.event()["data"]["object"] == product)
    );
    let taken = stripe.get("/v1/events?type=product.created").await;
    assert_eq!(taken["data"][0]["pending_webhooks"], 0);
}

#[tokio::test]
async fn a_delivery_is_given_up_after_three_days() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    stripe.webhook_endpoint(&url).await;
    endpoint.answer_next(&[500; 100]);
    stripe
        .post("/v1/products", &[("name", "Documents")])
        .await
        .ok();
    for _ in 0..=6 * 24 {
        stripe.settle().await;
        stripe.clock.pass(HOUR / 2);
    }
    let attempts = endpoint.delivered().len();
    assert!((5..20).contains(&attempts), "{attempts} attempts");
    let deliveries = stripe.get("/_simulator/deliveries?state=failed").await;
    assert_eq!(deliveries["data"][0]["last_outcome"], "500");
    stripe.clock.pass(7 * DAY);
    assert_eq!(stripe.settle().await["failed"], 0);
}

#[tokio::test]
async fn an_endpoint_gets_what_it_asked_for_and_shows_its_secret_once() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let form = [
        ("url", url.as_str()),
        ("enabled_events[0]", "customer.created"),
    ];
    let made = stripe.post("/v1/webhook_endpoints", &form).await.ok();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = stripe
        .get(&format!("/v1/webhook_endpoints/{}", id(&made)))
        .await;
    assert!(shown.get("secret").is_none());

    stripe
        .post("/v1/products", &[("name", "Documents")])
        .await
        .ok();
    stripe.post("/v1/customers", &[("name", "Ada")]).await.ok();
    stripe.settle().await;
    assert_eq!(endpoint.types(), ["customer.created"]);

    stripe
        .delete(&format!("/v1/webhook_endpoints/{}", id(&made)))
        .await;
    stripe.post("/v1/customers", &[("name", "Bob")]).await.ok();
    assert_eq!(stripe.settle().await["delivered"], 0);
}

#[tokio::test]
async fn a_draft_waits_for_the_answer_to_invoice_created() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let (_, price) = catalog(&stripe).await;
    let customer = id(&stripe.post("/v1/customers", &[("name", "Ada")]).await.ok());
    give_card(&stripe, &customer, "pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    stripe.post("/v1/subscriptions", &form).await.ok();
    stripe.settle().await;
    stripe.webhook_endpoint(&url).await;

    // The account's own month ends; the endpoint is out of order for two hours.
    stripe.clock.pass(31 * DAY);
    endpoint.answer_next(&[500, 500]);
    stripe.settle().await;
    stripe.clock.pass(2 * HOUR);
    let path = format!("/v1/invoices?customer={customer}&limit=1");
    let waiting = stripe.get(&path).await["data"][0].clone();
    assert_eq!(waiting["status"], "draft");
    stripe.settle().await;
    let answered = stripe.get(&path).await["data"][0].clone();
    let hour_later = START + 31 * DAY + 3 * HOUR;
    assert_eq!(answered["status"], "draft");
    assert_eq!(answered["automatically_finalizes_at"], hour_later);
    stripe.clock.pass(HOUR);
    stripe.settle().await;
    assert_eq!(stripe.get(&path).await["data"][0]["status"], "paid");
}

#[tokio::test]
async fn a_thin_event_says_what_the_stream_found_wrong() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let destination = json!({
        "name": "reports", "type": "webhook_endpoint", "event_payload": "thin",
        "enabled_events": ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"],
        "webhook_endpoint": { "url": url },
        "include": ["webhook_endpoint.signing_secret"],
    });
    let made = stripe
        .post_json("/v2/core/event_destinations", &destination)
        .await;
    let made = made.ok();
    let secret = made["webhook_endpoint"]["signing_secret"].as_str().unwrap();
    let (meter, _) = catalog(&stripe).await;
    let customer = id(&stripe.post("/v1/customers", &[("name", "Ada")]).await.ok());
    let token = stripe.session().await;
    let mut nameless = event("nameless", &customer, "1", 0);
    nameless["event_name"] = json!("unheard_of");
    let events = [
        event("good", &customer, "1", 0),
        event("no customer", "cus_nobody", "1", 0),
        event("no number", &customer, "many", 0),
        event("too old", &customer, "1", -36 * DAY),
        event("too early", &customer, "1", 301),
        nameless,
    ];
    // The stream takes the shape for good, and finds the rest out later.
    stripe.stream(&token, &events).await.ok();
    assert_eq!(stripe.settle().await["reported"], 5);

    let delivered = endpoint.delivered();
    assert_eq!(delivered.len(), 2);
    let mut reports = Vec::new();
    for thin in delivered {
        thin.check(secret);
        assert!(thin.event().get("data").is_none());
        let path = format!("/v2/core/events/{}", id(&thin.event()));
        reports.push(stripe.get_v2(&path).await);
    }
    let of = |name: &str| {
        reports
            .iter()
            .find(|report| report["type"] == name)
            .unwrap()
    };
    let report = of("v1.billing.meter.error_report_triggered");
    assert_eq!(report["related_object"]["id"], meter.as_str());
    let reason = &report["data"]["reason"];
    assert_eq!(reason["error_count"], 4);
    let found: Vec<(&str, &str)> = reason["error_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let sample = &found["sample_errors"][0]["request"]["identifier"];
            (found["code"].as_str().unwrap(), sample.as_str().unwrap())
        })
        .collect();
    let expected = [
        ("meter_event_customer_not_found", "no customer"),
        ("meter_event_invalid_value", "no number"),
        ("timestamp_in_future", "too early"),
        ("timestamp_too_far_in_past", "too old"),
    ];
    assert_eq!(found, expected);
    let unknown = of("v1.billing.meter.no_meter_found");
    assert_eq!(
        unknown["data"]["reason"]["error_types"][0]["code"],
        "no_meter"
    );
}

#[tokio::test]
async fn thin_events_are_listed_newest_first_in_pages() {
    let stripe = Stripe::start().await;
    let token = stripe.session().await;
    for (identifier, seconds) in [("first", 0), ("second", 60)] {
        let unknown = event(identifier, "cus_nobody", "1", seconds);
        stripe.stream(&token, &[unknown]).await.ok();
        stripe.settle().await;
        stripe.clock.pass(60);
    }
    let newest = stripe.get_v2("/v2/core/events?limit=1").await;
    let rest = stripe
        .get_v2(newest["next_page_url"].as_str().unwrap())
        .await;
    assert!(rest["next_page_url"].is_null());
    let of = |page: &Value| {
        let reason = &page["data"][0]["data"]["reason"];
        reason["error_types"][0]["sample_errors"][0]["request"]["identifier"].clone()
    };
    assert_eq!((of(&newest), of(&rest)), (json!("second"), json!("first")));
    let since = "/v2/core/events?created[gte]=2026-01-15T12:00:30Z";
    let since = stripe.get_v2(since).await;
    assert_eq!(since["data"], newest["data"]);
}

#[tokio::test]
async fn a_destination_shows_its_secret_once_and_its_address_on_request() {
    let stripe = Stripe::start().await;
    let path = "/v2/core/event_destinations";
    let include = json!(["webhook_endpoint.signing_secret", "webhook_endpoint.url"]);
    for name in ["one", "two"] {
        let destination = json!({
            "name": name, "type": "webhook_endpoint", "event_payload": "thin",
            "enabled_events": ["*"], "webhook_endpoint": { "url": "http://127.0.0.1:9/" },
            "include": include,
        });
        let made = stripe.post_json(path, &destination).await.ok();
        let secret = &made["webhook_endpoint"]["signing_secret"];
        assert!(secret.as_str().unwrap().starts_with("whsec_"));
    }
    let query = "include[]=webhook_endpoint.signing_secret&include[]=webhook_endpoint.url";
    let first = stripe.get_v2(&format!("{path}?{query}&limit=1")).await;
    let second = stripe
        .get_v2(first["next_page_url"].as_str().unwrap())
        .await;
    assert!(second["next_page_url"].is_null());
    for (page, name) in [(first, "two"), (second, "one")] {
        assert_eq!(page["data"][0]["name"], name);
        let endpoint = &page["data"][0]["webhook_endpoint"];
        assert_eq!(endpoint["url"], "http://127.0.0.1:9/");
        assert!(endpoint["signing_secret"].is_null());
    }
}
