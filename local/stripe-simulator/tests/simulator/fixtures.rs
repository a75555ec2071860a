//! The fields of the objects, against Stripe's own fixtures (its public OpenAPI repository).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Stripe, Subscriber, id};

/// Fields that the fixtures show and that a plain answer leaves out: Stripe includes them only
/// where they are expanded.
const ONLY_EXPANDED: [&str; 9] = [
    "cash_balance",
    "currency_options",
    "invoice_credit_balance",
    "payments",
    "refunds",
    "sources",
    "subscriptions",
    "tax_ids",
    "tiers",
];

/// Fields that the fixtures show and that these objects cannot have.
const NOT_HERE: [(&str, &str, &str); 2] = [
    ("invoice", "subscription", "removed in basil"),
    ("subscription_item", "quantity", "a metered price has none"),
];

/// A copy of Stripe's, at the path that `STRIPE_FIXTURES` names.
fn fixtures() -> Value {
    let path = std::env::var_os("STRIPE_FIXTURES").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["resources"].clone()
}

fn fields<'a>(kind: &str, object: &'a Value) -> BTreeSet<&'a str> {
    let is_left_out = |field: &str| {
        ONLY_EXPANDED.contains(&field)
            || NOT_HERE
                .iter()
                .any(|(of, name, _)| *of == kind && *name == field)
    };
    let fields = object.as_object().unwrap().keys().map(String::as_str);
    fields.filter(|field| !is_left_out(field)).collect()
}

#[tokio::test]
#[ignore = "needs STRIPE_FIXTURES, the path of a copy of Stripe's fixtures"]
async fn objects_have_the_fields_of_stripes_fixtures() {
    let fixtures = fixtures();
    let stripe = Stripe::start().await;
    let ada = Subscriber::billed(&stripe, "pm_card_createDispute").await;
    let invoice = ada.invoice(&stripe).await;
    let subscription = stripe
        .get(&format!("/v1/subscriptions/{}", ada.subscription_id()))
        .await;
    let item = subscription["items"]["data"][0].clone();
    let product = item["price"]["product"].as_str().unwrap().to_owned();
    let methods = stripe
        .get(&format!("/v1/customers/{}/payment_methods", ada.customer))
        .await;
    let form = [("url", "http://127.0.0.1:9/"), ("enabled_events[]", "*")];
    let endpoint = id(&stripe.post("/v1/webhook_endpoints", &form).await.ok());
    let mut objects = Vec::new();
    for list in [
        "balance_transactions",
        "charges",
        "disputes",
        "events",
        "invoice_payments",
        "payment_intents",
    ] {
        let found = stripe.get(&format!("/v1/{list}?limit=1")).await;
        objects.push(found["data"][0].clone());
    }
    objects.extend([
        stripe.get(&format!("/v1/products/{product}")).await,
        item["price"].clone(),
        stripe
            .get(&format!("/v1/billing/meters/{}", ada.meter))
            .await,
        stripe.get(&format!("/v1/customers/{}", ada.customer)).await,
        stripe
            .get(&format!("/v1/test_helpers/test_clocks/{}", ada.test_clock))
            .await,
        stripe
            .get(&format!("/v1/webhook_endpoints/{endpoint}"))
            .await,
        invoice["lines"]["data"][0].clone(),
        methods["data"][0].clone(),
        invoice,
        item,
        subscription,
    ]);
    let mut differences = Vec::new();
    for object in &objects {
        let kind = object["object"].as_str().unwrap();
        let (found, expected) = (fields(kind, object), fields(kind, &fixtures[kind]));
        let missing: Vec<_> = expected.difference(&found).collect();
        if !missing.is_empty() {
            differences.push(format!("{kind} lacks {missing:?}"));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
