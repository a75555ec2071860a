//! Onboarding to a price without a meter, and to none that does not fit.

use onboarding::State;
use reqwest::Method;
use serde_json::json;
use stripe::{CreatePrice, CreateProduct, PriceAmount, RequestOptions, SecretString, UsageApi};
use stripe_simulator::DEFAULT_SECRET_KEY;

use crate::support::catalog::{PRICE_OF_TOKENS, PriceOf, TOKENS, TOKENS_LOOKUP_KEY};
use crate::support::world::{Answer, LOOKUP_KEY, METER_EVENT_NAME, World, a_customer, send};

/// The function, for an account whose usage is reported by `usage_api`.
async fn serve(world: &World, usage_api: UsageApi) -> String {
    let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
        .with_api_base(world.stripe_url())
        .with_usage_api(usage_api);
    let stripe = stripe::Client::new(config).unwrap();
    let lookup_key = LOOKUP_KEY.to_owned();
    let state = State::new(world.ledger.clone(), stripe, lookup_key, world.clock());
    world.serve(onboarding::router(state)).await
}

async fn onboard(world: &World, url: &str) -> Answer {
    onboard_as(world, url, "acme").await
}

async fn onboard_as(world: &World, url: &str, external_id: &str) -> Answer {
    let request = world.request(Method::POST, &format!("{url}/v1/customers"));
    send(request.json(&a_customer(external_id))).await
}

async fn create_price_without_meter(world: &World) {
    let (stripe, options) = (&world.stripe, RequestOptions::new);
    let product = CreateProduct {
        name: "Agent operations".to_owned(),
        ..CreateProduct::default()
    };
    let product = stripe.create_product(&product, &options()).await.unwrap();
    let price = CreatePrice {
        product: product.id,
        currency: "usd".to_owned(),
        amount: PriceAmount::PerUnit {
            unit_amount_decimal: "2".to_owned(),
            transform_quantity: None,
        },
        interval: "month".to_owned(),
        meter: None,
        lookup_key: Some(LOOKUP_KEY.to_owned()),
        transfer_lookup_key: true,
        ..CreatePrice::default()
    };
    stripe.create_price(&price, &options()).await.unwrap();
}

#[tokio::test]
async fn a_price_without_a_meter_is_for_usage_records_alone() {
    let world = World::start_without_price().await;
    create_price_without_meter(&world).await;
    for usage_api in [UsageApi::MeterEventStream, UsageApi::MeterEvent] {
        let url = serve(&world, usage_api).await;
        let refused = onboard(&world, &url).await.expect(500);
        assert!(refused.to_string().contains("has no meter"), "{refused}");
    }
    let url = serve(&world, UsageApi::UsageRecord).await;
    let first = onboard(&world, &url).await.expect(201);
    let row = world.customer(first["customer_id"].as_str().unwrap()).await;
    assert_eq!(
        (
            row.item.meter_id.as_str(),
            row.item.meter_event_name.as_str()
        ),
        ("", "")
    );
    assert_eq!(first["subscription_item_id"], row.item.subscription_item_id);
    assert_eq!(row.item.price.to_string(), "0.02 usd a unit");
    assert!(row.period_start < row.period_end);
    assert_eq!(onboard(&world, &url).await.expect(201), first);
}

#[tokio::test]
async fn without_meters_the_catalog_names_usage_by_its_product() {
    let world = World::start_without_price().await;
    let url = serve(&world, UsageApi::UsageRecord).await;
    let price_of = |event_name, lookup_key| PriceOf {
        event_name,
        lookup_key,
        usage_api: UsageApi::UsageRecord,
        ..PRICE_OF_TOKENS
    };
    let operations = price_of(METER_EVENT_NAME, LOOKUP_KEY);
    let (_, operations) = world.metered_price(&operations).await;
    // Somebody from before the catalog.
    let early = onboard_as(&world, &url, "early").await.expect(201);
    let early_id = early["customer_id"].as_str().unwrap();
    assert_eq!(world.agreed_items(early_id).await, [""]);
    let tokens = price_of(TOKENS, TOKENS_LOOKUP_KEY);
    let (_, tokens) = world.metered_price(&tokens).await;
    world.store_catalog(&[operations, tokens]).await;

    let later = onboard_as(&world, &url, "later").await.expect(201);
    let later_id = later["customer_id"].as_str().unwrap();
    let names = world.agreed_items(later_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);

    let add = format!("{url}/v1/customers/{early_id}/subscription");
    let add = world.request(Method::POST, &add);
    let add = add.json(&json!({ "price_lookup_key": TOKENS_LOOKUP_KEY }));
    let added = send(add).await.expect(200);
    assert_eq!(added["subscription_items"][1]["meter_event_name"], TOKENS);
    // The webhook names the other one: there is none here.
    let names = world.agreed_items(early_id).await;
    assert_eq!(names, ["", TOKENS]);
}

#[tokio::test]
async fn a_catalog_that_gives_two_meters_one_product_makes_nobody() {
    let world = World::start_without_price().await;
    let url = serve(&world, UsageApi::UsageRecord).await;
    let operations = PriceOf {
        event_name: METER_EVENT_NAME,
        lookup_key: LOOKUP_KEY,
        usage_api: UsageApi::UsageRecord,
        ..PRICE_OF_TOKENS
    };
    let (_, operations) = world.metered_price(&operations).await;
    let tokens = PriceOf {
        usage_api: UsageApi::UsageRecord,
        ..PRICE_OF_TOKENS
    };
    let (_, mut tokens) = world.metered_price(&tokens).await;
    tokens.product_id = operations.product_id.clone();
    world.store_catalog(&[operations, tokens]).await;
    let refused = onboard(&world, &url).await.expect(500);
    let told = "is not of the product of llm_tokens";
    assert!(refused.to_string().contains(told), "{refused}");
}

#[tokio::test]
async fn a_price_with_a_meter_takes_no_usage_records() {
    let world = World::start().await;
    let url = serve(&world, UsageApi::UsageRecord).await;
    let refused = onboard(&world, &url).await.expect(500);
    assert!(refused.to_string().contains("usage records"), "{refused}");
}
