//! Stories of subscriptions whose items somebody changes in Stripe's dashboard:
//! the row follows Stripe, which bills.

use billing::{ActionType, Clock};
use ledger::CustomerRow;
use metering::{BilledBy, CATALOG_FRESH_MS, billed_by};
use reqwest::Method;
use stripe::{MeterEvent, MeterEventStream, RequestOptions, SecretString, UsageApi};
use stripe_simulator::DEFAULT_SECRET_KEY;

use crate::story::{Story, invoice_event};
use crate::support::catalog::{PRICE_OF_TOKENS, PriceOf, TOKENS};
use crate::support::world::{LOOKUP_KEY, METER_EVENT_NAME, a_customer, send};

impl Story {
    async fn add_item(&self, customer: &CustomerRow, price_id: &str) -> String {
        let subscription = &customer.subscription_id;
        let form = format!("subscription={subscription}&price={price_id}");
        let item = self
            .world
            .stripe_form("/v1/subscription_items", &form)
            .await;
        self.world.settle().await;
        item["id"].as_str().unwrap().to_owned()
    }

    /// The event names of the customer's items, where the row is what the
    /// subscription is.
    async fn names(&self, customer: &CustomerRow) -> Vec<String> {
        let customer_id = customer.customer_id.as_str();
        self.world.agreed_items(customer_id).await
    }

    /// What an item costs in the period so far, in cents.
    async fn cost(&self, customer: &CustomerRow, item_id: &str) -> i64 {
        let (id, subscription) = (customer.customer_id.as_str(), &customer.subscription_id);
        let preview = self.world.stripe.create_invoice_preview(id, subscription);
        let lines = preview.await.unwrap().lines;
        let of_item = lines
            .iter()
            .filter(|line| line.subscription_item.as_deref() == Some(item_id));
        of_item.map(|line| line.amount).sum()
    }
}

#[tokio::test]
async fn an_item_that_somebody_adds_bills_from_then_on() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let tokens_price = story.world.start_catalog().await;
    let action = ActionType::parse("llm_tokens.input").unwrap();
    let catalog = story.world.ledger.catalog().await.unwrap().unwrap().catalog;
    let before = billed_by(Some(&catalog), &customer, &action);
    let meter_event_name = TOKENS;
    assert_eq!(before, BilledBy::NoItem { meter_event_name });

    let item_id = story.add_item(&customer, &tokens_price).await;
    assert_eq!(story.names(&customer).await, [METER_EVENT_NAME, TOKENS]);
    let row = story.row(&customer).await;
    assert_eq!((&row.item, row.more_items.len()), (&customer.item, 1));
    assert_eq!(row.more_items[0].subscription_item_id, item_id);
    let BilledBy::Item(item) = billed_by(Some(&catalog), &row, &action) else {
        panic!("nothing bills {action:?}");
    };
    assert_eq!(item, &row.more_items[0]);
    let at = story.world.clock.now().unix_ms();
    let id = customer.customer_id.as_str();
    let usage = MeterEvent::new("tokens-1", &item.meter_event_name, at, id, 2_000_000);
    let stream = MeterEventStream::new(story.world.stripe.clone());
    let sent = stream.send(&[usage], &RequestOptions::new()).await;
    sent.unwrap();
    story.world.settle().await;
    assert_eq!(story.cost(&customer, &item_id).await, 800);
}

#[tokio::test]
async fn an_item_that_somebody_removes_is_gone() {
    let story = Story::start().await;
    story.world.start_catalog().await;
    let customer = story.onboard(&a_customer("acme")).await;
    assert_eq!(story.names(&customer).await, [METER_EVENT_NAME, TOKENS]);
    // The first one: another takes its place, and tells the period.
    let path = format!(
        "/v1/subscription_items/{}",
        customer.item.subscription_item_id
    );
    story.world.stripe_delete(&path).await;
    story.world.settle().await;
    assert_eq!(story.names(&customer).await, [TOKENS]);
    let row = story.row(&customer).await;
    assert_eq!(row.item, customer.more_items[0]);
    assert_eq!(row.period_end, customer.period_end);
}

#[tokio::test]
async fn a_price_of_another_meter_takes_the_item_there() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (tokens_price, _) = story.world.metered_price(&PRICE_OF_TOKENS).await;
    story.change_price(&customer, &tokens_price).await;
    assert_eq!(story.names(&customer).await, [TOKENS]);
    let row = story.row(&customer).await;
    assert_eq!(
        row.item.subscription_item_id,
        customer.item.subscription_item_id
    );
    assert_eq!(row.item.price.to_string(), "0.000004 usd a unit");
    assert_ne!(row.item.meter_id, customer.item.meter_id);
}

#[tokio::test]
async fn a_price_that_cannot_be_computed_with_changes_no_item() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let form = "display_name=Calls&event_name=calls&default_aggregation[formula]=count";
    let meter = story.world.stripe_form("/v1/billing/meters", form).await;
    let product = story.world.operations().await.product_id;
    let meter = meter["id"].as_str().unwrap();
    let form = format!(
        "product={product}&currency=usd&unit_amount=2&recurring[interval]=month\
         &recurring[usage_type]=metered&recurring[meter]={meter}"
    );
    let price = story.world.stripe_form("/v1/prices", &form).await;
    let price = price["id"].as_str().unwrap();
    story.add_item(&customer, price).await;
    story.change_price(&customer, price).await;
    let row = story.row(&customer).await;
    assert!(row.version > customer.version);
    assert_eq!((row.item, row.more_items), (customer.item, vec![]));
}

/// Without a meter nothing but the catalog tells usage apart.
#[tokio::test]
async fn a_customer_from_before_the_catalog_has_its_usage_named() {
    let story = Story::start().await;
    let world = &story.world;
    let operations = PriceOf {
        event_name: METER_EVENT_NAME,
        lookup_key: LOOKUP_KEY,
        usage_api: UsageApi::UsageRecord,
        ..PRICE_OF_TOKENS
    };
    let (_, operations) = world.metered_price(&operations).await;
    let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
        .with_api_base(world.stripe_url())
        .with_usage_api(UsageApi::UsageRecord);
    let legacy = stripe::Client::new(config).unwrap();
    let (ledger, lookup_key) = (world.ledger.clone(), LOOKUP_KEY.to_owned());
    let onboarding = onboarding::State::new(ledger, legacy, lookup_key, world.clock());
    let url = world.serve(onboarding::router(onboarding)).await;
    let request = world.request(Method::POST, &format!("{url}/v1/customers"));
    let onboarded = send(request.json(&a_customer("acme"))).await.expect(201);
    world.settle().await;
    let customer_id = onboarded["customer_id"].as_str().unwrap();
    let customer = world.customer(customer_id).await;
    assert_eq!(story.names(&customer).await, [""]);

    world.store_catalog(&[operations]).await;
    world.clock.advance_ms(CATALOG_FRESH_MS);
    let event = invoice_event("evt_1", "invoice.finalized", &customer, 0);
    story.deliver(&event).await.expect(200);
    assert_eq!(story.names(&customer).await, [METER_EVENT_NAME]);
}
