//! The operator's catalog on the whole system: set up, changed, and billed by.

use billing::CustomerId;
use metering::{Delivered, Redriven};
use meterline_cli::catalog::{
    CatalogReport, CatalogSetupError, CatalogSetupOptions, Change, Subscribed,
};
use meterline_cli::{CatalogFile, Found, SetupOptions, setup};
use serde_json::{Value, json};
use stripe::{ListMeterEventSummaries, RequestOptions, UsageApi};

use crate::story::Story;
use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::catalog_file::two_meters;

/// Whether the parts of each meter were there: product, meter, price.
fn found(report: &CatalogReport) -> Vec<[Found; 3]> {
    let meters = report.meters.iter();
    let meters = meters.map(|it| [it.product.1, it.meter.as_ref().unwrap().1, it.price.1]);
    meters.collect()
}

const FOUND: [Found; 3] = [Found::Found; 3];

#[tokio::test]
async fn a_catalog_is_made_once_and_found_again() {
    let story = Story::start().await;
    let dry = story.set_up_dry(&two_meters()).await;
    assert_eq!(found(&dry), [FOUND, [Found::Missing; 3]]);
    assert_eq!(dry.catalog, (1, Found::Created));
    assert_eq!(story.stored().await, None);
    assert_eq!(story.meters_in_stripe().await, [DOCUMENTS]);

    let first = story.set_up_now(&two_meters()).await;
    assert_eq!(found(&first), [FOUND, [Found::Created; 3]]);
    assert_eq!(first.catalog, (1, Found::Created));
    assert_eq!(first.changes, []);
    assert_eq!(story.meters_in_stripe().await, [DOCUMENTS, TOKENS]);

    let second = story.set_up_now(&two_meters()).await;
    assert_eq!(found(&second), [FOUND, FOUND]);
    assert_eq!(second.catalog, (1, Found::Found));
    for (first, second) in first.meters.iter().zip(&second.meters) {
        assert_eq!(first.price.0, second.price.0);
    }
    let (version, catalog) = story.stored().await.unwrap();
    assert_eq!(version, 1);
    let products: Vec<_> = first.meters.iter().map(|it| it.product.0.clone()).collect();
    let stored = catalog
        .meters()
        .iter()
        .map(|it| Some(it.product_id.clone()));
    assert_eq!(stored.collect::<Vec<_>>(), products);
}

#[tokio::test]
async fn a_changed_file_shows_which_action_moves() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let mut changed = two_meters();
    changed["meters"][0]["actions"] = json!(["document_processed", "llm.ocr.*"]);
    let moved = Change::ActionMoved {
        action: "llm.ocr.*".to_owned(),
        from: Some(TOKENS.to_owned()),
        to: Some(DOCUMENTS.to_owned()),
    };
    let dry = story.set_up_dry(&changed).await;
    assert_eq!(dry.changes, std::slice::from_ref(&moved));
    assert_eq!(dry.catalog, (2, Found::Changed));
    assert_eq!(story.stored().await.unwrap().0, 1);
    let report = story.set_up_now(&changed).await;
    assert_eq!(report.changes, [moved]);
    assert_eq!(report.catalog, (2, Found::Changed));
    assert_eq!(story.stored().await.unwrap().0, 2);
}

#[tokio::test]
async fn nothing_is_made_where_anything_is_not_as_it_should_be() {
    let story = Story::start().await;
    // Documents cost 2 cents under this lookup key, and stand last.
    let mut other_price = two_meters();
    other_price["meters"].as_array_mut().unwrap().reverse();
    other_price["meters"][1]["price"]["unit_amount_decimal"] = json!("3");
    let mut other_currency = two_meters();
    other_currency["meters"][1]["price"]["currency"] = json!("eur");
    let path = story.write_catalog(&two_meters()).display().to_string();
    for (catalog, told) in [
        (
            other_price,
            format!("{path}: meters[1] ({DOCUMENTS}): the price price_"),
        ),
        (
            other_currency,
            format!("{path}: meters[1] ({TOKENS}).price.currency: is eur"),
        ),
    ] {
        let options = CatalogSetupOptions::default();
        let refused = story.set_up(&catalog, &options).await.unwrap_err();
        assert!(refused.to_string().starts_with(&told), "{refused}");
        assert_eq!(story.meters_in_stripe().await, [DOCUMENTS]);
        assert_eq!(story.stored().await, None);
    }
}

/// A second meter of its name would count what the items of the first do not bill.
#[tokio::test]
async fn a_deactivated_meter_is_reactivated_and_not_made_again() {
    let story = Story::start().await;
    let customer = story.customer().await;
    let meter_id = customer.item.meter_id.as_str();
    story.meter_in_stripe("deactivate", meter_id).await;
    // Tokens would be made first.
    let mut catalog = two_meters();
    catalog["meters"].as_array_mut().unwrap().reverse();
    let mut other_price = catalog.clone();
    other_price["meters"][1]["lookup_key"] = json!("agent_operations_2027");
    let told = format!(
        "the meter {meter_id} takes the events {DOCUMENTS}, and is inactive; reactivate it"
    );
    for catalog in [&catalog, &other_price] {
        let options = CatalogSetupOptions::default();
        let refused = story.set_up(catalog, &options).await.unwrap_err();
        let place = format!("meters[1] ({DOCUMENTS}): {told}");
        assert!(refused.to_string().contains(&place), "{refused}");
    }
    let of_one_meter = SetupOptions {
        lookup_key: "agent_operations_2027".to_owned(),
        ..SetupOptions::default()
    };
    let stripe = story.system.stripe();
    let refused = setup(stripe, &of_one_meter).await.unwrap_err();
    assert!(refused.to_string().starts_with(&told), "{refused}");
    assert_eq!(story.meters_in_stripe().await, [DOCUMENTS]);
    assert_eq!(story.stored().await, None);

    story.meter_in_stripe("reactivate", meter_id).await;
    let report = story.set_up_now(&other_price).await;
    let meter = report.meters[1].meter.clone().unwrap();
    assert_eq!(meter, (Some(meter_id.to_owned()), Found::Found));
}

#[tokio::test]
async fn only_a_catalog_with_a_new_meter_is_to_be_subscribed_to() {
    let story = Story::start().await;
    let mut catalog = two_meters();
    assert!(story.set_up_now(&catalog).await.has_new_meters());
    assert!(!story.set_up_now(&catalog).await.has_new_meters());
    catalog["default_meter"] = json!(DOCUMENTS);
    assert!(!story.set_up_now(&catalog).await.has_new_meters());
    let mut pages = catalog["meters"][1].clone();
    for (field, value) in [("event_name", "pages"), ("lookup_key", "pages_monthly")] {
        pages[field] = json!(value);
    }
    pages["actions"] = json!(["page_read"]);
    catalog["meters"].as_array_mut().unwrap().push(pages);
    assert!(story.set_up_now(&catalog).await.has_new_meters());
}

#[tokio::test]
async fn a_catalog_that_somebody_stored_meanwhile_is_not_stored_over() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let ledger = story.system.ledger();
    let read = ledger.catalog().await.unwrap().unwrap();
    let mut theirs = two_meters();
    theirs["default_meter"] = json!(DOCUMENTS);
    story.set_up_now(&theirs).await;

    // This run had read the first version.
    let mut ours = two_meters();
    ours["default_meter"] = json!(TOKENS);
    let catalog = |terms: &Value| {
        let file = CatalogFile::read(&story.write_catalog(terms)).unwrap();
        file.catalog(|meter| format!("meterline_{}", meter.event_name))
            .unwrap()
    };
    let store = |terms| {
        meterline_cli::catalog::setup::store(ledger, Some(&read), catalog(terms), story.now())
    };
    let refused = store(&ours).await.unwrap_err();
    assert!(
        matches!(
            refused,
            CatalogSetupError::ChangedMeanwhile { version: 2, .. }
        ),
        "{refused}"
    );
    // Two runs of one file are one change.
    assert_eq!(store(&theirs).await.unwrap(), (2, Found::Changed));
    assert_eq!(story.stored().await.unwrap().0, 2);
}

#[tokio::test]
async fn a_setup_that_stripe_ended_is_finished_by_the_next() {
    let story = Story::start().await;
    let fault = json!({ "kind": "error_before", "status": 400, "method": "POST",
        "path_prefix": "/v1/prices" });
    story.order_fault(fault).await;
    let options = CatalogSetupOptions::default();
    let ended = story.set_up(&two_meters(), &options).await.unwrap_err();
    assert!(
        ended
            .to_string()
            .contains("could not be asked to make the price"),
        "{ended}"
    );
    assert_eq!(story.stored().await, None);
    assert_eq!(story.meters_in_stripe().await, [DOCUMENTS, TOKENS]);
    let report = story.set_up_now(&two_meters()).await;
    assert_eq!(
        found(&report),
        [FOUND, [Found::Found, Found::Found, Found::Created]]
    );
    assert_eq!(report.catalog, (1, Found::Created));
}

impl Story {
    async fn units_in_stripe(&self, event_name: &str) -> i64 {
        let row = self.customer().await;
        let meter_id = &row.item_of_meter(event_name).unwrap().meter_id;
        let end_time = (self.now().unix_s() / 3_600 + 1) * 3_600;
        let list = ListMeterEventSummaries {
            customer: self.customer_id.as_str().to_owned(),
            start_time: end_time - 7 * 86_400,
            end_time,
            value_grouping_window: None,
        };
        let stripe = self.system.stripe();
        let summaries = stripe.list_meter_event_summaries(meter_id, &list).await;
        let summaries = summaries.unwrap();
        summaries.iter().map(|it| it.aggregated_value).sum()
    }

    /// Units of the totals for the customer, by meter.
    async fn units_in_totals(&self, event_name: &str) -> u64 {
        let (from, to) = (self.now().plus_ms(-7 * 86_400_000), self.now());
        let ledger = self.system.ledger();
        let totals = ledger.totals_of_range(&self.customer_id, from, to).await;
        let totals = totals.unwrap();
        let of_meter = totals
            .iter()
            .filter(|total| total.key.meter_event_name == event_name);
        let units = of_meter.map(|total| total.tally.units(billing::UsageStatus::Delivered));
        units.sum()
    }
}

#[tokio::test]
async fn each_action_is_counted_and_billed_by_its_own_meter() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    assert_eq!(story.emit("a", 3).await, "delivered");
    // From before the catalog, the customer has no item for tokens.
    assert_eq!(story.emit_tokens("b", 1_500).await, "held");
    let (status, refused) = story
        .caller
        .post(
            "/v1/usage",
            json!({ "event_id": "c", "customer_id": story.customer_id, "quantity": 1,
                "action_type": "unknown" }),
        )
        .await;
    assert_eq!(
        (status, &refused["field"]),
        (400, &json!("action_type")),
        "{refused}"
    );

    // Who comes after the catalog has both items from the start.
    let second = CustomerId::parse(&story.caller.onboard("second").await).unwrap();
    let second = story.subscribe_with(&second, false).await;
    assert_eq!(second.unwrap(), Subscribed::UpToDate);

    assert!(matches!(
        story.subscribe().await.unwrap(),
        Subscribed::Added { .. }
    ));
    assert_eq!(story.emit_tokens("d", 2_000).await, "delivered");
    let redriven = story.redrive("b").await;
    assert!(
        matches!(redriven, Redriven::Sent(Delivered::Delivered)),
        "{redriven:?}"
    );
    // Stripe bills the item for usage from its addition on.
    let (row, customer) = (story.row("b").await, story.customer().await);
    assert!(row.carried_over && row.billed_at > Some(row.occurred_at));
    let added_at = customer.item_of_meter(TOKENS).unwrap().added_at;
    assert!(added_at.is_some() && row.billed_at >= added_at);
    story.rest().await;
    for (event_name, units) in [(DOCUMENTS, 3_u32), (TOKENS, 3_500)] {
        assert_eq!(story.units_in_stripe(event_name).await, i64::from(units));
        assert_eq!(story.units_in_totals(event_name).await, u64::from(units));
    }

    story.end_period().await;
    let invoices = story.system.stripe();
    let invoices = invoices.list_all_invoices(story.customer_id.as_str()).await;
    let invoices = invoices.unwrap();
    let billed = invoices.iter().find(|invoice| invoice.total > 0).unwrap();
    let mut lines: Vec<_> = billed
        .lines
        .iter()
        .map(|line| (line.quantity, line.amount))
        .collect();
    lines.sort_unstable();
    // 3 at 2 cents, and 3,500 at 0.04 cents.
    assert_eq!(lines, [(Some(3), 6), (Some(3_500), 140)]);
    assert_eq!(billed.status.as_deref(), Some("paid"));
}

#[tokio::test]
async fn usage_records_are_told_apart_by_their_products() {
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    let mut catalog = two_meters();
    let row = story.customer().await;
    let stripe = story.system.stripe();
    let price = stripe.retrieve_price(&row.item.price_id).await.unwrap();
    catalog["meters"][0]["lookup_key"] = json!(price.lookup_key);
    let legacy = CatalogSetupOptions {
        legacy: true,
        ..CatalogSetupOptions::default()
    };
    let report = story.set_up(&catalog, &legacy).await.unwrap();
    assert!(report.meters.iter().all(|meter| meter.meter.is_none()));
    // An item from before the catalog has no name in it.
    assert_eq!(row.item.meter_event_name, "");
    assert_eq!(story.emit("early", 1).await, "held");
    assert!(matches!(
        story.subscribe().await.unwrap(),
        Subscribed::Added { .. }
    ));
    let row = story.customer().await;
    let names: Vec<_> = row
        .items()
        .map(|item| item.meter_event_name.as_str())
        .collect();
    assert_eq!(names, [DOCUMENTS, TOKENS]);
    assert_eq!(story.emit("a", 3).await, "delivered");
    assert_eq!(story.emit_tokens("b", 5).await, "delivered");
    for (event_id, event_name) in [("a", DOCUMENTS), ("b", TOKENS)] {
        let event = story.row(event_id).await;
        let item = row.item_of_meter(event_name).unwrap();
        assert_eq!(
            event.subscription_item_id.as_ref(),
            Some(&item.subscription_item_id)
        );
    }

    // One product cannot be two meters' where there is no meter.
    let mut shared = catalog.clone();
    shared["meters"][1]["lookup_key"] = json!("another");
    let another = stripe::CreatePrice {
        product: price.product.clone(),
        currency: "usd".to_owned(),
        amount: stripe::PriceAmount::PerUnit {
            unit_amount_decimal: "0.04".to_owned(),
            transform_quantity: None,
        },
        interval: "month".to_owned(),
        lookup_key: Some("another".to_owned()),
        ..stripe::CreatePrice::default()
    };
    stripe
        .create_price(&another, &RequestOptions::new())
        .await
        .unwrap();
    let refused = story.set_up(&shared, &legacy).await.unwrap_err();
    assert!(
        matches!(refused, CatalogSetupError::SharedProduct { .. }),
        "{refused}"
    );
}
