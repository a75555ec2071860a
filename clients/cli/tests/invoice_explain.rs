//! `meterline invoice explain`: what the log has behind an invoice's lines.

use audit::explanation::DifferenceCause;
use audit::{ExplainError, Explainer, InvoiceExplanation};
use billing::{CustomerId, UsageStatus};
use serde_json::Value;
use stripe::{Invoice, UsageApi};

use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::clocked::{advance, onboard_on_a_clock};
use crate::story::{DAY_S, HOUR_S, Story};

impl Story {
    async fn newest_invoice(&self, customer_id: &CustomerId) -> Invoice {
        let stripe = self.system.stripe();
        let invoices = stripe.list_invoices(customer_id.as_str(), 1).await;
        invoices.unwrap().into_iter().next().unwrap()
    }

    async fn explain(&self) -> InvoiceExplanation {
        let invoice = self.newest_invoice(&self.customer_id).await;
        self.explain_of(&self.customer_id, &invoice.id)
            .await
            .unwrap()
    }

    async fn explain_of(
        &self,
        customer_id: &CustomerId,
        invoice_id: &str,
    ) -> Result<InvoiceExplanation, ExplainError> {
        let (ledger, stripe) = (self.system.ledger(), self.system.stripe());
        let customer = ledger.customer(customer_id).await.unwrap().unwrap();
        let explainer = Explainer::new(ledger.clone(), stripe.clone(), usize::MAX);
        explainer.explain(&customer, invoice_id).await
    }

    /// The period ends; its invoice is a draft for an hour.
    async fn end_period_with_a_draft(&self) {
        let left_s = self.customer().await.period_end.ms_since(self.now()) / 1_000;
        self.clock.advance_s(left_s + 60);
        self.settle().await;
    }
}

fn day_and_action_sums(explained: &InvoiceExplanation, at: usize) -> (u64, u64) {
    let log = &explained.usage[at].log;
    let days = log.by_day.iter().map(|day| day.units).sum();
    let actions = log.by_action_type.iter().map(|it| it.units).sum();
    (days, actions)
}

#[tokio::test]
async fn a_line_is_what_was_delivered_from_the_draft_to_the_payment() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.clock.advance_s(2 * DAY_S);
    story.emit("b", 5).await;
    story.emit("wrong", 7).await;
    story.void("wrong").await.unwrap();
    story.end_period_with_a_draft().await;
    story.pump().await;
    for status in ["draft", "paid"] {
        let explained = story.explain().await;
        assert_eq!(explained.status.as_deref(), Some(status));
        assert_eq!(explained.is_final, status == "paid");
        assert!(explained.agrees, "{explained:?}");
        let usage = &explained.usage[0];
        assert_eq!(usage.meter_event_name.as_deref(), Some(DOCUMENTS));
        assert_eq!((usage.stripe_units, usage.log_units), (8, 8));
        assert_eq!((usage.log.delivered_events, usage.log.voided_units), (2, 7));
        let days: Vec<u64> = usage.log.by_day.iter().map(|day| day.units).collect();
        assert_eq!(days, [3, 5]);
        assert_eq!(day_and_action_sums(&explained, 0), (8, 8));
        assert_eq!(usage.amount, "0.16");
        assert!(usage.carried_over.is_complete);
        assert_eq!((usage.carried_over.events, &usage.void_credit), (0, &None));
        for _ in 0..2 {
            story.clock.advance_s(2 * HOUR_S);
            story.settle().await;
        }
    }
    // The invoice at the subscription's start bills no usage.
    let stripe = story.system.stripe();
    let invoices = stripe.list_all_invoices(story.customer_id.as_str()).await;
    let first = invoices.unwrap().into_iter().last().unwrap();
    assert_eq!(first.billing_reason.as_deref(), Some("subscription_create"));
    let first = story
        .explain_of(&story.customer_id, &first.id)
        .await
        .unwrap();
    assert!(first.agrees && first.usage.is_empty(), "{first:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn the_lines_of_tiers_are_explained_together() {
    let mut story = Story::start().await;
    story.sell_in_tiers().await;
    let onboarded = story.caller.onboard("in tiers").await;
    story.customer_id = CustomerId::parse(&onboarded).unwrap();
    story.emit("kept", 10).await;
    story.emit("wrong", 5).await;
    story.end_period().await;
    story.pump().await;
    let explained = story.explain().await;
    let usage = &explained.usage[0];
    assert_eq!(explained.usage.len(), 1);
    // 10 at 2 cents, 5 at 1.5 cents, and a dollar once.
    let amounts: Vec<&str> = usage.lines.iter().map(|line| &*line.amount).collect();
    assert_eq!(amounts, ["0.20", "0.08", "1.00"], "{usage:?}");
    assert_eq!((usage.stripe_units, usage.log_units), (15, 15));
    assert_eq!((&*usage.amount, &*explained.total), ("1.28", "1.28"));

    // Voided too late, it stays on the lines, and there is a credit.
    story.void("wrong").await.unwrap();
    story.pump().await;
    let explained = story.explain().await;
    let usage = &explained.usage[0];
    assert!(explained.agrees, "{explained:?}");
    assert_eq!((usage.stripe_units, usage.log_units), (15, 15));
    assert_eq!(
        (usage.log.delivered_units, usage.log.credited_units),
        (10, 5)
    );
    assert_eq!(usage.log.voided_units, 0);
    let credit = usage.void_credit.as_ref().unwrap();
    assert_eq!((credit.units, &*credit.amount), (5, "1.08"));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn each_of_several_meters_is_explained_by_itself_also_by_usage_records() {
    for usage_api in [UsageApi::default(), UsageApi::UsageRecord] {
        let story = Story::of_two_meters(usage_api).await;
        story.emit("document", 5).await;
        story.emit_tokens("tokens", 700).await;
        story.end_period().await;
        story.pump().await;
        let explained = story.explain().await;
        assert!(explained.agrees, "{usage_api}: {explained:?}");
        let mut units: Vec<_> = explained
            .usage
            .iter()
            .map(|it| {
                (
                    it.meter_event_name.as_deref().unwrap_or(""),
                    it.stripe_units,
                )
            })
            .collect();
        units.sort_unstable();
        assert_eq!(units, [(DOCUMENTS, 5), (TOKENS, 700)], "{usage_api}");
        story.system.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_carried_into_a_period_is_told() {
    let story = Story::start().await;
    let customer = onboard_on_a_clock(&story).await;
    let id = &customer.customer_id;
    story.emit_for(id.as_str(), "in time", 3).await;
    advance(
        &story,
        &customer,
        customer.started_s + 31 * DAY_S + 3 * HOUR_S,
    )
    .await;
    advance(&story, &customer, customer.started_s + 32 * DAY_S).await;
    let late = serde_json::json!({
        "event_id": "late", "customer_id": id, "quantity": 5, "action_type": "document_processed",
        "occurred_at": customer.started_s + 29 * DAY_S,
    });
    let (status, answer) = story.caller.post("/v1/usage", late).await;
    assert_eq!(status, 200, "{answer}");
    story.emit_for(id.as_str(), "of the month", 2).await;
    advance(
        &story,
        &customer,
        customer.started_s + 62 * DAY_S + 3 * HOUR_S,
    )
    .await;
    advance(&story, &customer, customer.started_s + 63 * DAY_S).await;
    story.pump().await;
    let invoice = story.newest_invoice(id).await;
    let explained = story.explain_of(id, &invoice.id).await.unwrap();
    let usage = &explained.usage[0];
    assert!(explained.agrees, "{explained:?}");
    assert_eq!(usage.stripe_units, 7);
    assert_eq!(
        (usage.carried_over.units, usage.carried_over.events),
        (5, 1)
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_difference_is_named_and_the_program_says_what_reconciling_finds() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.emit("lost", 5).await;
    story.end_period().await;
    story.pump().await;
    let invoice = story.newest_invoice(&story.customer_id).await;
    let explain = ["invoice", "explain", &invoice.id];
    let (status, out, err) = story.meterline(&explain).await;
    assert_eq!(status, Some(0), "{out}{err}");
    for text in [
        "Stripe bills 8 units",
        "the log has  8 units",
        "both are equal",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }

    let (delivered, quarantined) = (UsageStatus::Delivered, UsageStatus::Quarantined);
    story.move_row("lost", delivered, quarantined).await;
    story.rest().await;
    let explained = story.explain().await;
    let difference = explained.usage[0].difference.as_ref().unwrap();
    assert_eq!(
        (difference.units, difference.cause),
        (5, DifferenceCause::Quarantined)
    );
    let (status, out, err) = story.meterline(&[&explain[..], &["--json"]].concat()).await;
    assert_eq!(status, Some(1), "{out}{err}");
    let explained: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explained["agrees"], false);
    let findings = explained["findings"].as_array().unwrap();
    let has = findings
        .iter()
        .find(|it| it["kind"] == "stripe_has")
        .unwrap();
    assert_eq!(has["events"][0]["event_id"], "lost");
    let (_, out, _) = story.meterline(&explain).await;
    assert!(out.contains("DIFFERS by 5"), "{out}");
    assert!(out.contains("\"lost\""), "{out}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn an_invoice_of_somebody_else_is_none() {
    let story = Story::start().await;
    let other = story.caller.onboard("other").await;
    let other = CustomerId::parse(&other).unwrap();
    let theirs = story.newest_invoice(&other).await.id;
    for invoice_id in [&*theirs, "in_nothing", "", "in_../x", "in_1?expand=a"] {
        let refused = story.explain_of(&story.customer_id, invoice_id).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ExplainError::NoSuchInvoice),
            "{invoice_id}"
        );
    }
    let (status, _, err) = story.meterline(&["invoice", "explain", "in_nothing"]).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("no invoice with this id"), "{err}");
    story.system.stop().await.unwrap();
}
