//! Tables, a simulated Stripe with a metered price, an operator's API key.

use std::sync::Arc;

use axum::Router;
use billing::{Clock, CustomerId};
use ledger::{CustomerRow, Ledger, NewApiKey, Scope};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use stripe::{
    Aggregation, CreateMeter, CreatePrice, CreateProduct, ExposeSecret, PriceAmount,
    RequestOptions, SecretString,
};
use stripe_simulator::{Config, DEFAULT_SECRET_KEY, Simulator};
pub(crate) use test_support::HandClock;
use tokio::net::TcpListener;

use super::tables::Tables;

pub(crate) const LOOKUP_KEY: &str = "agent_operations_monthly";
pub(crate) const METER_EVENT_NAME: &str = "agent_operations";
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// An answer of one of the functions.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body, where the status is `status`.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The problem's kind, where the status is `status`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let kind = problem["type"].as_str().unwrap();
        kind.strip_prefix("urn:meterline:problem:")
            .unwrap()
            .to_owned()
    }
}

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) ledger: Ledger,
    pub(crate) stripe: stripe::Client,
    pub(crate) clock: HandClock,
    pub(crate) http: reqwest::Client,
    /// A key that may do everything.
    pub(crate) admin_key: String,
    simulator: Simulator,
}

impl World {
    /// Stripe as `meterline setup` leaves it: a meter, and a price of 2 cents.
    pub(crate) async fn start() -> Self {
        let world = Self::start_without_price().await;
        world.create_price("2").await;
        world
    }

    pub(crate) async fn start_without_price() -> Self {
        let clock = HandClock::at_present();
        let simulator = Simulator::start(Config {
            clock: Arc::new(clock.clone()),
            ..Config::manual()
        });
        let simulator = simulator.await.unwrap();
        let tables = Tables::start().await;
        let mut world = Self {
            ledger: tables.ledger.clone(),
            tables,
            stripe: stripe_client(&simulator.url(), 3),
            clock,
            http: http_client(),
            admin_key: String::new(),
            simulator,
        };
        world.admin_key = world.api_key(Scope::Admin, None).await;
        world
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// Where Stripe is.
    pub(crate) fn stripe_url(&self) -> String {
        self.simulator.url()
    }

    /// A client whose first failure is its last, so that a test sees each.
    pub(crate) fn impatient_stripe(&self) -> stripe::Client {
        stripe_client(&self.simulator.url(), 1)
    }

    /// A key for one scope, for `customers` or for all.
    pub(crate) async fn api_key(&self, scope: Scope, customers: Option<Vec<CustomerId>>) -> String {
        let mut made = NewApiKey::generate(vec![scope], self.clock.now()).unwrap();
        made.row.customers = customers;
        self.ledger.put_api_key(&made.row).await.unwrap();
        made.key.expose_secret().to_owned()
    }

    /// A metered price under the lookup key, and its meter, if there is none.
    pub(crate) async fn create_price(&self, unit_amount_decimal: &str) -> String {
        let amount = PriceAmount::PerUnit {
            unit_amount_decimal: unit_amount_decimal.to_owned(),
            transform_quantity: None,
        };
        self.create_price_of(amount, "usd").await
    }

    /// The same of any kind.
    pub(crate) async fn create_price_of(&self, amount: PriceAmount, currency: &str) -> String {
        let stripe = &self.stripe;
        let options = RequestOptions::new;
        let meters = stripe.list_meters().await.unwrap();
        let meter_id = match meters.iter().next() {
            Some(meter) => meter.id.clone(),
            None => {
                let meter = CreateMeter {
                    display_name: "Agent operations".to_owned(),
                    event_name: METER_EVENT_NAME.to_owned(),
                    formula: Aggregation::Sum,
                };
                stripe.create_meter(&meter, &options()).await.unwrap().id
            }
        };
        let product = CreateProduct {
            name: "Agent operations".to_owned(),
            ..Default::default()
        };
        let product = stripe.create_product(&product, &options()).await.unwrap();
        let price = CreatePrice {
            product: product.id,
            currency: currency.to_owned(),
            amount,
            interval: "month".to_owned(),
            meter: Some(meter_id),
            lookup_key: Some(LOOKUP_KEY.to_owned()),
            transfer_lookup_key: true,
            ..Default::default()
        };
        stripe.create_price(&price, &options()).await.unwrap().id
    }

    /// Serves a function's routes as in production, on a port of its own.
    pub(crate) async fn serve(&self, routes: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        serve(listener, routes)
    }

    /// A request under the operator's key.
    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).bearer_auth(&self.admin_key)
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        send(self.request(Method::GET, url)).await
    }

    pub(crate) async fn customer(&self, customer_id: &str) -> CustomerRow {
        let customer_id = CustomerId::parse(customer_id).unwrap();
        self.ledger.customer(&customer_id).await.unwrap().unwrap()
    }

    /// Stripe's answer to a request that the client has no call for.
    pub(crate) async fn stripe_form(&self, path: &str, form: &str) -> Value {
        let request = self.at_simulator(Method::POST, path);
        let form_type = "application/x-www-form-urlencoded";
        let request = request
            .header("content-type", form_type)
            .body(form.to_owned());
        send(request).await.expect(200)
    }

    /// Stripe's answer to a DELETE.
    pub(crate) async fn stripe_delete(&self, path: &str) -> Value {
        send(self.at_simulator(Method::DELETE, path))
            .await
            .expect(200)
    }

    /// Stripe's answer to a GET that the client has no call for.
    pub(crate) async fn stripe_get(&self, path: &str) -> Value {
        send(self.at_simulator(Method::GET, path)).await.expect(200)
    }

    /// A request to one of the simulator's own routes: what a person does.
    pub(crate) async fn tell_simulator(&self, path: &str, body: &Value) -> Answer {
        send(self.at_simulator(Method::POST, path).json(body)).await
    }

    /// Breaks Stripe, as the simulator's `POST /_simulator/faults` says.
    pub(crate) async fn break_stripe(&self, fault: &Value) {
        let request = self
            .at_simulator(Method::POST, "/_simulator/faults")
            .json(fault);
        send(request).await.expect(200);
    }

    /// Ends all faults, and says how often the last one ordered has struck.
    pub(crate) async fn repair_stripe(&self) -> u64 {
        let faults = send(self.at_simulator(Method::GET, "/_simulator/faults"))
            .await
            .expect(200);
        send(self.at_simulator(Method::DELETE, "/_simulator/faults"))
            .await
            .expect(200);
        let last = faults["data"].as_array().unwrap().last();
        last.map_or(0, |fault| fault["struck"].as_u64().unwrap())
    }

    /// Lets Stripe do all that is due, webhooks and what they cause included.
    pub(crate) async fn settle(&self) -> Value {
        send(self.at_simulator(Method::POST, "/_simulator/settle"))
            .await
            .expect(200)
    }

    /// A test clock that stands at the present.
    pub(crate) async fn test_clock(&self) -> String {
        let now_unix_s = self.clock.now().unix_s();
        let made = self
            .stripe
            .create_test_clock(now_unix_s, "a test", &RequestOptions::new())
            .await;
        made.unwrap().id
    }

    /// Moves a test clock to `unix_s`, and lets happen what lies on the way.
    pub(crate) async fn move_test_clock(&self, test_clock: &str, unix_s: i64) {
        let options = RequestOptions::new();
        self.stripe
            .advance_test_clock(test_clock, unix_s, &options)
            .await
            .unwrap();
        self.settle().await;
        let moved = self.stripe.retrieve_test_clock(test_clock).await.unwrap();
        assert_eq!((moved.frozen_time, moved.is_ready()), (unix_s, true));
    }

    fn at_simulator(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.simulator.url());
        let request = self
            .http
            .request(method, url)
            .bearer_auth(DEFAULT_SECRET_KEY);
        request.header("stripe-version", stripe::STRIPE_VERSION)
    }
}

pub(crate) fn serve(listener: TcpListener, routes: Router) -> String {
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, web::service(routes)).await });
    url
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

/// What an operator sends to onboard somebody.
pub(crate) fn a_customer(external_id: &str) -> Value {
    json!({
        "email": "ada@example.com", "payment_method": "pm_card_visa", "external_id": external_id,
    })
}

/// For plain HTTP on this machine; reqwest wants its TLS chosen all the same.
fn http_client() -> reqwest::Client {
    // Another test of this program may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A client that loses no time between its attempts.
pub(crate) fn stripe_client(url: &str, max_attempts: u32) -> stripe::Client {
    let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
        .with_api_base(url)
        .with_meter_events_base(url)
        .with_max_attempts(max_attempts)
        .with_retry_delay_ms(1, 1);
    stripe::Client::new(config).unwrap()
}
