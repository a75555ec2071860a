//! A cardholder has a payment taken back, and what becomes of that.

use serde_json::{Value, json};

use crate::support::{Stripe, Subscriber, id};
use crate::webhooks::Endpoint;

const DISPUTES: [&str; 1] = ["charge.dispute"];

/// A dispute of an invoice that was paid with the card.
async fn disputed(stripe: &Stripe, card: &str) -> (Subscriber, Value) {
    let ada = Subscriber::billed(stripe, card).await;
    assert_eq!(ada.invoice(stripe).await["status"], "paid");
    let disputes = stripe.get("/v1/disputes?expand[]=data.charge").await;
    let [dispute] = &disputes["data"].as_array().unwrap()[..] else {
        panic!("not one dispute: {disputes}");
    };
    (ada, dispute.clone())
}

fn path_of(dispute: &Value) -> String {
    format!("/v1/disputes/{}", id(dispute))
}

/// Answers with evidence.
async fn answer(stripe: &Stripe, dispute: &Value, words: &str) -> Value {
    let form = [("evidence[uncategorized_text]", words)];
    stripe.post(&path_of(dispute), &form).await.ok()
}

#[tokio::test]
async fn a_payment_is_disputed_and_the_money_gone() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    stripe.webhook_endpoint(&url).await;
    let (ada, dispute) = disputed(&stripe, "pm_card_createDispute").await;
    assert_eq!(dispute["status"], "needs_response");
    assert_eq!(dispute["reason"], "fraudulent");
    assert_eq!(
        (&dispute["amount"], &dispute["currency"]),
        (&json!(100), &json!("usd"))
    );
    assert_eq!(dispute["charge"]["customer"], ada.customer.as_str());
    assert_eq!(dispute["charge"]["disputed"], true);
    assert_eq!(dispute["is_charge_refundable"], false);
    let withdrawal = &dispute["balance_transactions"][0];
    assert_eq!(
        (&withdrawal["amount"], &withdrawal["fee"]),
        (&json!(-100), &json!(1500))
    );
    assert_eq!(withdrawal["net"], -1600);
    let path = format!("/v1/balance_transactions/{}", id(withdrawal));
    assert_eq!(stripe.get(&path).await["reporting_category"], "dispute");
    let told = stripe
        .told_of(&["charge", "payment_intent", "invoice"])
        .await;
    let charged = told.iter().position(|event| event == "charge.succeeded");
    assert_eq!(
        told[charged.unwrap()..][..6],
        [
            "charge.succeeded",
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "payment_intent.succeeded",
            "invoice.updated",
            "invoice.paid",
        ]
    );
    assert!(
        endpoint
            .types()
            .contains(&"charge.dispute.created".to_owned())
    );
}

#[tokio::test]
async fn an_inquiry_takes_nothing_back_until_it_is_escalated() {
    let stripe = Stripe::start().await;
    let (_, dispute) = disputed(&stripe, "pm_card_createDisputeInquiry").await;
    assert_eq!(dispute["status"], "warning_needs_response");
    assert_eq!(dispute["balance_transactions"], json!([]));
    assert_eq!(dispute["is_charge_refundable"], true);
    let waiting = answer(&stripe, &dispute, "escalate_inquiry_evidence").await;
    assert_eq!(waiting["status"], "warning_under_review");
    stripe.settle().await;
    let escalated = stripe.get(&path_of(&dispute)).await;
    assert_eq!(escalated["status"], "needs_response");
    assert_eq!(
        escalated["payment_method_details"]["card"]["case_type"],
        "chargeback"
    );
    assert_eq!(escalated["balance_transactions"][0]["amount"], -100);
    assert_eq!(
        stripe.told_of(&DISPUTES).await,
        [
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.updated",
            "charge.dispute.funds_withdrawn",
        ]
    );
}

#[tokio::test]
async fn the_bank_decides_by_the_evidence() {
    for (words, status, told, returned) in [
        (
            "winning_evidence",
            "won",
            &["charge.dispute.funds_reinstated", "charge.dispute.closed"][..],
            100,
        ),
        ("losing_evidence", "lost", &["charge.dispute.closed"][..], 0),
    ] {
        let stripe = Stripe::start().await;
        let (_, dispute) = disputed(&stripe, "pm_card_createDisputeProductNotReceived").await;
        assert_eq!(dispute["reason"], "product_not_received");
        let waiting = answer(&stripe, &dispute, words).await;
        assert_eq!(waiting["status"], "under_review");
        assert_eq!(waiting["evidence_details"]["submission_count"], 1);
        stripe.settle().await;
        let decided = stripe.get(&path_of(&dispute)).await;
        assert_eq!(decided["status"], status);
        let transactions = decided["balance_transactions"].as_array().unwrap();
        let amounts = transactions
            .iter()
            .map(|one| one["amount"].as_i64().unwrap());
        assert_eq!(amounts.sum::<i64>(), returned - 100);
        let events = stripe.told_of(&DISPUTES).await;
        assert_eq!(events[events.len() - told.len()..], *told);
        let refused = stripe.post(&path_of(&dispute), &[]).await.refused(400);
        assert_eq!(refused["message"], "This dispute is already closed");
    }
}

#[tokio::test]
async fn evidence_can_be_kept_before_it_is_submitted() {
    let stripe = Stripe::start().await;
    let (_, dispute) = disputed(&stripe, "pm_card_createDispute").await;
    let form = [
        ("evidence[product_description]", "Documents"),
        ("submit", "false"),
    ];
    let kept = stripe.post(&path_of(&dispute), &form).await.ok();
    assert_eq!(kept["status"], "needs_response");
    assert_eq!(kept["evidence_details"]["has_evidence"], true);
    assert_eq!(kept["evidence_details"]["submission_count"], 0);
    let noted = [("metadata[case]", "7")];
    let noted = stripe.post(&path_of(&dispute), &noted).await.ok();
    assert_eq!(noted["status"], "needs_response");
    let form = [("submit", "true")];
    let submitted = stripe.post(&path_of(&dispute), &form).await.ok();
    assert_eq!(submitted["status"], "under_review");
    assert_eq!(submitted["evidence"]["product_description"], "Documents");
    assert_eq!(submitted["metadata"]["case"], "7");
}

#[tokio::test]
async fn a_dispute_is_given_up_once() {
    let stripe = Stripe::start().await;
    let (ada, dispute) = disputed(&stripe, "pm_card_createDispute").await;
    let path = format!("{}/close", path_of(&dispute));
    assert_eq!(stripe.post(&path, &[]).await.ok()["status"], "lost");
    let told = stripe.told_of(&DISPUTES).await;
    assert_eq!(told.last().unwrap(), "charge.dispute.closed");
    stripe.post(&path, &[]).await.refused(400);

    // All of it goes with the clock.
    let path = format!("/v1/test_helpers/test_clocks/{}", ada.test_clock);
    stripe.delete(&path).await;
    for list in [
        "disputes",
        "charges",
        "payment_intents",
        "balance_transactions",
    ] {
        assert_eq!(
            stripe.get(&format!("/v1/{list}")).await["data"],
            json!([]),
            "{list}"
        );
    }
}
