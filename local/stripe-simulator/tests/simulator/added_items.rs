//! Items that a subscription gets while it runs (Stripe's documentation: Manage your usage-based
//! billing setup).

use serde_json::{Value, json};

use crate::support::{DAY, HOUR, START, Stripe, Subscriber, catalog, event, give_card, id};

const DAYS_BEFORE: i64 = 10;
const ADDED_AT: i64 = START + DAYS_BEFORE * DAY;

/// Makes a meter of tokens and a price of 2 cents for each.
async fn tokens(stripe: &Stripe) -> (String, String) {
    let form = [
        ("display_name", "Tokens"),
        ("event_name", "tokens"),
        ("default_aggregation[formula]", "sum"),
    ];
    let meter = id(&stripe.post("/v1/billing/meters", &form).await.ok());
    let form = [
        ("product_data[name]", "Tokens"),
        ("currency", "usd"),
        ("unit_amount", "2"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", &meter),
    ];
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    (meter, price)
}

/// Sends tokens used `seconds` after the start.
async fn use_tokens(stripe: &Stripe, customer: &str, used: &[(&str, i64)]) {
    let events: Vec<Value> = used
        .iter()
        .map(|(value, seconds)| {
            let identifier = format!("tokens-{seconds}");
            let mut event = event(&identifier, customer, value, *seconds);
            event["event_name"] = "tokens".into();
            event
        })
        .collect();
    let token = stripe.session().await;
    stripe.stream(&token, &events).await.ok();
    stripe.settle().await;
}

async fn add_item(stripe: &Stripe, subscription: &str, price: &str) -> Value {
    let form = [("subscription", subscription), ("price", price)];
    stripe.post("/v1/subscription_items", &form).await.ok()
}

/// `[quantity, period]` of an item's only line; null where it has none.
fn line_of(invoice: &Value, item: &Value) -> Value {
    let lines = invoice["lines"]["data"].as_array().unwrap();
    let mut found = lines.iter().filter(|line| {
        line["parent"]["subscription_item_details"]["subscription_item"] == item["id"]
    });
    let line = found.next();
    assert!(found.next().is_none(), "more than one line: {invoice}");
    line.map_or(Value::Null, |line| {
        json!([line["quantity"], line["period"]])
    })
}

#[tokio::test]
async fn an_added_item_bills_usage_from_its_addition_on() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let first = &ada.subscription["items"]["data"][0];
    let (meter, price) = tokens(&stripe).await;
    stripe.advance(&ada.test_clock, ADDED_AT).await;
    let added = add_item(&stripe, &ada.subscription_id(), &price).await;
    assert_eq!(added["created"], ADDED_AT, "the clock's time");

    stripe.advance(&ada.test_clock, ADDED_AT + HOUR).await;
    let at = DAYS_BEFORE * DAY;
    let used = [("1", at - 1), ("2", at), ("4", at + HOUR)];
    use_tokens(&stripe, &ada.customer, &used).await;
    let end = ada.period_end();
    let since = json!({ "start": ADDED_AT, "end": end });
    let form = [("customer", ada.customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await.ok();
    assert_eq!(line_of(&preview, &added), json!([6, since]));
    assert_eq!(preview["total"], 12);
    let summaries = stripe
        .get(&format!(
            "/v1/billing/meters/{meter}/event_summaries?customer={}&start_time={START}&end_time={}",
            ada.customer,
            START + 30 * DAY
        ))
        .await;
    let counted = &summaries["data"][0]["aggregated_value"];
    assert_eq!(*counted, 7, "a meter sums all, whoever bills it");

    stripe.advance(&ada.test_clock, end).await;
    let draft = ada.invoice(&stripe).await;
    assert_eq!(line_of(&draft, &added), json!([6, since]));
    // Late usage, from before the addition and from after it.
    let late = [("8", at - HOUR), ("16", at + DAY)];
    use_tokens(&stripe, &ada.customer, &late).await;
    stripe.advance(&ada.test_clock, end + HOUR).await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(invoice["status"], "paid");
    assert_eq!(line_of(&invoice, &added), json!([22, since]));
    let whole = json!({ "start": START, "end": end });
    assert_eq!(line_of(&invoice, first), json!([0, whole]));
    let period = json!({ "start": invoice["period_start"], "end": invoice["period_end"] });
    assert_eq!(period, whole);
}

#[tokio::test]
async fn the_periods_after_its_addition_are_billed_whole() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let (_, price) = tokens(&stripe).await;
    stripe.advance(&ada.test_clock, ADDED_AT).await;
    let added = add_item(&stripe, &ada.subscription_id(), &price).await;
    stripe.advance(&ada.test_clock, ada.period_end()).await;
    use_tokens(&stripe, &ada.customer, &[("5", 31 * DAY)]).await;
    stripe.advance(&ada.test_clock, START + 59 * DAY).await;
    let second = json!({ "start": ada.period_end(), "end": START + 59 * DAY });
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(line_of(&invoice, &added), json!([5, second]));
}

#[tokio::test]
async fn a_change_of_the_subscription_adds_an_item_as_well() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let (_, price) = tokens(&stripe).await;
    stripe.advance(&ada.test_clock, ADDED_AT).await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    let form = [("items[0][price]", price.as_str())];
    let changed = stripe.post(&path, &form).await.ok();
    let added = &changed["items"]["data"][1];
    assert_eq!(added["created"], ADDED_AT);
    let at = DAYS_BEFORE * DAY;
    use_tokens(&stripe, &ada.customer, &[("1", at - 1), ("2", at)]).await;
    stripe.advance(&ada.test_clock, ada.period_end()).await;
    let since = json!({ "start": ADDED_AT, "end": ada.period_end() });
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(line_of(&invoice, added), json!([2, since]));
}

#[tokio::test]
async fn another_price_makes_no_new_item() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let (_, price) = tokens(&stripe).await;
    let item = &ada.subscription["items"]["data"][0];
    stripe.advance(&ada.test_clock, ADDED_AT).await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    let item_id = id(item);
    let form = [
        ("items[0][id]", item_id.as_str()),
        ("items[0][price]", &price),
    ];
    let changed = stripe.post(&path, &form).await.ok();
    let changed = &changed["items"]["data"][0];
    assert_eq!(changed["price"]["id"], price.as_str());
    assert_eq!(changed["created"], item["created"]);
    use_tokens(
        &stripe,
        &ada.customer,
        &[("1", 0), ("2", DAYS_BEFORE * DAY)],
    )
    .await;
    stripe.advance(&ada.test_clock, ada.period_end()).await;
    let whole = json!({ "start": START, "end": ada.period_end() });
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(line_of(&invoice, item), json!([3, whole]));
}

#[tokio::test]
async fn a_draft_has_no_line_of_an_item_that_was_added_after_its_period() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let (_, price) = tokens(&stripe).await;
    stripe.advance(&ada.test_clock, ada.period_end() + 60).await;
    use_tokens(&stripe, &ada.customer, &[("3", 30 * DAY)]).await;
    let draft = ada.invoice(&stripe).await;
    let added = add_item(&stripe, &ada.subscription_id(), &price).await;
    stripe
        .advance(&ada.test_clock, ada.period_end() + HOUR)
        .await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(
        (&invoice["id"], &invoice["status"], &invoice["total"]),
        (&draft["id"], &json!("paid"), &json!(0))
    );
    assert_eq!(line_of(&invoice, &added), Value::Null);
}

#[tokio::test]
async fn nor_has_one_that_is_made_late() {
    let stripe = Stripe::start().await;
    let (_, documents) = catalog(&stripe).await;
    let (_, price) = tokens(&stripe).await;
    let customer = id(&stripe.post("/v1/customers", &[]).await.ok());
    give_card(&stripe, &customer, "pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &documents),
    ];
    let subscription = stripe.post("/v1/subscriptions", &form).await.ok();
    use_tokens(&stripe, &customer, &[("3", 0)]).await;

    // The period is over, and nobody has turned it yet.
    stripe.clock.pass(31 * DAY);
    let added = add_item(&stripe, &id(&subscription), &price).await;
    stripe.settle().await;
    let path = format!("/v1/invoices?customer={customer}&limit=1");
    let draft = stripe.get(&path).await["data"][0].clone();
    assert_eq!(draft["billing_reason"], "subscription_cycle");
    let whole = json!({ "start": START, "end": START + 31 * DAY });
    let first = &subscription["items"]["data"][0];
    assert_eq!(line_of(&draft, first), json!([0, whole]));
    assert_eq!(line_of(&draft, &added), Value::Null);
}
