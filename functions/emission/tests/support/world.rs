//! Tables, a simulated Stripe and a customer in both.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::Arc;

use billing::{Clock, CustomerId, PriceTerms, Timestamp};
use ledger::{CustomerRow, CustomerStatus, Ledger, MeteredItem, NewApiKey, Scope};
use metering::customers::trial_of;
use reqwest::Method;
use serde_json::{Value, json};
use stripe::{
    Aggregation, CreateCustomer, CreateMeter, CreatePrice, CreateProduct, CreateSubscription,
    ExposeSecret, PriceAmount, RequestOptions, SecretString, UsageApi,
};
use stripe_simulator::{Config, DEFAULT_SECRET_KEY, Simulator};
pub(crate) use test_support::HandClock;

use super::tables::Tables;

pub(crate) const METER_EVENT_NAME: &str = "agent_operations";

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) ledger: Ledger,
    pub(crate) stripe: stripe::Client,
    pub(crate) clock: HandClock,
    pub(crate) http: reqwest::Client,
    simulator: Simulator,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_usage_api(UsageApi::default()).await
    }

    /// Of an account whose usage is reported by `usage_api`.
    pub(crate) async fn with_usage_api(usage_api: UsageApi) -> Self {
        let clock = HandClock::at_present();
        let simulator = Simulator::start(Config {
            clock: Arc::new(clock.clone()),
            ..Config::manual()
        });
        let simulator = simulator.await.unwrap();
        let tables = Tables::start().await;
        Self {
            ledger: tables.ledger.clone(),
            tables,
            stripe: stripe_client_for(&simulator.url(), usage_api),
            clock,
            http: http_client(),
            simulator,
        }
    }

    /// Where both of Stripe's hosts are, and the key, as a function's variables.
    pub(crate) fn stripe_variables(&self) -> [(&'static str, String); 3] {
        [
            ("STRIPE_API_BASE", self.simulator.url()),
            ("STRIPE_METER_EVENTS_BASE", self.simulator.url()),
            ("STRIPE_SECRET_KEY", DEFAULT_SECRET_KEY.to_owned()),
        ]
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A customer with a metered subscription, in Stripe and in the tables. On
    /// a test clock, if one is named.
    pub(crate) async fn onboard(&self, test_clock: Option<&str>) -> CustomerRow {
        self.onboard_on(test_clock, None).await
    }

    /// A customer whose first `days` are free.
    pub(crate) async fn onboard_in_trial(&self, days: u32) -> CustomerRow {
        self.onboard_on(None, Some(days)).await
    }

    async fn onboard_on(
        &self,
        test_clock: Option<&str>,
        trial_period_days: Option<u32>,
    ) -> CustomerRow {
        let stripe = &self.stripe;
        let options = RequestOptions::new;
        let (meter_id, price_id) = self.metered_price(METER_EVENT_NAME).await;
        let customer = CreateCustomer {
            test_clock: test_clock.map(str::to_owned),
            ..CreateCustomer::default()
        };
        let customer = stripe.create_customer(&customer, &options()).await.unwrap();
        let subscription = CreateSubscription {
            customer: customer.id.clone(),
            prices: vec![price_id.clone()],
            bills_usage_records: !stripe.usage_api().has_meter(),
            trial_period_days,
            ..CreateSubscription::default()
        };
        let subscription = stripe
            .create_subscription(&subscription, &options())
            .await
            .unwrap();
        let item = subscription.items.iter().next().unwrap();
        let meter_event_name = match stripe.usage_api().has_meter() {
            true => METER_EVENT_NAME,
            false => "",
        };
        let row = CustomerRow {
            customer_id: CustomerId::parse(&customer.id).unwrap(),
            external_id: None,
            subscription_id: subscription.id.clone(),
            item: MeteredItem {
                subscription_item_id: item.id.clone(),
                price_id,
                price: PriceTerms::per_unit("1", "usd").try_into().unwrap(),
                meter_id,
                meter_event_name: meter_event_name.to_owned(),
                added_at: None,
            },
            more_items: Vec::new(),
            subscription_started_at: Timestamp::from_unix_s(subscription.start_date),
            subscription_ends_at: None,
            period_start: Timestamp::from_unix_s(item.current_period_start),
            period_end: Timestamp::from_unix_s(item.current_period_end),
            status: CustomerStatus::Active,
            grace_ends_at: None,
            test_clock: test_clock.map(str::to_owned),
            version: 1,
            created_at: self.now(),
            erased_at: None,
            spending_limit: None,
            trial: trial_of(&subscription),
        };
        self.ledger.create_customer(&row).await.unwrap();
        row
    }

    /// Gives `customer` an item for the meter of `event_name`, in Stripe and in
    /// the tables.
    pub(crate) async fn subscribe(&self, customer: &CustomerRow, event_name: &str) -> CustomerRow {
        let (meter_id, price_id) = self.metered_price(event_name).await;
        let subscription = &customer.subscription_id;
        let form = format!("subscription={subscription}&price={price_id}");
        let item = self
            .post_form_to_stripe("/v1/subscription_items", &form)
            .await;
        let mut row = customer.clone();
        row.more_items.push(MeteredItem {
            subscription_item_id: item["id"].as_str().unwrap().to_owned(),
            price_id,
            price: PriceTerms::per_unit("1", "usd").try_into().unwrap(),
            meter_id,
            meter_event_name: event_name.to_owned(),
            added_at: None,
        });
        self.ledger.update_customer(customer, row).await.unwrap();
        let row = self.ledger.customer(&customer.customer_id).await;
        row.unwrap().unwrap()
    }

    /// The meter of `event_name`, if usage goes to one, and its price, made once.
    pub(crate) async fn metered_price(&self, event_name: &str) -> (String, String) {
        let stripe = &self.stripe;
        let options = RequestOptions::new;
        let known = stripe.list_prices_by_lookup_key(event_name).await.unwrap();
        if let Some(price) = known.iter().next() {
            let meter = price.recurring.clone().unwrap().meter;
            return (meter.unwrap_or_default(), price.id.clone());
        }
        let meter = CreateMeter {
            display_name: "Agent operations".to_owned(),
            event_name: event_name.to_owned(),
            formula: Aggregation::Sum,
        };
        let meter = match stripe.usage_api().has_meter() {
            true => Some(stripe.create_meter(&meter, &options()).await.unwrap().id),
            false => None,
        };
        let product = CreateProduct {
            name: "Agent operations".to_owned(),
            ..CreateProduct::default()
        };
        let product = stripe.create_product(&product, &options()).await.unwrap();
        let price = CreatePrice {
            product: product.id,
            currency: "usd".to_owned(),
            amount: PriceAmount::PerUnit {
                unit_amount_decimal: "1".to_owned(),
                transform_quantity: None,
            },
            interval: "month".to_owned(),
            meter: meter.clone(),
            lookup_key: Some(event_name.to_owned()),
            transfer_lookup_key: false,
            metadata: stripe::Metadata::default(),
        };
        let price = stripe.create_price(&price, &options()).await.unwrap();
        (meter.unwrap_or_default(), price.id)
    }

    /// A key of `scopes`, for `customers` or for all.
    pub(crate) async fn api_key(
        &self,
        scopes: Vec<Scope>,
        customers: Option<Vec<CustomerId>>,
    ) -> String {
        let mut made = NewApiKey::generate(scopes, self.now()).unwrap();
        made.row.customers = customers;
        self.ledger.put_api_key(&made.row).await.unwrap();
        made.key.expose_secret().to_owned()
    }

    /// A request of somebody else to Stripe.
    pub(crate) async fn post_to_stripe(&self, path: &str) {
        self.post_form_to_stripe(path, "").await;
    }

    /// A request of somebody else to Stripe, with a form.
    pub(crate) async fn post_form_to_stripe(&self, path: &str, form: &str) -> Value {
        let request = self.http.post(format!("{}{path}", self.simulator.url()));
        let request = request
            .bearer_auth(DEFAULT_SECRET_KEY)
            .header("stripe-version", stripe::STRIPE_VERSION)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    /// Breaks Stripe, as the simulator's `POST /_simulator/faults` says.
    pub(crate) async fn break_stripe(&self, fault: Value) {
        let ordered = self.control(Method::POST, "faults", Some(&fault)).await;
        assert_eq!(ordered["kind"], fault["kind"], "{ordered}");
    }

    /// The next `times` requests to the meter event stream fail before any work.
    pub(crate) async fn break_stream(&self, status: u16, times: u64) {
        self.break_stripe(json!({
            "kind": "error_before", "status": status, "times": times,
            "path_prefix": "/v2/billing/meter_event_stream",
        }))
        .await;
    }

    /// Every fault that was ordered has struck as often as it was to.
    pub(crate) async fn assert_faults_are_used_up(&self) {
        let faults = self.control(Method::GET, "faults", None).await;
        for fault in faults["data"].as_array().unwrap() {
            assert_eq!(fault["struck"], fault["times"], "{fault}");
        }
    }

    pub(crate) async fn repair_stripe(&self) {
        self.control(Method::DELETE, "faults", None).await;
    }

    /// Lets the simulator do what has become due, such as a new period.
    pub(crate) async fn settle_stripe(&self) {
        self.control(Method::POST, "settle", None).await;
    }

    /// How often the fault that was ordered as the `n`th has struck.
    pub(crate) async fn struck(&self, n: usize) -> u64 {
        let faults = self.control(Method::GET, "faults", None).await;
        faults["data"][n]["struck"].as_u64().unwrap()
    }

    /// How many events Stripe has of `customer_id`, and their sum.
    pub(crate) async fn in_stripe(&self, customer_id: &CustomerId) -> (u64, u64) {
        let query = format!("meter_events?customer={customer_id}");
        let found = self.control(Method::GET, &query, None).await;
        let number = |name: &str| found[name].as_u64().unwrap();
        (number("count"), number("value"))
    }

    /// The identifier and the value of every event of `customer_id` that Stripe counts.
    pub(crate) async fn counted_in_stripe(&self, customer_id: &CustomerId) -> Vec<(String, u64)> {
        self.meter_events(&format!("customer={customer_id}")).await
    }

    /// The same of every customer, in the order in which they came.
    pub(crate) async fn all_counted_in_stripe(&self) -> Vec<(String, u64)> {
        self.meter_events("").await
    }

    async fn meter_events(&self, filter: &str) -> Vec<(String, u64)> {
        let query = format!("meter_events?limit=10000&{filter}");
        let found = self.control(Method::GET, &query, None).await;
        let events = found["data"].as_array().unwrap().iter();
        events
            .map(|event| {
                let identifier = event["identifier"].as_str().unwrap().to_owned();
                (identifier, event["value"].as_u64().unwrap())
            })
            .collect()
    }

    /// What the simulator has besides Stripe's API.
    async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}/_simulator/{path}", self.simulator.url());
        let request = self.http.request(method, url);
        let request = request.bearer_auth(DEFAULT_SECRET_KEY);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }
}

/// For plain HTTP on this machine; reqwest wants its TLS chosen all the same.
fn http_client() -> reqwest::Client {
    // Another test of this program may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A client that loses no time between its attempts.
pub(crate) fn stripe_client(url: &str) -> stripe::Client {
    stripe_client_for(url, UsageApi::default())
}

fn stripe_client_for(url: &str, usage_api: UsageApi) -> stripe::Client {
    let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
        .with_api_base(url)
        .with_meter_events_base(url)
        .with_usage_api(usage_api)
        .with_retry_delay_ms(1, 1);
    stripe::Client::new(config).unwrap()
}
