"""What an invoice is paid by: payment intents, charges, invoice payments, and customers who must authenticate."""

import pytest
import stripe

from conftest import DAY, HOUR, IS_ACACIA, make_client, make_payer, v1


TYPES = [
    "charge.failed", "charge.succeeded",
    "payment_intent.canceled", "payment_intent.created", "payment_intent.payment_failed",
    "payment_intent.requires_action", "payment_intent.succeeded",
    "invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_action_required",
    "invoice.payment_failed", "invoice.payment_succeeded", "invoice.updated",
]  # fmt: skip


def billed(story):
    """The invoice of the first period, after it was to be paid."""
    story.use(100)
    story.advance(story.period_end() + 2 * HOUR)
    (invoice,) = [one for one in stripe.Invoice.list(subscription=story.subscription.id).data if one.total]
    return invoice


def intent_of(invoice):
    """Since basil an invoice has its payments, which are shown where they are expanded."""
    if IS_ACACIA:
        return stripe.Invoice.retrieve(invoice.id, expand=["payment_intent"]).payment_intent
    expanded = stripe.Invoice.retrieve(invoice.id, expand=["payments.data.payment.payment_intent"])
    (payment,) = expanded.payments.data
    return payment.payment.payment_intent


def told_of(invoice, intent):
    """The events about an invoice and its payment, oldest first."""
    ids = {invoice.id, intent.id} | {charge.id for charge in stripe.Charge.list(payment_intent=intent.id).data}
    found = stripe.Event.list(limit=100, types=TYPES).data
    return [event.type for event in reversed(found) if event.data.object.id in ids]


def authenticate(simulator, intent, **body):
    return simulator.control("POST", f"payment_intents/{intent.id}/authenticate", body)


def test_a_paid_invoice_has_a_payment_intent_and_a_charge(subscribed):
    story = subscribed()
    invoice = billed(story)
    intent = intent_of(invoice)
    assert (intent.object, intent.status, intent.amount_received) == ("payment_intent", "succeeded", 500)
    assert (intent.customer, intent.currency) == (story.customer.id, "usd")
    charge = stripe.Charge.retrieve(intent.latest_charge, expand=["balance_transaction", "customer"])
    assert (charge.object, charge.status, charge.paid, charge.captured) == ("charge", "succeeded", True, True)
    assert (charge.amount, charge.payment_intent) == (500, intent.id)
    assert charge.payment_method_details.card.last4 == "4242"
    assert charge.customer.id == story.customer.id
    moved = charge.balance_transaction
    assert (moved.type, moved.amount, moved.net, moved.source) == ("charge", 500, 500, charge.id)
    assert told_of(invoice, intent) == [
        "invoice.created", "payment_intent.created", "invoice.finalized",
        "charge.succeeded", "payment_intent.succeeded",
        "invoice.updated", "invoice.paid", "invoice.payment_succeeded",
    ]  # fmt: skip


@pytest.mark.acacia
def test_until_acacia_each_names_the_other(subscribed):
    story = subscribed()
    invoice = billed(story)
    intent = stripe.PaymentIntent.retrieve(invoice.payment_intent, expand=["latest_charge"])
    assert intent.invoice == invoice.id
    assert (intent.latest_charge.id, intent.latest_charge.invoice) == (invoice.charge, invoice.id)


@pytest.mark.newest
def test_since_basil_invoice_payments_tie_them(subscribed, client):
    story = subscribed()
    invoice = billed(story)
    assert "payment_intent" not in invoice and "charge" not in invoice
    (payment,) = stripe.InvoicePayment.list(invoice=invoice.id, status="paid").data
    assert (payment.object, payment.invoice, payment.is_default) == ("invoice_payment", invoice.id, True)
    assert (payment.amount_paid, payment.amount_requested) == (500, 500)
    intent = payment.payment.payment_intent
    assert "invoice" not in stripe.PaymentIntent.retrieve(intent)
    by_intent = {"type": "payment_intent", "payment_intent": intent}
    assert [one.id for one in stripe.InvoicePayment.list(payment=by_intent).data] == [payment.id]
    assert v1(client).invoice_payments.retrieve(payment.id).status_transitions.paid_at


@pytest.mark.newest
def test_the_first_payment_has_its_secret(world):
    subscription = stripe.Subscription.create(
        customer=make_payer().id, items=[{"price": world.seat.id}], payment_behavior="default_incomplete",
        expand=["latest_invoice.confirmation_secret"],
    )  # fmt: skip
    secret = subscription.latest_invoice.confirmation_secret
    assert secret.type == "payment_intent"
    intent = intent_of(subscription.latest_invoice)
    assert (intent.client_secret, intent.status) == (secret.client_secret, "requires_confirmation")
    assert stripe.PaymentIntent.retrieve(intent.id, client_secret=secret.client_secret).id == intent.id


def test_a_declined_charge_is_kept(subscribed):
    story = subscribed("pm_card_chargeCustomerFail")
    invoice = billed(story)
    intent = intent_of(invoice)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    error = intent.last_payment_error
    assert (error.code, error.decline_code, error.type) == ("card_declined", "generic_decline", "card_error")
    (charge,) = stripe.Charge.list(payment_intent=intent.id).data
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", "card_declined", False)
    assert (charge.outcome.type, error.charge) == ("issuer_declined", charge.id)
    assert told_of(invoice, intent)[-4:] == [
        "charge.failed", "payment_intent.payment_failed", "invoice.updated", "invoice.payment_failed",
    ]  # fmt: skip
    with pytest.raises(stripe.CardError) as refused:
        stripe.Invoice.pay(invoice.id)
    (again, _) = stripe.Charge.list(customer=story.customer.id).data
    assert refused.value.error.charge == again.id
    assert refused.value.error.payment_intent.id == intent.id


def test_a_payment_may_need_the_customer(subscribed, simulator):
    story = subscribed("pm_card_authenticationRequired")
    invoice = billed(story)
    intent = intent_of(invoice)
    assert (invoice.status, intent.status) == ("open", "requires_action")
    assert (intent.next_action.type, intent.latest_charge) == ("use_stripe_sdk", None)
    assert stripe.Subscription.retrieve(story.subscription.id).status == "past_due"
    assert told_of(invoice, intent)[-4:] == [
        "payment_intent.requires_action", "invoice.updated",
        "invoice.payment_action_required", "invoice.payment_failed",
    ]  # fmt: skip
    authenticate(simulator, intent)
    assert stripe.Invoice.retrieve(invoice.id).status == "paid"
    assert stripe.PaymentIntent.retrieve(intent.id).status == "succeeded"
    assert stripe.Subscription.retrieve(story.subscription.id).status == "active"


def test_a_customer_may_fail_to_authenticate(subscribed, simulator):
    story = subscribed("pm_card_authenticationRequired")
    invoice = billed(story)
    intent = intent_of(invoice)
    authenticate(simulator, intent, refused=True)
    failed = stripe.PaymentIntent.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    assert told_of(invoice, intent)[-2:] == ["payment_intent.payment_failed", "invoice.payment_failed"]


def test_a_first_payment_may_need_the_customer(world, simulator):
    customer = make_payer("pm_card_authenticationRequiredOnSetup")
    subscription = stripe.Subscription.create(
        customer=customer.id, items=[{"price": world.seat.id}], expand=["latest_invoice"]
    )
    assert subscription.status == "incomplete"
    intent = intent_of(subscription.latest_invoice)
    assert (intent.status, intent.setup_future_usage) == ("requires_action", "off_session")
    authenticate(simulator, intent)
    assert stripe.Subscription.retrieve(subscription.id).status == "active"


def test_the_funds_may_be_missing_after_all(world, simulator):
    subscription = stripe.Subscription.create(
        customer=make_payer("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds").id,
        items=[{"price": world.seat.id}], expand=["latest_invoice"],
    )  # fmt: skip
    intent = intent_of(subscription.latest_invoice)
    authenticate(simulator, intent)
    error = stripe.PaymentIntent.retrieve(intent.id).last_payment_error
    assert (error.code, error.decline_code) == ("card_declined", "insufficient_funds")
    assert stripe.Subscription.retrieve(subscription.id).status == "incomplete"


@pytest.mark.parametrize(
    ("card", "when_away", "when_there"),
    [
        ("pm_card_authenticationRequired", "open", "open"),
        ("pm_card_authenticationRequiredOnSetup", "open", "open"),
        ("pm_card_authenticationRequiredSetupForOffSession", "paid", "open"),
        ("pm_card_visa", "paid", "paid"),
    ],
)
def test_who_has_to_authenticate(world, card, when_away, when_there):
    for off_session, expected in [(True, when_away), (False, when_there)]:
        subscription = stripe.Subscription.create(
            customer=make_payer(card).id, items=[{"price": world.seat.id}], payment_behavior="default_incomplete"
        )
        try:
            stripe.Invoice.pay(subscription.latest_invoice, off_session=off_session)
        except stripe.CardError as error:
            assert error.code == "invoice_payment_intent_requires_action"
        assert stripe.Invoice.retrieve(subscription.latest_invoice).status == expected


def test_a_card_that_was_set_up_pays_alone(world, simulator):
    customer = make_payer(None)
    setup = stripe.SetupIntent.create(
        customer=customer.id, payment_method="pm_card_authenticationRequiredOnSetup", confirm=True,
        payment_method_types=["card"],
    )  # fmt: skip
    simulator.control("POST", f"setup_intents/{setup.id}/authenticate", {})
    subscription = stripe.Subscription.create(
        customer=customer.id, items=[{"price": world.seat.id}], default_payment_method=setup.payment_method
    )
    assert subscription.status == "active"


@pytest.mark.parametrize("ends", ["void", "paid_out_of_band"])
def test_an_invoice_out_of_the_way_cancels_its_intent(subscribed, ends):
    invoice = billed(subscribed("pm_card_chargeCustomerFail"))
    if ends == "void":
        stripe.Invoice.void_invoice(invoice.id)
    else:
        stripe.Invoice.pay(invoice.id, paid_out_of_band=True)
    intent = intent_of(invoice)
    assert intent.status == "canceled" and intent.canceled_at
    assert intent.cancellation_reason == ("void_invoice" if ends == "void" else "automatic")


def test_the_client_style_makes_the_same(subscribed, simulator):
    story = subscribed()
    intent = intent_of(billed(story))
    services = v1(make_client(simulator))
    assert services.payment_intents.retrieve(intent.id).status == "succeeded"
    assert services.payment_intents.list({"customer": story.customer.id}).data[0].id == intent.id
    (charge,) = services.charges.list({"customer": story.customer.id, "limit": 1}).data
    assert services.charges.retrieve(charge.id).payment_intent == intent.id
    (moved,) = services.balance_transactions.list({"source": charge.id, "type": "charge"}).data
    assert services.balance_transactions.retrieve(moved.id).id == charge.balance_transaction
    assert moved.available_on <= moved.created + 2 * DAY
