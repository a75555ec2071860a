//! A webhook endpoint that Stripe delivers to, and customers to tell of.

use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use billing::{
    ActionType, BillingTime, Clock, CustomerId, EventId, Identifier, Quantity, Timestamp,
    UsageEvent, UsageStatus,
};
use ledger::{BillingEventRow, CustomerRow, CustomerStatus, Transition, UsageEventRow};
use metering::DunningPolicy;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use stripe::{
    CreateEventDestination, CreateWebhookEndpoint, Event, Invoice, ListEvents, MeterErrorReport,
    MeterEvent, MeterEventStream, RequestOptions, SecretString, UpdateCustomer, webhook_signature,
};
use stripe_simulator::DEFAULT_SECRET_KEY;
use tokio::net::TcpListener;
use web::Metrics;
use webhook::{Configuration, State};

use crate::topic::Topic;

use crate::support::world::{
    Answer, HOUR_MS, LOOKUP_KEY, METER_EVENT_NAME, World, a_customer, send, serve,
};

/// A webhook endpoint that Stripe delivers to, and customers to tell of.
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) url: String,
    pub(crate) onboarding_url: String,
    pub(crate) secret: SecretString,
    pub(crate) topic: Topic,
    pub(crate) state: State,
    figures: Mutex<Receiver<Value>>,
    /// Stripe's endpoint for snapshot events.
    pub(crate) endpoint_id: String,
}

impl Story {
    pub(crate) async fn start() -> Self {
        Self::start_with(DunningPolicy::default()).await
    }

    pub(crate) async fn start_with(dunning: DunningPolicy) -> Self {
        let world = World::start().await;
        let topic = Topic::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/stripe/webhook", listener.local_addr().unwrap());
        let stripe = &world.stripe;
        let endpoint = CreateWebhookEndpoint {
            url: url.clone(),
            enabled_events: webhook::EVENT_TYPES.map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let endpoint = stripe
            .create_webhook_endpoint(&endpoint, &RequestOptions::new())
            .await;
        let endpoint = endpoint.unwrap();
        let secret = endpoint.secret.unwrap();
        let destination = CreateEventDestination {
            name: "meterline".to_owned(),
            url: url.clone(),
            enabled_events: MeterErrorReport::EVENT_TYPES.map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let destination = stripe
            .create_event_destination(&destination, &RequestOptions::new())
            .await;
        let thin_secret = destination
            .unwrap()
            .webhook_endpoint
            .unwrap()
            .signing_secret
            .unwrap();
        let secrets = vec![secret.clone(), thin_secret];
        let (metrics, figures) = Metrics::channel("meterline", "meterline-Webhook");
        let configuration = Configuration {
            notifier: topic.notifier(),
            channels: "email,webhook".parse().unwrap(),
            dunning,
            metrics,
        };
        let ledger = world.ledger.clone();
        let state = State::configured(
            ledger,
            stripe.clone(),
            secrets,
            world.clock(),
            configuration,
        );
        serve(listener, webhook::router(state.clone()));
        let onboarding = onboarding::State::new(
            world.ledger.clone(),
            stripe.clone(),
            LOOKUP_KEY.to_owned(),
            world.clock(),
        );
        let onboarding_url = world.serve(onboarding::router(onboarding)).await;
        Self {
            world,
            url,
            onboarding_url,
            secret,
            topic,
            state,
            figures: Mutex::new(figures),
            endpoint_id: endpoint.id,
        }
    }

    /// The figures that were written since the last look, by name.
    pub(crate) fn new_figures(&self) -> Vec<String> {
        let figures = self.figures.lock().unwrap();
        let described = figures
            .try_iter()
            .map(|line| line["_aws"]["CloudWatchMetrics"][0]["Metrics"].clone());
        described
            .flat_map(|metrics| metrics.as_array().unwrap().clone())
            .map(|metric| metric["Name"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn onboard(&self, body: &Value) -> CustomerRow {
        let url = format!("{}/v1/customers", self.onboarding_url);
        let answer = send(self.world.request(Method::POST, &url).json(body))
            .await
            .expect(201);
        self.world.settle().await;
        self.world
            .customer(answer["customer_id"].as_str().unwrap())
            .await
    }

    /// Somebody on a test clock, with a card that attaches and never pays.
    pub(crate) async fn onboard_with_failing_card(&self) -> CustomerRow {
        let mut body = a_customer("acme");
        body["payment_method"] = json!("pm_card_chargeCustomerFail");
        body["test_clock"] = json!(self.world.test_clock().await);
        self.onboard(&body).await
    }

    /// From now on Stripe delivers no snapshot event.
    pub(crate) async fn disable_endpoint(&self) {
        let path = format!("/v1/webhook_endpoints/{}", self.endpoint_id);
        self.world.stripe_form(&path, "disabled=true").await;
    }

    /// From now on Stripe delivers no report of refused usage.
    pub(crate) async fn disable_reports(&self) {
        let stripe = &self.world.stripe;
        for destination in stripe.list_event_destinations().await.unwrap() {
            let options = RequestOptions::new();
            let disabled = stripe.disable_event_destination(&destination.id, &options);
            disabled.await.unwrap();
        }
    }

    /// Sends the event of [`record`] to Stripe, who takes it and refuses it then.
    pub(crate) async fn send_in_vain(&self, identifier: &Identifier) {
        let now_ms = self.world.clock.now().unix_ms();
        let name = identifier.as_str();
        let event = MeterEvent::new(name, METER_EVENT_NAME, now_ms, "cus_unknown", 5);
        let stream = MeterEventStream::new(self.world.stripe.clone());
        stream.send(&[event], &RequestOptions::new()).await.unwrap();
        self.world.settle().await;
    }

    pub(crate) async fn usage(&self, identifier: &Identifier) -> UsageEventRow {
        let row = self.world.ledger.usage_event(identifier).await;
        row.unwrap().unwrap()
    }

    pub(crate) async fn stripe_get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.world.stripe_url());
        let request = self.world.http.get(url).bearer_auth(DEFAULT_SECRET_KEY);
        let request = request.header("stripe-version", stripe::STRIPE_VERSION);
        send(request).await.expect(200)
    }

    /// All events that Stripe has, the newest first.
    pub(crate) async fn events_of_stripe(&self) -> Vec<Event> {
        let filter = ListEvents {
            types: webhook::EVENT_TYPES.map(str::to_owned).to_vec(),
            ..ListEvents::default()
        };
        let events = self.world.stripe.list_all_events(&filter).await;
        events.unwrap().data
    }

    /// Sends `body` as Stripe would, signed with `secret` at `unix_s`.
    pub(crate) async fn deliver_signed(
        &self,
        body: &str,
        secret: &SecretString,
        unix_s: i64,
    ) -> Answer {
        let signature = webhook_signature::sign(body.as_bytes(), secret, unix_s);
        self.deliver_with(body, &signature).await
    }

    pub(crate) async fn deliver_with(&self, body: &str, signature: &str) -> Answer {
        let request = self
            .world
            .http
            .post(&self.url)
            .header("stripe-signature", signature);
        send(request.body(body.to_owned())).await
    }

    pub(crate) async fn deliver(&self, event: &Value) -> Answer {
        let now_unix_s = self.world.clock.now().unix_s();
        self.deliver_signed(&event.to_string(), &self.secret, now_unix_s)
            .await
    }

    pub(crate) fn signed_request(&self, url: &str, event: &Value) -> RequestBuilder {
        let body = event.to_string();
        let now_unix_s = self.world.clock.now().unix_s();
        let signature = webhook_signature::sign(body.as_bytes(), &self.secret, now_unix_s);
        self.world
            .http
            .post(url)
            .header("stripe-signature", signature)
            .body(body)
    }

    pub(crate) async fn row(&self, customer: &CustomerRow) -> CustomerRow {
        self.world.customer(customer.customer_id.as_str()).await
    }

    pub(crate) async fn status(&self, customer: &CustomerRow) -> CustomerStatus {
        self.row(customer).await.status
    }

    pub(crate) async fn use_units(&self, customer: &CustomerRow, at: Timestamp, units: u64) {
        let event = MeterEvent::new(
            format!("{}-{}", customer.customer_id, at.unix_ms()),
            METER_EVENT_NAME,
            at.unix_ms(),
            customer.customer_id.as_str(),
            units,
        );
        let stream = MeterEventStream::new(self.world.stripe.clone());
        stream.send(&[event], &RequestOptions::new()).await.unwrap();
        self.world.settle().await;
    }

    /// Gives the customer's item another price, as somebody does in Stripe's
    /// dashboard.
    pub(crate) async fn change_price(&self, customer: &CustomerRow, price_id: &str) {
        let path = format!("/v1/subscriptions/{}", customer.subscription_id);
        let item_id = &customer.item.subscription_item_id;
        let form = format!("items[0][id]={item_id}&items[0][price]={price_id}");
        self.world.stripe_form(&path, &form).await;
        self.world.settle().await;
    }

    pub(crate) async fn give_working_card(&self, customer: &CustomerRow) {
        let id = customer.customer_id.as_str();
        let options = RequestOptions::new();
        let card = self
            .world
            .stripe
            .attach_payment_method("pm_card_visa", id, &options)
            .await;
        let update = UpdateCustomer {
            default_payment_method: Some(card.unwrap().id),
            ..Default::default()
        };
        self.world
            .stripe
            .update_customer(id, &update, &options)
            .await
            .unwrap();
    }

    pub(crate) async fn move_clock(&self, customer: &CustomerRow, unix_s: i64) {
        self.world
            .move_test_clock(customer.test_clock.as_ref().unwrap(), unix_s)
            .await;
        self.settle_webhooks().await;
    }

    /// Lets Stripe deliver again what was not taken: events of one customer that
    /// come at once may have been in each other's way.
    async fn settle_webhooks(&self) {
        let path = "/_simulator/deliveries?state=pending";
        for _ in 0..5 {
            let pending = self.stripe_get(path).await;
            if pending["data"].as_array().unwrap().is_empty() {
                return;
            }
            self.world.clock.advance_ms(HOUR_MS);
            self.world.settle().await;
        }
    }

    pub(crate) async fn invoices(&self, customer: &CustomerRow) -> Vec<Invoice> {
        let id = customer.customer_id.as_str();
        self.world.stripe.list_all_invoices(id).await.unwrap().data
    }

    pub(crate) async fn billing_event(&self, event: &Value) -> Option<BillingEventRow> {
        let id = event["id"].as_str().unwrap();
        self.world.ledger.billing_event(id).await.unwrap()
    }

    /// Pays what is open, by the customer's card.
    pub(crate) async fn pay_all(&self, customer: &CustomerRow) {
        for invoice in self.invoices(customer).await {
            if invoice.status.as_deref() == Some("open") {
                let options = RequestOptions::new();
                let paid = self.world.stripe.pay_invoice(&invoice.id, &options).await;
                assert_eq!(paid.unwrap().amount_remaining, 0);
            }
        }
        self.world.settle().await;
        self.settle_webhooks().await;
    }

    pub(crate) async fn stored_events(&self) -> usize {
        self.world.tables.scan("BillingEventsTable").await.len()
    }
}

pub(crate) fn event(id: &str, event_type: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": stripe::STRIPE_VERSION,
        "created": 1_769_860_800, "livemode": false, "type": event_type,
        "data": { "object": object },
    })
}

pub(crate) fn invoice_event(
    id: &str,
    event_type: &str,
    customer: &CustomerRow,
    amount_due: i64,
) -> Value {
    let invoice = json!({
        "id": "in_1", "object": "invoice", "customer": customer.customer_id,
        "amount_due": amount_due,
        "parent": { "subscription_details": { "subscription": customer.subscription_id } },
    });
    event(id, event_type, &invoice)
}

/// Records usage of a customer whom Stripe does not know; its identifier.
pub(crate) async fn record(story: &Story, event_id: &str, is_delivered: bool) -> Identifier {
    let (ledger, now) = (&story.world.ledger, story.world.clock.now());
    let usage = UsageEvent {
        event_id: EventId::parse(event_id).unwrap(),
        customer_id: CustomerId::parse("cus_unknown").unwrap(),
        subscription_item_id: None,
        quantity: Quantity::new(5).unwrap(),
        action_type: ActionType::parse("document_processed").unwrap(),
        occurred_at: None,
        source: None,
    };
    let time = BillingTime::Billable {
        billed_at: now,
        period_start: now,
        carried_over: false,
    };
    let token = event_id.to_owned();
    let row = UsageEventRow::new(&usage, now, time, METER_EVENT_NAME, token, now);
    ledger.record_usage_event(&row, now, 0).await.unwrap();
    if is_delivered {
        let delivered = Transition {
            from: UsageStatus::Pending,
            to: UsageStatus::Delivered,
            at: now,
            stripe_code: None,
        };
        ledger
            .transition_usage_event(&row.identifier, delivered)
            .await
            .unwrap();
    }
    row.identifier
}
