//! What quantities cost on an invoice, and which prices there are.

use serde_json::{Value, json};

use crate::support::{DAY, HOUR, START, Stripe, event, id};

/// A subscription of a price to a meter of a formula, on a test clock, that was sent some usage.
async fn invoice_of(
    stripe: &Stripe,
    formula: &str,
    price: &[(&str, &str)],
    values: &[&str],
) -> Value {
    let form = [
        ("display_name", "Documents"),
        ("event_name", "documents"),
        ("default_aggregation[formula]", formula),
    ];
    let meter = id(&stripe.post("/v1/billing/meters", &form).await.ok());
    let common = [
        ("product_data[name]", "Documents"),
        ("currency", "usd"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter.as_str()),
    ];
    let form = [&common[..], price].concat();
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    let start = START.to_string();
    let form = [("frozen_time", start.as_str())];
    let clock = stripe.post("/v1/test_helpers/test_clocks", &form).await;
    let clock = id(&clock.ok());
    let form = [
        ("test_clock", clock.as_str()),
        ("payment_method", "pm_card_visa"),
        ("invoice_settings[default_payment_method]", "pm_card_visa"),
    ];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    stripe.post("/v1/subscriptions", &form).await.ok();
    let token = stripe.session().await;
    let usage: Vec<Value> = (0i64..)
        .zip(values)
        .map(|(index, value)| event(&index.to_string(), &customer, value, index))
        .collect();
    stripe.stream(&token, &usage).await.ok();
    stripe.advance(&clock, START + 31 * DAY + HOUR).await;
    let path = format!("/v1/invoices?customer={customer}&limit=1");
    stripe.get(&path).await["data"][0].clone()
}

#[tokio::test]
async fn formulas_count_sum_or_keep_the_last() {
    for (formula, quantity) in [("sum", 60), ("count", 3), ("last", 30)] {
        let stripe = Stripe::start().await;
        let price = [("unit_amount", "100")];
        let invoice = invoice_of(&stripe, formula, &price, &["10", "20", "30"]).await;
        let line = &invoice["lines"]["data"][0];
        assert_eq!(line["quantity"], quantity, "{formula}");
        assert_eq!(invoice["amount_paid"], quantity * 100, "{formula}");
    }
}

#[tokio::test]
async fn tiers_and_packages_are_billed() {
    let tiers = [
        ("billing_scheme", "tiered"),
        ("tiers_mode", "graduated"),
        ("tiers[0][up_to]", "10"),
        ("tiers[0][unit_amount]", "50"),
        ("tiers[1][up_to]", "inf"),
        ("tiers[1][unit_amount_decimal]", "1.5"),
        ("tiers[1][flat_amount]", "7"),
    ];
    let stripe = Stripe::start().await;
    let invoice = invoice_of(&stripe, "sum", &tiers, &["15"]).await;
    assert_eq!(invoice["total"], 500 + 8 + 7, "7.5 cents are 8");
    let lines: Vec<_> = invoice["lines"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["quantity"].clone(), line["amount"].clone()))
        .collect();
    let line = |quantity, amount| (json!(quantity), json!(amount));
    assert_eq!(lines, [line(10, 500), line(5, 8), line(0, 7)]);
    let packages = [
        ("unit_amount", "300"),
        ("transform_quantity[divide_by]", "1000"),
        ("transform_quantity[round]", "up"),
    ];
    let stripe = Stripe::start().await;
    let invoice = invoice_of(&stripe, "sum", &packages, &["1001"]).await;
    assert_eq!(invoice["total"], 600);
    let both = [
        &[("product_data[name]", "Documents"), ("currency", "usd")],
        &tiers[..],
        &packages[1..],
    ];
    let refusal = stripe.post("/v1/prices", &both.concat()).await;
    assert_eq!(refusal.refused(400)["param"], "transform_quantity");
}

#[tokio::test]
async fn less_than_the_least_charge_is_carried_on() {
    let stripe = Stripe::start().await;
    let invoice = invoice_of(&stripe, "sum", &[("unit_amount", "7")], &["7"]).await;
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"]),
        (&json!(49), &json!(0))
    );
    assert_eq!(
        (&invoice["status"], &invoice["ending_balance"]),
        (&json!("paid"), &json!(49))
    );
    let path = format!("/v1/customers/{}", invoice["customer"].as_str().unwrap());
    assert_eq!(stripe.get(&path).await["balance"], 49);
}

#[tokio::test]
async fn corrections_below_nothing_bill_nothing() {
    let stripe = Stripe::start().await;
    let price = [("unit_amount", "100")];
    let invoice = invoice_of(&stripe, "sum", &price, &["5", "-9"]).await;
    assert_eq!(
        (&invoice["total"], &invoice["status"]),
        (&json!(0), &json!("paid"))
    );
}

#[tokio::test]
async fn a_lookup_key_has_one_price_unless_it_is_transferred() {
    let stripe = Stripe::start().await;
    let form = [
        ("product_data[name]", "Documents"),
        ("currency", "usd"),
        ("unit_amount", "100"),
        ("lookup_key", "documents"),
    ];
    let first = id(&stripe.post("/v1/prices", &form).await.ok());
    stripe.post("/v1/prices", &form).await.refused(400);
    let transfer = [&form[..], &[("transfer_lookup_key", "true")]].concat();
    let second = id(&stripe.post("/v1/prices", &transfer).await.ok());
    let found = stripe.get("/v1/prices?lookup_keys[]=documents").await;
    assert_eq!(id(&found["data"][0]), second);
    let first = stripe.get(&format!("/v1/prices/{first}")).await;
    assert_eq!(first["lookup_key"], Value::Null);
    for wrong in [
        &[("unit_amount", "1"), ("unit_amount_decimal", "1")][..],
        &[("unit_amount", "-1")],
        &[("unit_amount_decimal", "0.1234567890123")],
        &[],
    ] {
        let form = [
            &[("product_data[name]", "A"), ("currency", "usd")][..],
            wrong,
        ]
        .concat();
        stripe.post("/v1/prices", &form).await.refused(400);
    }
}
