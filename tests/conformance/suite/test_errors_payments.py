"""Calls about payments and disputes that are refused."""

import pytest
import stripe

from conftest import make_payer
from refusals import Refusals, check

Invalid = stripe.InvalidRequestError
MISSING = "resource_missing"
REFUSALS = Refusals()


def missing():
    REFUSALS.add(lambda w: stripe.Charge.retrieve("ch_none"), Invalid, 404, MISSING, "id")
    REFUSALS.add(lambda w: stripe.PaymentIntent.retrieve("pi_none"), Invalid, 404, MISSING, "intent")
    REFUSALS.add(lambda w: stripe.BalanceTransaction.retrieve("txn_none"), Invalid, 404, MISSING, "id")
    REFUSALS.add(lambda w: stripe.Dispute.retrieve("du_none"), Invalid, 404, MISSING, "dispute")
    REFUSALS.add(lambda w: stripe.Dispute.modify("du_none", metadata={}), Invalid, 404, MISSING, "dispute")
    REFUSALS.add(lambda w: stripe.Dispute.close("du_none"), Invalid, 404, MISSING, "dispute")
    # An id of another kind is not found either.
    REFUSALS.add(lambda w: stripe.Charge.retrieve(w.customer.id), Invalid, 404, MISSING, "id")
    REFUSALS.add(
        lambda w: stripe.InvoicePayment.retrieve("inpay_none"), Invalid, 404, MISSING, "id", only="newest"
    )
    for call in [stripe.Charge.list, stripe.PaymentIntent.list, stripe.Dispute.list]:
        REFUSALS.add(lambda w, call=call: call(starting_after="none"), Invalid, 400, MISSING, "starting_after")
    REFUSALS.add(
        lambda w: stripe.SubscriptionItem.list_usage_record_summaries(w.legacy_item.id, starting_after="none"),
        Invalid, 400, MISSING, "starting_after", only="acacia",
    )  # fmt: skip


def parameters():
    def refused(code=None, param=None):
        return (Invalid, 400, code, param)

    for call in [
        stripe.Charge.list,
        stripe.PaymentIntent.list,
        stripe.Dispute.list,
        stripe.BalanceTransaction.list,
    ]:
        REFUSALS.add(lambda w, call=call: call(colour="red"), *refused("parameter_unknown", "colour"))
        REFUSALS.add(
            lambda w, call=call: call(limit=101), *refused("parameter_invalid_integer", "limit")
        )
    REFUSALS.add(
        lambda w: stripe.PaymentIntent.retrieve(an_intent(w), client_secret="x"), *refused(None, "client_secret")
    )
    REFUSALS.add(
        lambda w: stripe.InvoicePayment.list(status="late"), *refused(None, "status"), only="newest"
    )
    REFUSALS.add(
        lambda w: stripe.InvoicePayment.list(payment={"payment_intent": "pi_none"}),
        *refused("parameter_missing", "payment[type]"),
        only="newest",
    )


def disputes():
    def refused(code=None, param=None):
        return (Invalid, 400, code, param)

    REFUSALS.add(
        lambda w: stripe.Dispute.modify(a_dispute(w), evidence={"receipt": "file_none"}),
        *refused(MISSING, "evidence[receipt]"),
    )
    REFUSALS.add(
        lambda w: stripe.Dispute.modify(a_dispute(w), evidence={"colour": "red"}),
        *refused("parameter_unknown", "evidence[colour]"),
    )
    REFUSALS.add(lambda w: stripe.Dispute.modify(a_dispute(w), evidence="red"), *refused(None, "evidence"))
    REFUSALS.add(lambda w: stripe.Dispute.modify(a_dispute(w), submit="perhaps"), *refused(None, "submit"))
    REFUSALS.add(
        lambda w: stripe.Dispute.modify(a_dispute(w), evidence={"uncategorized_text": "x" * 150_001}),
        *refused(None, "evidence"),
    )
    REFUSALS.add(
        lambda w: stripe.Dispute.modify(a_dispute(w), intended_submission_method="post"),
        *refused(None, "intended_submission_method"),
    )
    REFUSALS.add(lambda w: stripe.Dispute.close(a_closed_dispute(w)), *refused())
    REFUSALS.add(lambda w: stripe.Dispute.modify(a_closed_dispute(w), metadata={"a": "b"}), *refused())


def payments():
    card = (stripe.CardError, 402)
    REFUSALS.add(
        lambda w: stripe.Invoice.pay(an_open_invoice(w, "pm_card_authenticationRequired")),
        *card,
        "invoice_payment_intent_requires_action",
    )
    REFUSALS.add(
        lambda w: stripe.Invoice.pay(an_open_invoice(w, "pm_card_chargeCustomerFail")), *card, "card_declined"
    )
    REFUSALS.add(
        lambda w: subscribe(w, "pm_card_authenticationRequired", "error_if_incomplete"),
        *card,
        "subscription_payment_intent_requires_action",
    )
    # Before basil there were none, and what an invoice was paid by was in it.
    REFUSALS.add(
        lambda w: stripe.Invoice.retrieve(w.paid, expand=["payments"]), Invalid, 400, None, "expand", only="acacia"
    )
    REFUSALS.add(
        lambda w: stripe.Invoice.retrieve(w.paid, expand=["charge"]), Invalid, 400, None, "expand", only="newest"
    )


def subscribe(world, card, behavior):
    return stripe.Subscription.create(
        customer=make_payer(card).id, items=[{"price": world.seat.id}], payment_behavior=behavior
    )


def an_open_invoice(world, card):
    return subscribe(world, card, "default_incomplete").latest_invoice


def an_intent(world):
    customer = make_payer().id
    stripe.Subscription.create(customer=customer, items=[{"price": world.seat.id}])
    return stripe.PaymentIntent.list(customer=customer).data[0].id


def a_dispute(world):
    subscription = subscribe(world, "pm_card_createDispute", "allow_incomplete")
    (charge,) = stripe.Charge.list(customer=subscription.customer).data
    (dispute,) = stripe.Dispute.list(charge=charge.id).data
    return dispute.id


def a_closed_dispute(world):
    return stripe.Dispute.close(a_dispute(world)).id


missing()
parameters()
disputes()
payments()


@REFUSALS.test()
def test_a_call_is_refused(world, call, raises, status, code, param):
    check(world, call, raises, status, code, param)


def test_nobody_authenticates_what_waits_for_nobody(world, simulator):
    intent = an_intent(world)
    with pytest.raises(OSError, match="400"):
        simulator.control("POST", f"payment_intents/{intent}/authenticate", {})
