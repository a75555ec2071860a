//! A simulator on a free port, a client that speaks like Stripe's, and a webhook endpoint.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use stripe_simulator::{Clock, Config, DEFAULT_SECRET_KEY, Data, Simulator};

pub(crate) const VERSION: &str = "2026-06-24.dahlia";
pub(crate) const ACACIA: &str = "2025-02-24.acacia";
/// 2026-01-15T12:00:00Z.
pub(crate) const START: i64 = 1_768_478_400;
pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 86_400;

/// A clock that stands still until the test moves it.
pub(crate) struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl HandClock {
    pub(crate) fn at(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds * 1000)))
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

pub(crate) fn client() -> reqwest::Client {
    // The first test to come here installs it for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The error object of a refusal.
    #[track_caller]
    pub(crate) fn refused(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body["error"].clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A simulator in the hands of a test.
pub(crate) struct Stripe {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) url: String,
    simulator: Option<Simulator>,
    client: reqwest::Client,
}

impl Stripe {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::manual(), HandClock::at(START)).await
    }

    /// One that does by itself what is due.
    pub(crate) async fn automatic() -> Self {
        Self::start_with(Config::default(), HandClock::at(START)).await
    }

    pub(crate) async fn on_file(path: &Path, clock: Arc<HandClock>) -> Self {
        let config = Config {
            data: Data::File(path.to_owned()),
            ..Config::manual()
        };
        Self::start_with(config, clock).await
    }

    async fn start_with(config: Config, clock: Arc<HandClock>) -> Self {
        let simulator = Simulator::start(Config {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            seed: Some(42),
            ..config
        })
        .await
        .unwrap();
        Self {
            clock,
            url: simulator.url(),
            simulator: Some(simulator),
            client: client(),
        }
    }

    pub(crate) async fn stop(mut self) {
        self.simulator.take().unwrap().stop().await;
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(DEFAULT_SECRET_KEY)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        send(self.request(Method::GET, path)).await.ok()
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        send(with_form(self.request(Method::POST, path), form)).await
    }

    /// A POST under an idempotency key.
    pub(crate) async fn post_as(&self, key: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("Idempotency-Key", key);
        send(with_form(request, form)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        send(self.request(Method::DELETE, path)).await.ok()
    }

    /// A POST of JSON, as v2 and the simulator's own routes take it.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("Stripe-Version", VERSION)
            .json(body);
        send(request).await
    }

    pub(crate) async fn get_v2(&self, path: &str) -> Value {
        let request = self
            .request(Method::GET, path)
            .header("Stripe-Version", VERSION);
        send(request).await.ok()
    }

    pub(crate) async fn settle(&self) -> Value {
        self.post("/_simulator/settle", &[]).await.ok()
    }

    pub(crate) async fn session(&self) -> String {
        let session = self
            .post_json("/v2/billing/meter_event_session", &json!({}))
            .await
            .ok();
        session["authentication_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn stream(&self, token: &str, events: &[Value]) -> Answer {
        let request = self
            .client
            .post(format!("{}/v2/billing/meter_event_stream", self.url))
            .bearer_auth(token)
            .header("Stripe-Version", VERSION)
            .json(&json!({ "events": events }));
        send(request).await
    }

    /// Moves a test clock and does what lies on the way.
    pub(crate) async fn advance(&self, test_clock: &str, to: i64) {
        let path = format!("/v1/test_helpers/test_clocks/{test_clock}");
        let advancing = self
            .post(
                &format!("{path}/advance"),
                &[("frozen_time", &to.to_string())],
            )
            .await
            .ok();
        assert_eq!(advancing["status"], "advancing");
        self.settle().await;
        assert_eq!(self.get(&path).await["status"], "ready");
    }

    /// The types of the events that are about one of these resources, oldest first.
    pub(crate) async fn told_of(&self, resources: &[&str]) -> Vec<String> {
        let events = self.get("/v1/events?limit=100").await;
        let newest_first = events["data"].as_array().unwrap().iter().rev();
        let types = newest_first.map(|event| event["type"].as_str().unwrap().to_owned());
        let is_about = |found: &String| {
            let resource = |name: &&str| found.starts_with(&format!("{name}."));
            resources.iter().any(resource)
        };
        types.filter(is_about).collect()
    }

    pub(crate) async fn webhook_endpoint(&self, url: &str) -> String {
        let form = [("url", url), ("enabled_events[]", "*")];
        let endpoint = self.post("/v1/webhook_endpoints", &form).await.ok();
        endpoint["secret"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.json().await.unwrap(),
    }
}

pub(crate) fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    request
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body.finish())
}

pub(crate) fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

/// A meter event of v2. Its time is `seconds` after the start.
pub(crate) fn event(identifier: &str, customer: &str, value: &str, seconds: i64) -> Value {
    let moment = time::OffsetDateTime::from_unix_timestamp(START + seconds).unwrap();
    json!({
        "identifier": identifier,
        "event_name": "documents",
        "timestamp": moment.format(&time::format_description::well_known::Rfc3339).unwrap(),
        "payload": { "stripe_customer_id": customer, "value": value },
    })
}

/// A metered product with one subscriber, who lives on a test clock.
pub(crate) struct Subscriber {
    pub(crate) test_clock: String,
    pub(crate) customer: String,
    pub(crate) meter: String,
    pub(crate) subscription: Value,
}

impl Subscriber {
    /// Subscribes a customer with a card to documents at 12.5 cents each.
    pub(crate) async fn with_card(stripe: &Stripe, card: &str) -> Self {
        let (meter, price) = catalog(stripe).await;
        let start = START.to_string();
        let form = [("frozen_time", start.as_str())];
        let test_clock = stripe.post("/v1/test_helpers/test_clocks", &form).await;
        let test_clock = id(&test_clock.ok());
        let form = [("email", "ada@example.com"), ("test_clock", &test_clock)];
        let customer = id(&stripe.post("/v1/customers", &form).await.ok());
        give_card(stripe, &customer, card).await;
        let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
        let subscription = stripe.post("/v1/subscriptions", &form).await.ok();
        Self {
            test_clock,
            customer,
            meter,
            subscription,
        }
    }

    /// One whose first period has ended: 8 documents are invoiced, and were to be paid.
    pub(crate) async fn billed(stripe: &Stripe, card: &str) -> Self {
        let subscriber = Self::with_card(stripe, card).await;
        let token = stripe.session().await;
        let usage = [event("one", &subscriber.customer, "8", 0)];
        stripe.stream(&token, &usage).await.ok();
        let paid_at = subscriber.period_end() + HOUR;
        stripe.advance(&subscriber.test_clock, paid_at).await;
        subscriber
    }

    pub(crate) fn subscription_id(&self) -> String {
        id(&self.subscription)
    }

    pub(crate) fn period_end(&self) -> i64 {
        self.subscription["items"]["data"][0]["current_period_end"]
            .as_i64()
            .unwrap()
    }

    /// The invoice of the period that ended last.
    pub(crate) async fn invoice(&self, stripe: &Stripe) -> Value {
        let path = format!(
            "/v1/invoices?subscription={}&limit=1",
            self.subscription_id()
        );
        stripe.get(&path).await["data"][0].clone()
    }

    pub(crate) async fn status(&self, stripe: &Stripe) -> String {
        let path = format!("/v1/subscriptions/{}", self.subscription_id());
        let subscription = stripe.get(&path).await;
        subscription["status"].as_str().unwrap().to_owned()
    }

    /// What the meter counted in the first 30 days.
    pub(crate) async fn counted(&self, stripe: &Stripe) -> Value {
        let path = format!(
            "/v1/billing/meters/{}/event_summaries?customer={}&start_time={START}&end_time={}",
            self.meter,
            self.customer,
            START + 30 * DAY
        );
        stripe.get(&path).await["data"][0]["aggregated_value"].clone()
    }
}

/// Makes a meter and a price of 12.5 cents per document.
pub(crate) async fn catalog(stripe: &Stripe) -> (String, String) {
    let form = [
        ("display_name", "Documents"),
        ("event_name", "documents"),
        ("default_aggregation[formula]", "sum"),
    ];
    let meter = id(&stripe.post("/v1/billing/meters", &form).await.ok());
    let product = stripe.post("/v1/products", &[("name", "Documents")]).await;
    let product = id(&product.ok());
    let form = [
        ("product", product.as_str()),
        ("currency", "usd"),
        ("unit_amount_decimal", "12.5"),
        ("lookup_key", "documents"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", &meter),
    ];
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    (meter, price)
}

/// Attaches a test card and makes it the customer's default.
pub(crate) async fn give_card(stripe: &Stripe, customer: &str, card: &str) -> String {
    let path = format!("/v1/payment_methods/{card}/attach");
    let method = id(&stripe.post(&path, &[("customer", customer)]).await.ok());
    let form = [("invoice_settings[default_payment_method]", method.as_str())];
    let path = format!("/v1/customers/{customer}");
    stripe.post(&path, &form).await.ok();
    method
}
