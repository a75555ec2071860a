//! Stories of what a customer and an agent may ask, over HTTP, with the tables
//! behind DynamoDB's own wire protocol and a simulated Stripe.

use billing::{ActionType, BillingTime, Clock, EventId, Quantity, UsageEvent, UsageStatus};
use ledger::{CustomerRow, CustomerStatus, Scope, Transition, UsageEventRow};
use serde_json::{Value, json};
use stripe::{
    MeterEvent, MeterEventStream, PriceAmount, PriceTier, RequestOptions, TransformQuantity,
};

use crate::story::Story;
use crate::support::world::{DAY_MS, HOUR_MS, METER_EVENT_NAME, send};

#[tokio::test]
async fn usage_of_the_current_period_is_exact() {
    let story = Story::start().await;
    let empty = story.get("usage").await.expect(200);
    assert_eq!(
        (&empty["total_units"], &empty["estimated_cost"]),
        (&json!(0), &json!("0.00"))
    );
    story
        .count(&[
            ("document_processed", 0, UsageStatus::Delivered, 1_000),
            ("page_read", 0, UsageStatus::Delivered, 2),
            ("document_processed", 0, UsageStatus::Pending, 3),
            ("document_processed", 0, UsageStatus::Rejected, 50),
            ("mail_sent", 0, UsageStatus::Voided, 70),
        ])
        .await;
    let usage = story.get("usage").await.expect(200);
    let period = (story.customer.period_start, story.customer.period_end);
    let period_days = period.1.ms_since(period.0) / DAY_MS;
    assert_eq!(
        usage,
        json!({
            "customer_id": story.customer.customer_id,
            "period_days": period_days,
            "period_start": period.0.to_string(),
            "period_end": period.1.to_string(),
            "total_units": 1_005,
            "pending_units": 3,
            "by_action_type": { "document_processed": 1_003, "page_read": 2 },
            "by_meter": [{
                "meter_event_name": METER_EVENT_NAME,
                "subscription_item_id": story.customer.item.subscription_item_id,
                "price_id": story.customer.item.price_id,
                "units": 1_005,
                "pending_units": 3,
                "estimated_cost": "20.10",
            }],
            "currency": "usd",
            "estimated_cost": "20.10",
            "estimated_cost_usd": "20.10",
            "as_of": story.world.clock.now().to_string(),
        })
    );
}

#[tokio::test]
async fn usage_that_two_shards_saw_counts_once() {
    let story = Story::start().await;
    let pending = ("document_processed", 0, UsageStatus::Pending, 5);
    story
        .count(&[pending, ("page_read", 1, UsageStatus::Pending, 1)])
        .await;
    story
        .deliver_in_another_shard("document_processed", 5)
        .await;
    for group_by in ["hour", "action_type", "meter", "day,action_type"] {
        let query = format!("usage?group_by={group_by}");
        let usage = story.get(&query).await.expect(200);
        assert_eq!(usage["total_units"], 6);
        assert_eq!(usage["pending_units"], 1);
        assert_eq!(usage["by_action_type"]["document_processed"], 5);
        assert_eq!(usage["by_meter"][0]["pending_units"], 1);
        let series = usage["series"].as_array().unwrap().iter();
        let units = series.map(|entry| entry["units"].as_u64().unwrap());
        assert_eq!(units.sum::<u64>(), 6, "{group_by}");
    }
}

/// 10 units at 0.25 cents, the rest at 0.15 cents and a cent and a half once.
fn graduated() -> PriceAmount {
    let first = PriceTier {
        up_to: Some(10),
        unit_amount_decimal: Some("0.25".to_owned()),
        flat_amount_decimal: None,
    };
    let last = PriceTier {
        up_to: None,
        unit_amount_decimal: Some("0.15".to_owned()),
        flat_amount_decimal: Some("1.5".to_owned()),
    };
    PriceAmount::Tiered {
        tiers_mode: "graduated".to_owned(),
        tiers: vec![first, last],
    }
}

fn packages() -> PriceAmount {
    PriceAmount::PerUnit {
        unit_amount_decimal: "250".to_owned(),
        transform_quantity: Some(TransformQuantity {
            divide_by: 1_000,
            round: "up".to_owned(),
        }),
    }
}

#[tokio::test]
async fn the_cost_of_the_current_period_is_what_stripe_will_bill() {
    for (amount, currency, costs) in [
        // Each line is rounded: 2.5 cents are 3, and 0.15 are none.
        (graduated(), "usd", ["0.00", "0.03", "0.05", "0.06"]),
        (packages(), "jpy", ["0", "250", "250", "250"]),
        (packages(), "kwd", ["0.000", "0.250", "0.250", "0.250"]),
    ] {
        let story = Story::start_at(amount, currency).await;
        for (step, (units, cost)) in [0, 10, 1, 4].into_iter().zip(costs).enumerate() {
            if units > 0 {
                story.use_up(&format!("step {step}"), units).await;
            }
            let usage = story.get("usage").await.expect(200);
            let upcoming = story.get("invoices/upcoming").await.expect(200);
            assert_eq!(usage["estimated_cost"], cost, "{currency} at step {step}");
            assert_eq!(upcoming["total"], cost, "{currency} at step {step}");
            let in_usd = (currency == "usd").then(|| json!(cost));
            assert_eq!(usage.get("estimated_cost_usd"), in_usd.as_ref());
            assert!(usage.get("estimated_cost_unavailable").is_none(), "{usage}");
        }
    }
}

#[tokio::test]
async fn a_range_has_no_cost_where_units_depend_on_each_other() {
    for (amount, reason) in [(graduated(), "tiers"), (packages(), "transform_quantity")] {
        let story = Story::start_at(amount, "usd").await;
        story.use_up("some", 15).await;
        let usage = story.get("usage?period_days=30").await.expect(200);
        assert_eq!(usage["estimated_cost_unavailable"], reason);
        for cost in ["estimated_cost", "estimated_cost_usd"] {
            assert_eq!(usage.get(cost), Some(&Value::Null), "{cost}");
        }
        let by_action_type = json!({ "document_processed": 15 });
        assert_eq!(
            (&usage["total_units"], &usage["by_action_type"]),
            (&json!(15), &by_action_type)
        );
    }
}

#[tokio::test]
async fn usage_of_any_range_comes_in_hours_days_or_actions() {
    let story = Story::start().await;
    story
        .count(&[
            ("document_processed", 0, UsageStatus::Delivered, 5),
            ("page_read", -30, UsageStatus::Delivered, 7),
            ("page_read", -24 * 40, UsageStatus::Delivered, 11),
        ])
        .await;
    let rolling = story
        .get("usage?period_days=30&group_by=action_type")
        .await
        .expect(200);
    assert_eq!(
        (&rolling["period_days"], &rolling["total_units"]),
        (&json!(30), &json!(12))
    );
    assert_eq!(
        rolling["series"],
        json!([
            { "action_type": "document_processed", "units": 5, "exact_cost": "0.10" },
            { "action_type": "page_read", "units": 7, "exact_cost": "0.14" },
        ])
    );
    let this_hour = story.customer.period_start.start_of_hour();
    let from = this_hour.plus_ms(-30 * HOUR_MS);
    let path = format!("usage?from={}&to={this_hour}&group_by=hour", from.unix_s());
    let hours = story.get(&path).await.expect(200);
    assert_eq!(
        hours["series"],
        json!([{ "start": from.to_string(), "units": 7, "exact_cost": "0.14" }])
    );
    assert_eq!(hours["estimated_cost"], "0.14");
    let days = story
        .get("usage?period_days=90&group_by=day")
        .await
        .expect(200);
    assert_eq!(days["total_units"], 23);
    assert_eq!(days["series"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_range_that_is_none_is_refused_by_name() {
    let story = Story::start().await;
    for (query, field) in [
        ("period_days=0", "period_days"),
        ("period_days=30&from=1769860800", "period_days"),
        ("from=tomorrow", "from"),
        ("from=1769860800&to=1769860800", "to"),
        ("group_by=month", "group_by"),
    ] {
        let refusal = story.get(&format!("usage?{query}")).await;
        assert_eq!(refusal.problem(400), "invalid-field", "{query}");
        assert_eq!(refusal.json()["field"], field, "{query}");
    }
    assert_eq!(
        story.get("usage?period_day=30").await.problem(400),
        "invalid-request"
    );
    assert_eq!(
        story.get("invoices?limit=101").await.problem(400),
        "invalid-field"
    );
}

#[tokio::test]
async fn one_event_shows_every_status_it_went_through() {
    let story = Story::start().await;
    let recorded_at = story.world.clock.now();
    let usage = UsageEvent {
        event_id: EventId::parse("job 7/ä").unwrap(),
        customer_id: story.customer.customer_id.clone(),
        subscription_item_id: None,
        quantity: Quantity::new(3).unwrap(),
        action_type: ActionType::parse("document_processed").unwrap(),
        occurred_at: None,
        source: None,
    };
    let time = BillingTime::Billable {
        billed_at: recorded_at,
        period_start: story.customer.period_start,
        carried_over: false,
    };
    let token = "token".to_owned();
    let row = UsageEventRow::new(
        &usage,
        recorded_at,
        time,
        METER_EVENT_NAME,
        token,
        recorded_at,
    );
    story
        .world
        .ledger
        .record_usage_event(&row, recorded_at, 0)
        .await
        .unwrap();
    story.world.clock.advance_ms(40);
    let rejected_at = story.world.clock.now();
    let rejected = Transition {
        from: UsageStatus::Pending,
        to: UsageStatus::Rejected,
        at: rejected_at,
        stripe_code: Some("no_meter"),
    };
    story
        .world
        .ledger
        .transition_usage_event(&row.identifier, rejected)
        .await
        .unwrap();
    let path = format!("{}/v1/usage/{}", story.url, story.customer.customer_id);
    let answer = story
        .world
        .get(&format!("{path}/job%207%2F%C3%A4"))
        .await
        .expect(200);
    assert_eq!(
        (&answer["event_id"], &answer["quantity"]),
        (&json!("job 7/ä"), &json!(3))
    );
    assert_eq!(answer["identifier"], row.identifier.as_str());
    assert_eq!(
        (&answer["status"], &answer["stripe_code"]),
        (&json!("rejected"), &json!("no_meter"))
    );
    assert_eq!(
        answer["history"],
        json!([
            { "status": "pending", "at": recorded_at.to_string() },
            { "status": "rejected", "at": rejected_at.to_string() },
        ])
    );
    let unknown = story.world.get(&format!("{path}/job-8")).await;
    assert_eq!(unknown.problem(404), "usage-event-not-found");
}

#[tokio::test]
async fn access_ends_with_suspension_and_with_the_subscription() {
    let story = Story::start().await;
    story
        .count(&[("page_read", 0, UsageStatus::Delivered, 4)])
        .await;
    assert_eq!(
        story.get("access").await.expect(200),
        json!({
            "allowed": true, "reason": null, "status": "active", "units": 4, "limit": null,
            "spending_limit": null,
        })
    );
    for (status, allowed) in [
        (CustomerStatus::PastDue, true),
        (CustomerStatus::Suspended, false),
        (CustomerStatus::Canceled, false),
    ] {
        story.set(|row| row.status = status).await;
        let access = story.get("access").await.expect(200);
        assert_eq!(
            (&access["allowed"], &access["status"]),
            (&json!(allowed), &json!(status.as_str()))
        );
        assert_eq!(access["reason"].is_string(), !allowed);
    }
    let now = story.customer.period_start;
    story
        .set(|row| {
            row.status = CustomerStatus::Active;
            row.subscription_ends_at = Some(now);
        })
        .await;
    assert_eq!(story.get("access").await.expect(200)["allowed"], false);
}

/// Nothing is written when the grace is over, and nobody has to be told.
#[tokio::test]
async fn access_ends_with_the_grace_of_who_does_not_pay() {
    let story = Story::start().await;
    let now = story.world.clock.now();
    for (grace_ends_at, status, allowed) in [
        // The test clock goes by whole seconds.
        (now.plus_ms(1_000), "past_due", true),
        (now.plus_ms(-1_000), "suspended", false),
    ] {
        let owing = |row: &mut CustomerRow| {
            row.status = CustomerStatus::PastDue;
            row.grace_ends_at = Some(grace_ends_at);
        };
        story.set(owing).await;
        let access = story.get("access").await.expect(200);
        assert_eq!(
            (&access["allowed"], &access["status"]),
            (&json!(allowed), &json!(status))
        );
    }
}

#[tokio::test]
async fn invoices_are_stripes_in_exact_decimals() {
    let story = Story::start().await;
    let event = MeterEvent::new(
        "usage-1",
        METER_EVENT_NAME,
        story.world.clock.now().unix_ms(),
        story.customer.customer_id.as_str(),
        1_005,
    );
    let stream = MeterEventStream::new(story.world.stripe.clone());
    stream.send(&[event], &RequestOptions::new()).await.unwrap();
    story.world.settle().await;
    let upcoming = story.get("invoices/upcoming").await.expect(200);
    assert_eq!(
        (&upcoming["total"], &upcoming["currency"]),
        (&json!("20.10"), &json!("usd"))
    );
    assert_eq!(
        (&upcoming["invoice_id"], &upcoming["lines"][0]["quantity"]),
        (&Value::Null, &json!(1_005))
    );

    let test_clock = story.customer.test_clock.clone().unwrap();
    let after_end_s = story.customer.period_end.unix_s() + 2 * HOUR_MS / 1_000;
    story.world.move_test_clock(&test_clock, after_end_s).await;
    let list = story.get("invoices?limit=1").await.expect(200);
    let invoice = &list["invoices"][0];
    assert_eq!(
        (&invoice["status"], &invoice["amount_paid"]),
        (&json!("paid"), &json!("20.10"))
    );
    assert!(invoice["paid_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(list["has_more"], true);
    // The next period has begun, and the report knows without a webhook.
    let usage = story.get("usage").await.expect(200);
    assert_eq!(usage["period_start"], story.customer.period_end.to_string());
}

#[tokio::test]
async fn a_key_reads_its_own_customers_only() {
    let story = Story::start().await;
    let url = |rest: &str| story.customer_url(rest);
    let other = billing::CustomerId::parse("cus_other").unwrap();
    let others = story.world.api_key(Scope::Read, Some(vec![other])).await;
    let mine = vec![story.customer.customer_id.clone()];
    let own = story.world.api_key(Scope::Read, Some(mine.clone())).await;
    let emitter = story.world.api_key(Scope::Emit, Some(mine)).await;
    for rest in ["usage", "access", "invoices", "invoices/upcoming"] {
        let get = |key: &str| send(story.world.http.get(url(rest)).bearer_auth(key));
        assert_eq!(get(&own).await.status, 200, "{rest}");
        assert_eq!(get(&others).await.problem(403), "forbidden", "{rest}");
        assert_eq!(get(&emitter).await.problem(403), "forbidden", "{rest}");
        assert_eq!(
            send(story.world.http.get(url(rest))).await.problem(401),
            "unauthorized"
        );
    }
    let link = story
        .world
        .http
        .post(url("dashboard-links"))
        .bearer_auth(&others);
    assert_eq!(send(link).await.problem(403), "forbidden");
    let unknown = format!("{}/v1/customers/cus_unknown/usage", story.url);
    assert_eq!(
        story.world.get(&unknown).await.problem(404),
        "customer-not-found"
    );
}
