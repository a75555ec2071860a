//! Onboarding to a price without a meter, and to none that does not fit.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use onboarding::State;
use reqwest::Method;
use stripe::{CreatePrice, CreateProduct, PriceAmount, RequestOptions, SecretString, UsageApi};
use stripe_simulator::DEFAULT_SECRET_KEY;
use support::world::{Answer, LOOKUP_KEY, World, a_customer, send};

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
    let request = world.request(Method::POST, &format!("{url}/v1/customers"));
    send(request.json(&a_customer("acme"))).await
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
async fn a_price_with_a_meter_takes_no_usage_records() {
    let world = World::start().await;
    let url = serve(&world, UsageApi::UsageRecord).await;
    let refused = onboard(&world, &url).await.expect(500);
    assert!(refused.to_string().contains("usage records"), "{refused}");
}
