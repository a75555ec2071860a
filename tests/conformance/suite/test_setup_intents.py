"""Setup intents: a payment method for later, without a payment now."""

import pytest
import stripe

from conftest import make_client, v1



@pytest.fixture
def payer(simulator):
    return stripe.Customer.create(email="ada@example.com")


def events_about(intent):
    found = stripe.Event.list(limit=100, types=[
        "setup_intent.created", "setup_intent.succeeded", "setup_intent.setup_failed",
        "setup_intent.requires_action", "setup_intent.canceled",
    ])  # fmt: skip
    return [event.type.removeprefix("setup_intent.") for event in found.data if event.data.object.id == intent.id]


def test_a_setup_begins_without_a_payment_method(payer):
    intent = stripe.SetupIntent.create(
        customer=payer.id, automatic_payment_methods={"enabled": True}, usage="off_session",
        description="Card for later", metadata={"a": "b"},
    )  # fmt: skip
    assert (intent.object, intent.status) == ("setup_intent", "requires_payment_method")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert (intent.customer, intent.payment_method, intent.usage) == (payer.id, None, "off_session")
    assert intent.metadata["a"] == "b"
    assert intent.automatic_payment_methods.allow_redirects == "always"
    assert stripe.SetupIntent.retrieve(intent.id, client_secret=intent.client_secret).id == intent.id
    assert events_about(intent) == ["created"]


def test_a_confirmed_setup_attaches_the_payment_method(payer):
    intent = stripe.SetupIntent.create(customer=payer.id, payment_method_types=["card"])
    assert intent.automatic_payment_methods is None
    chosen = stripe.SetupIntent.modify(intent.id, payment_method="pm_card_visa")
    assert chosen.status == "requires_confirmation"
    assert stripe.Customer.list_payment_methods(payer.id).data == []
    done = stripe.SetupIntent.confirm(intent.id, expand=["payment_method"])
    assert (done.status, done.next_action, done.last_setup_error) == ("succeeded", None, None)
    assert done.payment_method.customer == payer.id
    # It is attached, and nobody's default.
    assert stripe.Customer.retrieve(payer.id).invoice_settings.default_payment_method is None
    assert events_about(intent) == ["succeeded", "created"]


def test_a_setup_is_created_and_confirmed_in_one_call(payer):
    done = stripe.SetupIntent.create(
        customer=payer.id, payment_method="pm_card_visa", confirm=True, return_url="https://example.com/done"
    )
    assert done.status == "succeeded"
    assert [one.id for one in stripe.Customer.list_payment_methods(payer.id).data] == [done.payment_method]


def test_a_setup_without_a_customer_attaches_nothing(simulator):
    method = stripe.PaymentMethod.create(type="card", card={"token": "tok_visa"})
    done = stripe.SetupIntent.create(payment_method=method.id, confirm=True)
    assert done.status == "succeeded"
    assert stripe.PaymentMethod.retrieve(method.id).customer is None


def test_a_declined_card_leaves_the_setup_open_for_another(payer):
    intent = stripe.SetupIntent.create(customer=payer.id)
    with pytest.raises(stripe.CardError) as refused:
        stripe.SetupIntent.confirm(intent.id, payment_method="pm_card_chargeDeclined")
    body = refused.value.json_body["error"]
    assert (body["code"], body["decline_code"]) == ("card_declined", "generic_decline")
    assert body["setup_intent"]["id"] == intent.id
    failed = stripe.SetupIntent.retrieve(intent.id)
    assert (failed.status, failed.payment_method) == ("requires_payment_method", None)
    assert failed.last_setup_error.code == "card_declined"
    assert failed.last_setup_error.payment_method.card.last4 == "0002"
    assert stripe.SetupIntent.confirm(intent.id, payment_method="pm_card_visa").status == "succeeded"
    assert events_about(intent) == ["succeeded", "setup_failed", "created"]


@pytest.mark.parametrize("return_url, action", [(None, "use_stripe_sdk"), ("https://a.example", "redirect_to_url")])
def test_a_bank_may_ask_for_its_owner(simulator, payer, return_url, action):
    urls = {"return_url": return_url} if return_url else {}
    waits = stripe.SetupIntent.create(
        customer=payer.id, payment_method="pm_card_authenticationRequiredOnSetup", confirm=True, **urls
    )
    assert (waits.status, waits.next_action.type) == ("requires_action", action)
    assert stripe.Customer.list_payment_methods(payer.id).data == []
    done = simulator.control("POST", f"setup_intents/{waits.id}/authenticate")
    assert done["status"] == "succeeded"
    assert len(stripe.Customer.list_payment_methods(payer.id).data) == 1
    assert events_about(waits) == ["succeeded", "requires_action", "created"]


def test_a_bank_that_is_not_answered_declines(simulator, payer):
    waits = stripe.SetupIntent.create(
        customer=payer.id, payment_method="pm_card_authenticationRequiredOnSetup", confirm=True
    )
    with pytest.raises(OSError):
        simulator.control("POST", f"setup_intents/{waits.id}/authenticate", {"refused": True})
    failed = stripe.SetupIntent.retrieve(waits.id)
    assert (failed.status, failed.next_action) == ("requires_payment_method", None)


def test_a_setup_is_canceled(payer):
    intent = stripe.SetupIntent.create(customer=payer.id)
    gone = stripe.SetupIntent.cancel(intent.id, cancellation_reason="abandoned")
    assert (gone.status, gone.cancellation_reason) == ("canceled", "abandoned")
    assert events_about(intent) == ["canceled", "created"]


def test_setups_are_listed(simulator, payer):
    services = v1(make_client(simulator))
    made = [services.setup_intents.create({"customer": payer.id}).id for _ in range(3)]
    done = services.setup_intents.confirm(made[0], {"payment_method": "pm_card_visa"})
    listed = stripe.SetupIntent.list(customer=payer.id, limit=2)
    assert [one.id for one in listed.data] == [made[2], made[1]] and listed.has_more
    assert [one.id for one in listed.auto_paging_iter()] == made[::-1]
    by_method = stripe.SetupIntent.list(payment_method=done.payment_method)
    assert [one.id for one in by_method.data] == [made[0]]


def test_a_subscription_of_usage_can_wait_for_a_payment_method(subscribed):
    """Nothing is due at first, so it is no payment that asks for the card."""
    story = subscribed(card=None, payment_behavior="default_incomplete",
                       payment_settings={"save_default_payment_method": "on_subscription"},
                       expand=["pending_setup_intent"])  # fmt: skip
    intent = story.subscription.pending_setup_intent
    assert (story.subscription.status, intent.status) == ("active", "requires_payment_method")
    done = stripe.SetupIntent.confirm(intent.id, payment_method="pm_card_visa")
    paid = stripe.Subscription.retrieve(story.subscription.id)
    assert paid.pending_setup_intent is None
    assert paid.default_payment_method == done.payment_method
