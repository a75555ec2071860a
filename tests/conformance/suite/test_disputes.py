"""A cardholder has a payment taken back."""

import json

import pytest
import stripe

from conftest import FIELDS, HOUR, make_client, v1


@pytest.fixture
def disputed(subscribed):
    """Makes a customer whose first invoice is paid with a card, and disputed."""

    def make(card="pm_card_createDispute"):
        story = subscribed(card)
        story.use(100)
        story.advance(story.period_end() + 2 * HOUR)
        (charge,) = stripe.Charge.list(customer=story.customer.id).data
        (dispute,) = stripe.Dispute.list(charge=charge.id, expand=["data.charge"]).data
        assert dispute.charge.id == charge.id and charge.disputed
        return dispute

    return make


def told_of(dispute):
    found = stripe.Event.list(limit=100, type="charge.dispute.*").data
    return [
        event.type.removeprefix("charge.dispute.")
        for event in reversed(found)
        if event.data.object.id == dispute.id
    ]


def test_a_charge_is_disputed(disputed):
    dispute = disputed()
    assert (dispute.object, dispute.status, dispute.reason) == ("dispute", "needs_response", "fraudulent")
    assert (dispute.amount, dispute.currency) == (dispute.charge.amount, "usd")
    assert dispute.payment_intent == dispute.charge.payment_intent
    assert (dispute.evidence_details.has_evidence, dispute.is_charge_refundable) == (False, False)
    assert dispute.evidence_details.due_by > dispute.created
    assert dispute.payment_method_details.card.network_reason_code == "10.4"
    (withdrawn,) = dispute.balance_transactions
    assert (withdrawn.amount, withdrawn.type) == (-dispute.amount, "adjustment")
    assert stripe.BalanceTransaction.retrieve(withdrawn.id).source == dispute.id
    assert told_of(dispute) == ["created", "funds_withdrawn"]


@pytest.mark.parametrize(
    ("card", "reason", "status", "case"),
    [
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response", "chargeback"),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response", "inquiry"),
    ],
)
def test_other_cards_are_disputed_otherwise(disputed, card, reason, status, case):
    dispute = disputed(card)
    assert (dispute.reason, dispute.status) == (reason, status)
    assert dispute.payment_method_details.card.case_type == case
    assert told_of(dispute)[0] == "created"


def test_a_token_makes_the_same_card(simulator):
    method = stripe.PaymentMethod.create(type="card", card={"token": "tok_createDispute"})
    assert method.card.last4 == "0259"


@pytest.mark.parametrize(
    ("words", "status", "events"),
    [
        ("winning_evidence", "won", ["funds_reinstated", "closed"]),
        ("losing_evidence", "lost", ["closed"]),
    ],
)
def test_evidence_decides(disputed, simulator, words, status, events):
    dispute = disputed()
    answered = stripe.Dispute.modify(dispute.id, evidence={"uncategorized_text": words})
    assert (answered.status, answered.evidence.uncategorized_text) == ("under_review", words)
    assert (answered.evidence_details.has_evidence, answered.evidence_details.submission_count) == (True, 1)
    simulator.settle()
    assert stripe.Dispute.retrieve(dispute.id).status == status
    assert told_of(dispute)[2:] == ["updated", *events]


@pytest.mark.parametrize(
    ("words", "status", "events"),
    [
        ("escalate_inquiry_evidence", "needs_response", ["updated", "updated", "funds_withdrawn"]),
        ("winning_evidence", "warning_closed", ["updated", "closed"]),
    ],
)
def test_an_inquiry_is_escalated_or_closed(disputed, simulator, words, status, events):
    dispute = disputed("pm_card_createDisputeInquiry")
    answered = stripe.Dispute.modify(dispute.id, evidence={"uncategorized_text": words})
    assert answered.status == "warning_under_review"
    simulator.settle()
    assert stripe.Dispute.retrieve(dispute.id).status == status
    assert told_of(dispute)[1:] == events


def test_evidence_is_kept_until_it_is_submitted(disputed):
    dispute = disputed()
    evidence = {"product_description": "Tokens", "customer_name": "Ada"}
    kept = stripe.Dispute.modify(dispute.id, evidence=evidence, submit=False, metadata={"case": "7"})
    assert (kept.status, kept.evidence_details.submission_count) == ("needs_response", 0)
    assert (kept.evidence_details.has_evidence, kept.metadata["case"]) == (True, "7")
    submitted = stripe.Dispute.modify(dispute.id, submit=True)
    assert (submitted.status, submitted.evidence.customer_name) == ("under_review", "Ada")


def test_a_closed_dispute_is_lost(disputed):
    dispute = disputed()
    assert stripe.Dispute.close(dispute.id).status == "lost"
    assert told_of(dispute)[2:] == ["closed"]


@pytest.mark.newest
def test_who_submits_can_be_said(disputed):
    dispute = stripe.Dispute.modify(disputed().id, intended_submission_method="manual")
    assert dispute.intended_submission_method == "manual"
    assert dispute.evidence_details.submission_method == "not_submitted"


def test_the_client_style_makes_the_same(disputed, simulator):
    dispute = disputed()
    disputes = v1(make_client(simulator)).disputes
    assert disputes.retrieve(dispute.id).id == dispute.id
    by_intent = {"payment_intent": dispute.payment_intent}
    assert [one.id for one in disputes.list(by_intent).data] == [dispute.id]
    assert disputes.update(dispute.id, {"metadata": {"case": "8"}}).metadata["case"] == "8"
    assert disputes.close(dispute.id).status == "lost"


def test_a_dispute_is_delivered(disputed, listener, simulator):
    events = ["charge.succeeded", "charge.dispute.created", "charge.dispute.funds_withdrawn"]
    endpoint = stripe.WebhookEndpoint.create(
        url=listener.url, enabled_events=events, api_version=stripe.api_version
    )
    dispute = disputed()
    simulator.settle()
    delivered = {}
    for delivery in listener.deliveries:
        event = stripe.Webhook.construct_event(delivery.body, delivery.signature, endpoint.secret)
        FIELDS.note(json.loads(delivery.body))
        delivered[event.type] = event.data.object
    stripe.WebhookEndpoint.delete(endpoint.id)
    assert sorted(delivered) == sorted(events)
    assert isinstance(delivered["charge.dispute.created"], stripe.Dispute)
    assert delivered["charge.dispute.created"].id == dispute.id
    # An event shows the moment: the charge was disputed after that.
    assert delivered["charge.succeeded"].disputed is False
