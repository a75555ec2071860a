//! The report function, and a customer to report on.

use billing::{ActionType, Clock, Timestamp, UsageStatus};
use ledger::{Advance, Advanced, CustomerRow, TotalKey};
use metering::MeteredPrice;
use report::{DashboardLinks, State};
use reqwest::Method;
use serde_json::{Value, json};
use stripe::{
    Aggregation, CreateMeter, CreatePrice, CreateProduct, CreateSubscriptionItem, MeterEvent,
    MeterEventStream, PriceAmount, RequestOptions, SecretString,
};

use crate::support::lossy::Lossy;
use crate::support::tables::Tables;
use crate::support::world::{
    Answer, DAY_MS, HOUR_MS, LOOKUP_KEY, METER_EVENT_NAME, World, a_customer, send,
};

pub(crate) const ACTION: &str = "document_processed";

/// How long the function believes what it has just read.
const LOOK_FRESH_MS: i64 = 1_000;

pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) url: String,
    pub(crate) customer: CustomerRow,
}

impl Story {
    /// A customer who pays 2 cents for a unit.
    pub(crate) async fn start() -> Self {
        Self::in_world(World::start().await).await
    }

    /// The same, in a free trial of so many days.
    pub(crate) async fn start_in_trial(days: u32) -> Self {
        let world = World::start().await;
        Self::with_terms(world, &json!({ "trial_period_days": days })).await
    }

    /// A customer who pays another price.
    pub(crate) async fn start_at(amount: PriceAmount, currency: &str) -> Self {
        let world = World::start_without_price().await;
        world.create_price_of(amount, currency).await;
        Self::in_world(world).await
    }

    async fn in_world(world: World) -> Self {
        Self::with_terms(world, &json!({})).await
    }

    /// A customer who is onboarded on `terms` beside the usual ones.
    async fn with_terms(world: World, terms: &Value) -> Self {
        let onboarding = onboarding::State::new(
            world.ledger.clone(),
            world.stripe.clone(),
            LOOKUP_KEY.to_owned(),
            world.clock(),
        );
        let onboarding = world.serve(onboarding::router(onboarding)).await;
        let mut body = a_customer("acme");
        body["test_clock"] = json!(world.test_clock().await);
        for (name, value) in terms.as_object().unwrap() {
            body[name.as_str()] = value.clone();
        }
        let request = world.request(Method::POST, &format!("{onboarding}/v1/customers"));
        let answer = send(request.json(&body)).await.expect(201);
        let links = DashboardLinks::new(&secret(), None).unwrap();
        let state = State::new(
            world.ledger.clone(),
            world.stripe.clone(),
            links,
            world.clock(),
        );
        let url = world.serve(report::router(state)).await;
        let customer = world
            .customer(answer["customer_id"].as_str().unwrap())
            .await;
        Self {
            world,
            url,
            customer,
        }
    }

    pub(crate) fn customer_url(&self, rest: &str) -> String {
        format!(
            "{}/v1/customers/{}/{rest}",
            self.url, self.customer.customer_id
        )
    }

    pub(crate) async fn get(&self, rest: &str) -> Answer {
        self.world.get(&self.customer_url(rest)).await
    }

    /// Counts units as the rollup does, in the hour of the period's start or
    /// so many hours later; earlier ones belong to an earlier period.
    pub(crate) async fn count(&self, cells: &[(&str, i64, UsageStatus, u64)]) {
        let meter_event_name = &self.customer.item.meter_event_name;
        self.count_on(meter_event_name, cells).await;
    }

    /// Counts delivered units of [`ACTION`], at the period's start.
    pub(crate) async fn used(&self, units: u64) {
        self.count(&[(ACTION, 0, UsageStatus::Delivered, units)])
            .await;
    }

    /// Counts units of another meter.
    pub(crate) async fn count_on(
        &self,
        meter_event_name: &str,
        cells: &[(&str, i64, UsageStatus, u64)],
    ) {
        let mut advance = Advance::default();
        let period_start = self.customer.period_start;
        for (action_type, hours, status, units) in cells {
            let is_earlier = *hours < 0;
            let key = TotalKey {
                customer_id: self.customer.customer_id.clone(),
                period_start: Some(period_start.plus_ms(if is_earlier { -60 * DAY_MS } else { 0 })),
                hour: period_start.start_of_hour().plus_ms(hours * HOUR_MS),
                meter_event_name: meter_event_name.to_owned(),
                action_type: ActionType::parse(action_type).unwrap(),
            };
            advance.total(key).enter(*status, *units);
        }
        self.advance("shard", &advance).await;
    }

    /// Counts a pending event of the period's first hour as delivered, as the
    /// rollup does where another shard has it than saw it become pending.
    pub(crate) async fn deliver_in_another_shard(&self, action_type: &str, units: u64) {
        let mut advance = Advance::default();
        let tally = advance.total(self.first_hour(action_type));
        tally.leave(UsageStatus::Pending, units);
        tally.enter(UsageStatus::Delivered, units);
        self.advance("another shard", &advance).await;
    }

    /// Takes delivered units of the period's first hour back, as a move to another
    /// status does.
    pub(crate) async fn deliver_less(&self, units: u64) {
        let mut advance = Advance::default();
        let tally = advance.total(self.first_hour("document_processed"));
        tally.leave(UsageStatus::Delivered, units);
        self.advance("shard", &advance).await;
    }

    /// Counts a reservation of so many units as settled by an event of the period's
    /// first hour.
    pub(crate) async fn settle_on_first_day(&self, units: u64) {
        let mut advance = Advance::default();
        advance
            .total(self.first_hour("document_processed"))
            .settle(units);
        self.advance("shard", &advance).await;
    }

    /// The cell of an action in the period's first hour.
    fn first_hour(&self, action_type: &str) -> TotalKey {
        TotalKey {
            customer_id: self.customer.customer_id.clone(),
            period_start: Some(self.customer.period_start),
            hour: self.customer.period_start.start_of_hour(),
            meter_event_name: self.customer.item.meter_event_name.clone(),
            action_type: ActionType::parse(action_type).unwrap(),
        }
    }

    async fn advance(&self, shard_id: &str, advance: &Advance) {
        let ledger = &self.world.ledger;
        let read = ledger.checkpoint(shard_id).await.unwrap();
        let next = format!(
            "{:040}",
            read.as_deref().map_or(0, |read| read.parse().unwrap()) + 1
        );
        let advanced = ledger
            .advance(
                shard_id,
                read.as_deref(),
                &next,
                advance,
                Timestamp::from_unix_s(0),
            )
            .await
            .unwrap();
        assert_eq!(advanced, Advanced::Done);
    }

    /// Gives Stripe's meter so many units, and counts them.
    pub(crate) async fn use_up(&self, event_id: &str, units: u64) {
        self.use_up_on(METER_EVENT_NAME, event_id, units).await;
    }

    /// Gives another meter so many units, and counts them.
    pub(crate) async fn use_up_on(&self, meter_event_name: &str, event_id: &str, units: u64) {
        let event = MeterEvent::new(
            event_id,
            meter_event_name,
            self.customer.period_start.unix_ms(),
            self.customer.customer_id.as_str(),
            units,
        );
        let stream = MeterEventStream::new(self.world.stripe.clone());
        stream.send(&[event], &RequestOptions::new()).await.unwrap();
        self.world.settle().await;
        let usage = ("document_processed", 0, UsageStatus::Delivered, units);
        self.count_on(meter_event_name, &[usage]).await;
    }

    /// Subscribes the customer to a price of a further meter, in Stripe and in
    /// the tables.
    pub(crate) async fn subscribe(&mut self, meter_event_name: &str, amount: PriceAmount) {
        let options = RequestOptions::new;
        let stripe = &self.world.stripe;
        let meter = CreateMeter {
            display_name: meter_event_name.to_owned(),
            event_name: meter_event_name.to_owned(),
            formula: Aggregation::Sum,
        };
        let meter = stripe.create_meter(&meter, &options()).await.unwrap();
        let product = CreateProduct {
            name: meter_event_name.to_owned(),
            ..CreateProduct::default()
        };
        let product = stripe.create_product(&product, &options()).await.unwrap();
        let price = CreatePrice {
            product: product.id,
            currency: self.customer.item.price.currency().as_str().to_owned(),
            amount,
            interval: "month".to_owned(),
            meter: Some(meter.id),
            ..CreatePrice::default()
        };
        let price = stripe.create_price(&price, &options()).await.unwrap();
        let item = CreateSubscriptionItem {
            subscription: self.customer.subscription_id.clone(),
            price: price.id.clone(),
            ..CreateSubscriptionItem::default()
        };
        let item = stripe.create_subscription_item(&item, &options()).await;
        let price = MeteredPrice::retrieve(stripe, &price.id, None).await;
        let item = price.unwrap().into_item(&item.unwrap().id, None);
        self.set(|row| row.more_items.push(item)).await;
        let customer_id = self.customer.customer_id.clone();
        self.customer = self.world.customer(customer_id.as_str()).await;
    }

    pub(crate) async fn set(&self, change: impl FnOnce(&mut CustomerRow)) {
        let read = self
            .world
            .customer(self.customer.customer_id.as_str())
            .await;
        let mut row = read.clone();
        change(&mut row);
        self.world.ledger.update_customer(&read, row).await.unwrap();
    }

    /// A fresh dashboard link.
    pub(crate) async fn link(&self) -> String {
        self.link_with(json!({})).await
    }

    /// The same, asked for with a body.
    pub(crate) async fn link_with(&self, body: Value) -> String {
        let request = self
            .world
            .request(Method::POST, &self.customer_url("dashboard-links"));
        let answer = send(request.json(&body)).await.expect(200);
        let expected = self.world.clock.now().plus_ms(DAY_MS).unix_s();
        assert_eq!(
            answer["expires_at"],
            Timestamp::from_unix_s(expected).to_string()
        );
        answer["url"].as_str().unwrap().to_owned()
    }

    /// What a browser gets, which has no key.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        send(self.world.http.get(url)).await
    }

    /// Sets the customer's limit.
    pub(crate) async fn set_limit(&self, body: Value) -> Answer {
        let url = self.customer_url("spending-limit");
        send(self.world.request(Method::PUT, &url).json(&body)).await
    }

    /// What the API says of the limit; null where there is none.
    pub(crate) async fn limit(&self) -> Value {
        let mut answer = self.get("spending-limit").await.expect(200);
        answer["spending_limit"].take()
    }

    /// What the page's script gets under `link`.
    pub(crate) async fn data(&self, link: &str) -> Answer {
        self.open(&script(link, "data")).await
    }

    /// Lets the last look be forgotten.
    pub(crate) fn look_again(&self) {
        self.world.clock.advance_ms(LOOK_FRESH_MS);
    }

    /// Another environment of the function, whose way to DynamoDB counts what goes over it.
    pub(crate) async fn counted(&self) -> (String, Lossy) {
        let way = Lossy::start(&self.world.tables.url).await;
        let ledger = Tables::at(&way.url).ledger;
        let links = DashboardLinks::new(&secret(), None).unwrap();
        let state = State::new(ledger, self.world.stripe.clone(), links, self.world.clock());
        (self.world.serve(report::router(state)).await, way)
    }
}

pub(crate) fn secret() -> SecretString {
    SecretString::from("a secret of 32 random characters")
}

/// Where the page's script asks for `what` under `link`.
pub(crate) fn script(link: &str, what: &str) -> String {
    link.replace("/dashboard?", &format!("/dashboard/{what}?"))
}
