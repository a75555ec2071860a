//! Customers from before a meter, who get an item of it.

use billing::{Catalog, CustomerId};
use ledger::{CatalogStored, CustomerRow, CustomerStatus, Updated};
use meterline_cli::catalog::{SubscribeError, Subscribed};
use serde_json::json;
use stripe::{CreateSubscriptionItem, RequestOptions};

use crate::story::Story;
use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::catalog_file::two_meters;

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
    let active = CustomerRow {
        status: CustomerStatus::Active,
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
    assert!(
        refused.contains("\"nowhere\" does not exist in Stripe: run"),
        "{refused}"
    );
}

#[tokio::test]
async fn two_runs_at_once_add_one_item() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let (one, other) = tokio::join!(story.subscribe(), story.subscribe());
    for subscribed in [one.unwrap(), other.unwrap()] {
        assert!(
            matches!(
                subscribed,
                Subscribed::Added { .. } | Subscribed::RowChanged | Subscribed::UpToDate
            ),
            "{subscribed:?}"
        );
    }
    assert_eq!(story.items_in_stripe().await, 2);
    assert_eq!(story.customer().await.items().count(), 2);
}

#[tokio::test]
async fn an_item_that_was_just_taken_out_is_not_taken_to_be_there() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    story.subscribe().await.unwrap();
    story.unsubscribe_from_tokens().await;
    // Stripe replays its answer of before for a day.
    let replayed = story.subscribe().await.unwrap_err();
    assert!(
        matches!(replayed, SubscribeError::TakenOut(_)),
        "{replayed}"
    );
    assert!(story.customer().await.item_of_meter(TOKENS).is_none());
    assert_eq!(story.items_in_stripe().await, 1);
}
