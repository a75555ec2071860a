"""Checkout sessions and the billing portal: pages of Stripe's, on which a person does the rest."""

import time
import urllib.error

import pytest
import stripe

from conftest import DAY, HOUR, IS_ACACIA, make_client, make_meter, make_metered_price, v1

SUCCESS = "https://example.com/done?session={CHECKOUT_SESSION_ID}"


@pytest.fixture
def payer(simulator):
    return stripe.Customer.create(email="ada@example.com", name="Ada")


@pytest.fixture
def seat(simulator):
    return stripe.Price.create(
        currency="usd", unit_amount=1000, recurring={"interval": "month"}, product_data={"name": "Seat"}
    )


def open_setup(**params):
    params = {"currency": "usd", "success_url": SUCCESS, **params}
    return stripe.checkout.Session.create(mode="setup", **params)


def open_subscription(price, quantity=None, **params):
    item = {"price": price.id} | ({"quantity": quantity} if quantity else {})
    return stripe.checkout.Session.create(
        mode="subscription", line_items=[item], success_url=SUCCESS, **params
    )


def fill_in(simulator, session, **entry):
    """A person completes the page."""
    return simulator.control("POST", f"checkout_sessions/{session.id}/complete", entry)


WATCHED = [
    "checkout.session.completed", "checkout.session.expired", "customer.subscription.created",
    "customer.subscription.updated", "invoice.created", "invoice.finalized", "invoice.paid",
    "payment_method.attached", "setup_intent.created", "setup_intent.succeeded",
]  # fmt: skip


def events_about(*objects):
    """The types of the events about these, oldest first."""
    ids = {one if isinstance(one, str) else one.id for one in objects}
    found = stripe.Event.list(limit=100, types=WATCHED)
    return [event.type for event in reversed(found.data) if event.data.object.id in ids]


def test_a_setup_session_leads_to_a_payment_method(simulator, payer):
    session = open_setup(
        customer=payer.id, cancel_url="https://example.com/back", client_reference_id="acme",
        metadata={"a": "b"}, setup_intent_data={"metadata": {"c": "d"}, "description": "Card"},
    )  # fmt: skip
    assert (session.object, session.mode, session.status) == ("checkout.session", "setup", "open")
    assert session.url.startswith("https://checkout.stripe.com/") and session.id.startswith("cs_test_")
    assert (session.payment_status, session.currency) == ("no_payment_required", "usd")
    assert (session.client_reference_id, session.metadata["a"]) == ("acme", "b")
    assert session.customer_details.email == "ada@example.com"
    intent = stripe.SetupIntent.retrieve(session.setup_intent)
    assert (intent.customer, intent.metadata["c"]) == (payer.id, "d")
    fill_in(simulator, session)
    done = stripe.checkout.Session.retrieve(session.id, expand=["setup_intent.payment_method"])
    assert (done.status, done.url) == ("complete", None)
    assert done.setup_intent.status == "succeeded"
    assert done.setup_intent.payment_method.customer == payer.id
    # To be charged, it has to be made the default: Checkout does not.
    assert stripe.Customer.retrieve(payer.id).invoice_settings.default_payment_method is None
    expected = ["setup_intent.created", "payment_method.attached", "setup_intent.succeeded",
                "checkout.session.completed"]  # fmt: skip
    assert events_about(session, intent, done.setup_intent.payment_method) == expected


def test_a_setup_session_may_make_the_customer(simulator):
    session = open_setup(customer_creation="always", customer_email="bob@example.com")
    assert session.customer is None
    fill_in(simulator, session, name="Bob")
    done = stripe.checkout.Session.retrieve(session.id, expand=["customer"])
    assert (done.customer.email, done.customer.name) == ("bob@example.com", "Bob")
    assert stripe.SetupIntent.retrieve(done.setup_intent).customer == done.customer.id


def test_a_declined_card_leaves_the_session_open(simulator, payer):
    session = open_setup(customer=payer.id)
    with pytest.raises(urllib.error.HTTPError) as refused:
        fill_in(simulator, session, payment_method="pm_card_chargeDeclined")
    assert refused.value.code == 402
    assert stripe.checkout.Session.retrieve(session.id).status == "open"
    failed = stripe.SetupIntent.retrieve(session.setup_intent)
    assert failed.last_setup_error.code == "card_declined"
    assert fill_in(simulator, session)["status"] == "complete"


def test_a_subscription_session_subscribes_and_pays(simulator, payer, seat):
    session = open_subscription(
        seat, 3, customer=payer.id, subscription_data={"metadata": {"plan": "seats"}}, expand=["line_items"]
    )
    assert (session.payment_status, session.amount_total, session.currency) == ("unpaid", 3000, "usd")
    (item,) = session.line_items.data
    assert (item.object, item.quantity, item.price.id, item.amount_total) == ("item", 3, seat.id, 3000)
    assert session.subscription is None and session.setup_intent is None
    fill_in(simulator, session)
    done = stripe.checkout.Session.retrieve(session.id, expand=["subscription", "invoice"])
    assert (done.status, done.payment_status) == ("complete", "paid")
    assert (done.invoice.status, done.invoice.amount_paid) == ("paid", 3000)
    subscription = done.subscription
    assert (subscription.status, subscription.metadata["plan"]) == ("active", "seats")
    assert subscription["items"]["data"][0].quantity == 3
    (method,) = stripe.Customer.list_payment_methods(payer.id).data
    assert subscription.default_payment_method == method.id
    expected = ["customer.subscription.created", "invoice.created", "invoice.finalized",
                "customer.subscription.updated", "invoice.paid", "checkout.session.completed"]  # fmt: skip
    assert sorted(events_about(session, subscription, done.invoice)) == sorted(expected)
    assert events_about(session, subscription)[0] == "customer.subscription.created"
    assert events_about(session, subscription)[-1] == "checkout.session.completed"
    listed = stripe.checkout.Session.list(subscription=subscription.id)
    assert [one.id for one in listed.data] == [session.id]


def test_a_subscription_session_makes_its_customer(simulator):
    price = make_metered_price(make_meter())
    session = open_subscription(price)
    assert (session.customer, session.customer_creation, session.amount_total) == (None, "always", 0)
    fill_in(simulator, session, email="bob@example.com", name="Bob", country="DE")
    done = stripe.checkout.Session.retrieve(session.id, expand=["customer", "subscription"])
    assert (done.customer.email, done.customer.address.country) == ("bob@example.com", "DE")
    assert (done.subscription.customer, done.subscription.status) == (done.customer.id, "active")
    # Usage is paid later.
    assert done.payment_status == "no_payment_required"
    assert (done.customer_details.email, done.customer_details.name) == ("bob@example.com", "Bob")


def test_a_failing_card_subscribes_nobody(simulator, payer, seat):
    session = open_subscription(seat, 1, customer=payer.id)
    with pytest.raises(urllib.error.HTTPError) as refused:
        fill_in(simulator, session, payment_method="pm_card_chargeCustomerFail")
    assert refused.value.code == 402
    assert stripe.Subscription.list(customer=payer.id, status="all").data == []
    assert stripe.checkout.Session.retrieve(session.id).status == "open"


def test_a_trial_can_begin_without_a_card(simulator, payer, seat):
    session = open_subscription(
        seat, 1, customer=payer.id, payment_method_collection="if_required",
        subscription_data={
            "trial_period_days": 14, "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}}
        },
    )  # fmt: skip
    assert session.amount_total == 0
    fill_in(simulator, session, payment_method=None)
    done = stripe.checkout.Session.retrieve(session.id, expand=["subscription"])
    assert done.subscription.status == "trialing"
    assert done.subscription.trial_settings.end_behavior.missing_payment_method == "cancel"
    assert done.subscription.default_payment_method is None


def test_a_session_sets_the_billing_cycle(simulator, payer, seat):
    anchor = int(time.time()) + 10 * DAY
    session = open_subscription(
        seat, 1, customer=payer.id,
        subscription_data={"billing_cycle_anchor": anchor, "proration_behavior": "none", "description": "Seats"},
    )  # fmt: skip
    subscription = stripe.Subscription.retrieve(fill_in(simulator, session)["subscription"])
    assert (subscription.billing_cycle_anchor, subscription.description) == (anchor, "Seats")


def test_taxes_need_an_address_that_checkout_may_keep(simulator, payer, seat):
    session = open_subscription(
        seat, 1, customer=payer.id, automatic_tax={"enabled": True}, tax_id_collection={"enabled": True},
        customer_update={"address": "auto", "name": "auto"}, billing_address_collection="required",
    )  # fmt: skip
    assert session.automatic_tax.enabled and session.tax_id_collection.enabled
    fill_in(simulator, session, country="AT", name="Ada GmbH")
    done = stripe.checkout.Session.retrieve(session.id, expand=["customer", "subscription.latest_invoice"])
    assert (done.customer.address.country, done.customer.name) == ("AT", "Ada GmbH")
    assert done.subscription.automatic_tax.enabled
    assert done.subscription.latest_invoice.automatic_tax.enabled
    assert done.automatic_tax.status == "complete"


def test_an_embedded_page_has_a_secret_in_place_of_a_url(payer):
    mode = "embedded" if IS_ACACIA else "embedded_page"
    session = stripe.checkout.Session.create(
        mode="setup", ui_mode=mode, customer=payer.id, payment_method_types=["card"],
        return_url="https://example.com/back",
    )  # fmt: skip
    assert (session.url, session.ui_mode) == (None, mode)
    assert session.client_secret.startswith(f"{session.id}_secret_")
    assert session.redirect_on_completion == "always"


def test_a_session_is_expired(simulator, payer):
    session = open_setup(customer=payer.id)
    gone = stripe.checkout.Session.expire(session.id)
    assert (gone.status, gone.url) == ("expired", None)
    assert stripe.SetupIntent.retrieve(session.setup_intent).status == "canceled"
    assert events_about(session) == ["checkout.session.expired"]
    with pytest.raises(urllib.error.HTTPError):
        fill_in(simulator, session)


def test_a_session_is_open_for_as_long_as_it_says(payer):
    assert open_setup(customer=payer.id).expires_at - int(time.time()) == pytest.approx(DAY, abs=60)
    at = int(time.time()) + 2 * HOUR
    assert open_setup(customer=payer.id, expires_at=at).expires_at == at


def test_sessions_are_listed_and_changed(simulator, payer, seat):
    services = v1(make_client(simulator)).checkout.sessions
    first = services.create(
        {"mode": "setup", "currency": "usd", "customer": payer.id, "success_url": SUCCESS, "locale": "de"}
    )
    second = services.create({
        "mode": "subscription", "customer": payer.id, "success_url": SUCCESS,
        "line_items": [{"price": seat.id, "quantity": 2}],
    })  # fmt: skip
    services.expire(first.id)
    assert [one.id for one in services.list({"customer": payer.id}).data] == [second.id, first.id]
    assert [one.id for one in services.list({"customer": payer.id, "status": "open"}).data] == [second.id]
    assert services.update(second.id, {"metadata": {"seen": "yes"}}).metadata["seen"] == "yes"
    (item,) = stripe.checkout.Session.list_line_items(second.id).data
    assert (item.quantity, item.price.id) == (2, seat.id)


def test_the_portal_has_an_address(payer):
    session = stripe.billing_portal.Session.create(
        customer=payer.id, return_url="https://example.com/account", locale="de"
    )
    assert (session.object, session.customer) == ("billing_portal.session", payer.id)
    assert session.url.startswith("https://billing.stripe.com/p/session/test_")
    assert (session.return_url, session.locale, session.flow) == ("https://example.com/account", "de", None)
    again = stripe.billing_portal.Session.create(customer=payer.id, configuration=session.configuration)
    assert again.id != session.id and again.return_url is None


def test_the_portal_can_begin_with_one_thing(subscribed):
    story = subscribed()
    update = stripe.billing_portal.Session.create(
        customer=story.customer.id,
        flow_data={
            "type": "payment_method_update",
            "after_completion": {"type": "redirect", "redirect": {"return_url": "https://example.com/done"}},
        },
    )
    assert update.flow.type == "payment_method_update"
    assert update.flow.after_completion.redirect.return_url == "https://example.com/done"
    cancel = stripe.billing_portal.Session.create(
        customer=story.customer.id,
        flow_data={"type": "subscription_cancel", "subscription_cancel": {"subscription": story.subscription.id}},
    )
    assert cancel.flow.subscription_cancel.subscription == story.subscription.id


def test_tax_ids_are_kept_with_the_customer(simulator):
    customer = stripe.Customer.create(
        email="a@b.example", tax_id_data=[{"type": "eu_vat", "value": "DE123456789"}],
        address={"country": "DE"}, tax_exempt="reverse",
    )  # fmt: skip
    (vat,) = stripe.Customer.list_tax_ids(customer.id).data
    assert (vat.object, vat.type, vat.country, vat.customer) == ("tax_id", "eu_vat", "DE", customer.id)
    other = stripe.Customer.create_tax_id(customer.id, type="us_ein", value="12-3456789")
    assert stripe.Customer.retrieve_tax_id(customer.id, other.id).value == "12-3456789"
    assert stripe.Customer.delete_tax_id(customer.id, other.id).deleted
    assert [one.id for one in stripe.Customer.list_tax_ids(customer.id).data] == [vat.id]


def test_a_subscription_keeps_that_taxes_are_automatic(subscribed):
    price = make_metered_price(make_meter())
    customer = stripe.Customer.create(address={"country": "DE"})
    subscription = stripe.Subscription.create(
        customer=customer.id, items=[{"price": price.id}],
        automatic_tax={"enabled": True, "liability": {"type": "self"}}, expand=["latest_invoice"],
    )  # fmt: skip
    assert subscription.automatic_tax.enabled
    assert subscription.automatic_tax.liability.type == "self"
    assert subscription.latest_invoice.automatic_tax.enabled
