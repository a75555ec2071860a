//! The operator's catalog on the whole system: set up, changed, subscribed to,
//! and billed by.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod story;

use std::path::PathBuf;

use billing::{Catalog, CustomerId};
use ledger::{CatalogStored, Updated};
use meterline_cli::catalog::{
    CatalogReport, CatalogSetupError, CatalogSetupOptions, Change, SubscribeError, Subscribed,
};
use meterline_cli::{CatalogFile, Found, Subscriber, set_up_catalog};
use serde_json::{Value, json};
use story::Story;
use story::catalog::{DOCUMENTS, TOKENS};
use stripe::{CreateSubscriptionItem, ListMeterEventSummaries, RequestOptions, UsageApi};

/// Documents at 2 cents, as everybody is onboarded with, and tokens at $0.0004.
fn two_meters() -> Value {
    json!({ "meters": [
        { "event_name": DOCUMENTS, "product_name": "Agent Operations",
          "lookup_key": "agent_operations_monthly", "actions": ["document_processed"],
          "price": { "currency": "usd", "unit_amount_decimal": "2" } },
        { "event_name": TOKENS, "product_name": "LLM tokens",
          "lookup_key": "llm_tokens_monthly", "actions": ["llm.*"],
          "price": { "currency": "usd", "unit_amount_decimal": "0.04" } },
    ]})
}

impl Story {
    fn write_catalog(&self, catalog: &Value) -> PathBuf {
        let path = self.folder().join("catalog.json");
        std::fs::write(&path, catalog.to_string()).unwrap();
        path
    }

    /// `meterline setup --catalog`, of a file that says `catalog`.
    async fn set_up(
        &self,
        catalog: &Value,
        options: &CatalogSetupOptions,
    ) -> Result<CatalogReport, CatalogSetupError> {
        let file = CatalogFile::read(&self.write_catalog(catalog))?;
        let (stripe, ledger) = (self.system.stripe(), self.system.ledger());
        let report = set_up_catalog(stripe, ledger, &file, options, self.now()).await;
        // What the functions remember is forgotten.
        self.clock.advance_s(60);
        report
    }

    async fn set_up_now(&self, catalog: &Value) -> CatalogReport {
        let options = CatalogSetupOptions::default();
        self.set_up(catalog, &options).await.unwrap()
    }

    async fn set_up_dry(&self, catalog: &Value) -> CatalogReport {
        let options = CatalogSetupOptions {
            is_dry_run: true,
            ..CatalogSetupOptions::default()
        };
        self.set_up(catalog, &options).await.unwrap()
    }

    async fn stored(&self) -> Option<(u64, Catalog)> {
        let row = self.system.ledger().catalog().await.unwrap();
        row.map(|row| (row.version, row.catalog))
    }

    async fn meters_in_stripe(&self) -> Vec<String> {
        let meters = self.system.stripe().list_meters().await.unwrap();
        let names = meters.iter().map(|meter| meter.event_name.clone());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// `meterline catalog subscribe`.
    async fn subscribe(&self) -> Result<Subscribed, SubscribeError> {
        self.subscribe_with(&self.customer_id, false).await
    }

    async fn subscribe_with(
        &self,
        customer_id: &CustomerId,
        is_dry_run: bool,
    ) -> Result<Subscribed, SubscribeError> {
        let (_, catalog) = self.stored().await.unwrap();
        let (ledger, stripe) = (self.system.ledger().clone(), self.system.stripe().clone());
        let subscriber = Subscriber::new(ledger, stripe, catalog, is_dry_run).await?;
        let subscribed = subscriber.customer_of(customer_id).await;
        self.clock.advance_s(60);
        subscribed
    }

    /// Metered items of the customer's subscription in Stripe.
    async fn items_in_stripe(&self) -> usize {
        let id = self.customer().await.subscription_id;
        let subscription = self.system.stripe().retrieve_subscription(&id).await;
        subscription.unwrap().items.data.len()
    }
}

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
async fn customers_from_before_get_the_items_that_they_lack_once() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    assert_eq!(
        story
            .subscribe_with(&story.customer_id, true)
            .await
            .unwrap(),
        Subscribed::ToAdd {
            meters: vec![TOKENS.to_owned()]
        }
    );
    assert_eq!(story.items_in_stripe().await, 1);

    let Subscribed::Added { items } = story.subscribe().await.unwrap() else {
        panic!("nothing was added");
    };
    let [item] = items.as_slice() else {
        panic!("{items:?}");
    };
    let row = story.customer().await;
    assert_eq!(row.item.meter_event_name, DOCUMENTS);
    let in_row = row.item_of_meter(TOKENS).unwrap();
    assert_eq!(in_row.subscription_item_id, item.subscription_item_id);
    assert_eq!(in_row.price.to_string(), "0.0004 usd a unit");
    assert_eq!(story.subscribe().await.unwrap(), Subscribed::UpToDate);
    assert_eq!(story.items_in_stripe().await, 2);
}

#[tokio::test]
async fn a_run_that_was_cut_off_is_finished_by_the_next() {
    let story = Story::start().await;
    let report = story.set_up_now(&two_meters()).await;
    // It had added the item, and not brought the row to it.
    let item = CreateSubscriptionItem {
        subscription: story.customer().await.subscription_id,
        price: report.meters[1].price.0.clone().unwrap(),
        ..CreateSubscriptionItem::default()
    };
    let stripe = story.system.stripe();
    let options = RequestOptions::new();
    stripe
        .create_subscription_item(&item, &options)
        .await
        .unwrap();
    let dry = story.subscribe_with(&story.customer_id, true).await;
    assert_eq!(dry.unwrap(), Subscribed::RowToChange);
    assert_eq!(story.subscribe().await.unwrap(), Subscribed::RowChanged);
    assert!(story.customer().await.item_of_meter(TOKENS).is_some());
    assert_eq!(story.items_in_stripe().await, 2);
}

#[tokio::test]
async fn who_cannot_be_subscribed_is_told_apart() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let stranger = CustomerId::parse("cus_stranger").unwrap();
    let unknown = story.subscribe_with(&stranger, false).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no customer cus_stranger");

    // All new prices are in euros, under lookup keys of their own.
    let mut euros = two_meters();
    for (meter, lookup_key) in [(0, "documents_eur"), (1, "tokens_eur")] {
        euros["meters"][meter]["price"]["currency"] = json!("eur");
        euros["meters"][meter]["lookup_key"] = json!(lookup_key);
    }
    story.set_up_now(&euros).await;
    for is_dry_run in [true, false] {
        let other = story.subscribe_with(&story.customer_id, is_dry_run).await;
        let other = other.unwrap_err().to_string();
        assert!(
            other.starts_with("it pays in usd, and the catalog"),
            "{other}"
        );
    }
    assert_eq!(story.items_in_stripe().await, 1);

    story.cancel_subscription().await;
    assert_eq!(story.subscribe().await.unwrap(), Subscribed::Ended);
    // The row does not know yet that it has ended.
    let row = story.customer().await;
    let active = ledger::CustomerRow {
        status: ledger::CustomerStatus::Active,
        ..row.clone()
    };
    let updated = story.system.ledger().update_customer(&row, active).await;
    assert_eq!(updated.unwrap(), Updated::Done);
    assert_eq!(story.subscribe().await.unwrap(), Subscribed::Ended);
}

#[tokio::test]
async fn a_price_that_left_the_catalogs_meter_subscribes_nobody() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let ledger = story.system.ledger();
    let read = ledger.catalog().await.unwrap().unwrap();
    let mut terms = billing::CatalogTerms::from(read.catalog.clone());
    terms.meters[1].lookup_key = "nowhere".to_owned();
    let catalog = Catalog::try_from(terms).unwrap();
    let stored = ledger
        .store_catalog(Some(&read), catalog, story.now())
        .await;
    assert_eq!(stored.unwrap(), CatalogStored::Done);
    let refused = story.subscribe().await.unwrap_err().to_string();
    assert!(refused.contains("\"nowhere\" does not exist"), "{refused}");
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

    async fn redrive_held(&self) -> Vec<String> {
        let arguments = ["redrive", "--status", "held", "--yes", "--json"];
        let (_, out, err) = self.meterline(&arguments).await;
        assert!(!out.is_empty(), "{err}");
        let outcome = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["outcome"].as_str().unwrap().to_owned()
        };
        out.lines().map(outcome).collect()
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

    assert!(matches!(
        story.subscribe().await.unwrap(),
        Subscribed::Added { .. }
    ));
    assert_eq!(story.emit_tokens("d", 2_000).await, "delivered");
    assert_eq!(story.redrive_held().await, ["delivered"]);
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
    assert_eq!(row.item.meter_event_name, "");
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

#[tokio::test]
async fn the_program_sets_a_catalog_up_shows_it_and_subscribes() {
    let story = Story::start().await;
    let show = ["catalog", "show"];
    let (status, out, _) = story.meterline(&show).await;
    assert_eq!(status, Some(0));
    assert!(out.starts_with("no catalog is stored"), "{out}");
    let (status, _, err) = story.meterline(&["catalog", "which", "read"]).await;
    assert_eq!(status, Some(2));
    assert!(
        err.contains("`meterline setup --catalog FILE` stores one"),
        "{err}"
    );

    let path = story.write_catalog(&two_meters()).display().to_string();
    let setup = ["setup", "--catalog", &path];
    let (status, out, err) = story
        .meterline(&[&setup[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("sums llm_tokens  [to be created]"), "{out}");
    assert!(out.contains("version 1  [to be stored]"), "{out}");
    assert_eq!(story.stored().await, None);
    let (status, out, err) = story.meterline(&setup).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("sums llm_tokens  [created]"), "{out}");
    let (_, out, _) = story.meterline(&[&setup[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["catalog"], json!([1, "found"]));
    assert_eq!(report["meters"][1]["price"][1], "found");

    let (_, out, _) = story.meterline(&show).await;
    assert!(
        out.contains("llm_tokens at llm_tokens_monthly: llm.*\n"),
        "{out}"
    );
    assert!(out.contains("any other action is refused"), "{out}");
    let (_, out, _) = story.meterline(&[&show[..], &["--json"]].concat()).await;
    let stored: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            &stored["version"],
            &stored["catalog"]["meters"][1]["actions"]
        ),
        (&json!(1), &json!(["llm.*"]))
    );

    let which = ["catalog", "which", "llm.output", "read"];
    let (status, out, _) = story.meterline(&which).await;
    assert_eq!(status, Some(1));
    assert_eq!(
        out,
        "llm.output  llm_tokens  by the prefix llm.*; billed at llm_tokens_monthly\n\
         read  refused: no entry covers it\n"
    );

    let (_, out, _) = story.meterline(&[&which[..], &["--json"]].concat()).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(
        lines[0]["by"],
        json!({ "rule": "prefix", "entry": "llm.*" })
    );
    assert_eq!(lines[1]["event_name"], json!(null));

    let subscribe = ["catalog", "subscribe"];
    let (status, out, _) = story
        .meterline(&[&subscribe[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(status, Some(0));
    assert!(out.contains("would be subscribed to llm_tokens"), "{out}");
    let (status, out, err) = story.meterline(&subscribe).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.ends_with("1 customers done, 0 failed\n"), "{out}");
    let stranger = ["--customer", "cus_stranger", "--json"];
    let (status, out, _) = story.meterline(&[&subscribe[..], &stranger].concat()).await;
    assert_eq!(status, Some(1));
    let failed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&failed["customer_id"], &failed["outcome"]),
        (&json!("cus_stranger"), &json!("failed"))
    );
}

#[tokio::test]
async fn a_catalog_goes_with_no_option_of_one_meter() {
    let story = Story::start().await;
    let path = story.write_catalog(&two_meters()).display().to_string();
    for other in [
        ["--product-name", "Pages"],
        ["--event-name", "pages"],
        ["--lookup-key", "pages"],
        ["--currency", "eur"],
        ["--unit-amount-decimal", "3"],
        ["--transform-quantity", "10:up"],
        ["--tiers-mode", "volume"],
        ["--tier", "inf:2"],
    ] {
        let arguments = [&["setup", "--catalog", &path], &other[..]].concat();
        let (status, _, err) = story.meterline(&arguments).await;
        assert_eq!(status, Some(2), "{other:?}");
        assert!(err.contains("cannot be used with"), "{err}");
    }
    let nowhere = ["setup", "--catalog", "nowhere.json"];
    let (status, _, err) = story.meterline(&nowhere).await;
    assert_eq!(status, Some(2));
    assert!(err.starts_with("meterline: nowhere.json: "), "{err}");
    assert_eq!(story.stored().await, None);
}
