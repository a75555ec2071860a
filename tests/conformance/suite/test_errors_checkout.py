"""Requests about setup intents, Checkout, the portal and tax ids that are refused."""

import time

import stripe

from conftest import DAY, HOUR
from refusals import Refusals, check
from test_checkout import SUCCESS

Invalid = stripe.InvalidRequestError
REFUSALS = Refusals()


def session(mode="setup", **params):
    if mode == "setup":
        params.setdefault("currency", "usd")
    params.setdefault("success_url", SUCCESS)
    return stripe.checkout.Session.create(**{"mode": mode, **{k: v for k, v in params.items() if v != ()}})


def subscribing(w, **params):
    params.setdefault("line_items", [{"price": w.seat.id, "quantity": 1}])
    return session("subscription", **params)


def setup_intents():
    def add(call, code=None, param=None, status=400):
        REFUSALS.add(call, Invalid, status, code, param)

    def intent(**params):
        return stripe.SetupIntent.create(**params)

    unexpected = "setup_intent_unexpected_state"

    def done(w):
        return intent(customer=w.customer.id, payment_method="pm_card_visa", confirm=True)

    add(lambda w: stripe.SetupIntent.retrieve("seti_x"), "resource_missing", "intent", 404)
    add(lambda w: intent(customer="cus_x"), "resource_missing", "customer")
    add(lambda w: intent(customer=w.deleted.id), "resource_missing", "customer")
    add(lambda w: intent(payment_method="pm_x"), "resource_missing", "payment_method")
    add(lambda w: intent(usage="sometimes"), None, "usage")
    add(lambda w: intent(colour="red"), "parameter_unknown", "colour")
    add(lambda w: intent(confirm="perhaps"), None, "confirm")
    add(lambda w: intent(confirm=True), unexpected)
    add(lambda w: intent(payment_method_types=["card", "barter"]), None, "payment_method_types[1]")
    add(
        lambda w: intent(payment_method_types=["card"], automatic_payment_methods={"enabled": True}),
        "parameters_exclusive", "automatic_payment_methods",
    )  # fmt: skip
    add(
        lambda w: intent(automatic_payment_methods={"allow_redirects": "never"}),
        "parameter_missing", "automatic_payment_methods[enabled]",
    )  # fmt: skip
    add(lambda w: intent(return_url="https://example.com"), None, "return_url")
    # It belongs to somebody else than the setup.
    add(lambda w: intent(payment_method=w.method), "payment_method_unexpected_state", "payment_method")
    add(lambda w: stripe.SetupIntent.confirm(intent().id), unexpected)
    add(lambda w: stripe.SetupIntent.confirm(done(w).id), unexpected)
    add(lambda w: stripe.SetupIntent.modify(done(w).id, description="x"), unexpected)
    add(lambda w: stripe.SetupIntent.cancel(done(w).id), unexpected)
    add(lambda w: stripe.SetupIntent.cancel(intent().id, cancellation_reason="bored"), None, "cancellation_reason")
    add(lambda w: stripe.SetupIntent.retrieve(intent().id, client_secret="seti_y_secret_z"), None, "client_secret")
    add(lambda w: stripe.SetupIntent.cancel(session(customer=w.customer.id).setup_intent), unexpected)
    add(
        lambda w: stripe.SetupIntent.confirm(session().setup_intent, payment_method="pm_card_visa"), unexpected
    )
    REFUSALS.add(
        lambda w: intent(payment_method="pm_card_chargeDeclined", confirm=True),
        stripe.CardError, 402, "card_declined",
    )  # fmt: skip


def checkout_sessions():
    def add(call, code=None, param=None, status=400):
        REFUSALS.add(call, Invalid, status, code, param)

    add(lambda w: stripe.checkout.Session.retrieve("cs_test_x"), "resource_missing", "session", 404)
    add(lambda w: stripe.checkout.Session.create(success_url=SUCCESS), "parameter_missing", "mode")
    add(lambda w: session(mode="gift"), None, "mode")
    add(lambda w: session(success_url=()), "parameter_missing", "success_url")
    add(lambda w: session(success_url="example.com"), "url_invalid", "success_url")
    add(lambda w: session(cancel_url="javascript:alert(1)"), "url_invalid", "cancel_url")
    add(lambda w: session(return_url="https://example.com"), None, "return_url")
    add(lambda w: session(ui_mode="billboard"), None, "ui_mode")
    add(lambda w: session(currency=()), "parameter_missing", "currency")
    add(lambda w: session(customer="cus_x"), "resource_missing", "customer")
    add(
        lambda w: session(customer=w.customer.id, customer_email="a@b.example"),
        "parameters_exclusive", "customer",
    )  # fmt: skip
    add(lambda w: session(customer_email="nobody"), "email_invalid", "customer_email")
    add(lambda w: session(customer_update={"name": "auto"}), None, "customer_update")
    add(lambda w: session(expires_at=int(time.time()) + 60), None, "expires_at")
    add(lambda w: session(expires_at=int(time.time()) + DAY + HOUR), None, "expires_at")
    add(lambda w: session(line_items=[{"price": w.seat.id, "quantity": 1}]), None, "line_items")
    add(lambda w: session(subscription_data={"trial_period_days": 3}), None, "subscription_data")
    add(lambda w: session(payment_method_collection="always"), None, "payment_method_collection")
    add(lambda w: session(payment_method_types=["card", "barter"]), None, "payment_method_types[1]")
    add(lambda w: session(colour="red"), "parameter_unknown", "colour")
    add(lambda w: session(metadata={"k" * 41: "v"}), None, "metadata")
    add(lambda w: subscribing(w, line_items=()), "parameter_missing", "line_items")
    add(
        lambda w: subscribing(w, line_items=[{"quantity": 1}]), "parameter_missing", "line_items[0][price]"
    )
    add(
        lambda w: subscribing(w, line_items=[{"price": "price_x"}]), "resource_missing", "line_items[0][price]"
    )
    add(lambda w: subscribing(w, line_items=[{"price": w.retired.id}]), None, "line_items[0][price]")
    add(lambda w: subscribing(w, line_items=[{"price": w.seat.id}]), None, "line_items[0][quantity]")
    add(
        lambda w: subscribing(w, line_items=[{"price": w.price.id, "quantity": 2}]), None, "line_items[0][quantity]"
    )
    add(lambda w: subscribing(w, setup_intent_data={"description": "x"}), None, "setup_intent_data")
    add(lambda w: subscribing(w, customer_creation="always"), None, "customer_creation")
    data = "subscription_data"
    add(
        lambda w: subscribing(w, subscription_data={"trial_period_days": 0}),
        "parameter_invalid_integer", f"{data}[trial_period_days]",
    )  # fmt: skip
    add(
        lambda w: subscribing(w, subscription_data={"trial_end": int(time.time()) + HOUR}),
        None, f"{data}[trial_end]",
    )  # fmt: skip
    add(
        lambda w: subscribing(w, subscription_data={"proration_behavior": "none"}),
        None, f"{data}[proration_behavior]",
    )  # fmt: skip
    add(
        lambda w: subscribing(w, subscription_data={"billing_cycle_anchor": int(time.time()) + 90 * DAY}),
        None, f"{data}[billing_cycle_anchor]",
    )  # fmt: skip
    add(
        lambda w: subscribing(
            w, subscription_data={"billing_cycle_anchor": int(time.time()) + DAY, "trial_period_days": 3}
        ),
        None, f"{data}[billing_cycle_anchor]",
    )  # fmt: skip
    add(
        lambda w: subscribing(w, customer=w.customer.id, automatic_tax={"enabled": True}),
        "customer_tax_location_invalid",
    )
    add(lambda w: subscribing(w, customer=w.customer.id, tax_id_collection={"enabled": True}))

    def expired(w):
        made = session()
        stripe.checkout.Session.expire(made.id)
        return made

    add(lambda w: stripe.checkout.Session.expire(expired(w).id))
    add(lambda w: stripe.checkout.Session.expire("cs_test_x"), "resource_missing", "session", 404)


def portal_and_taxes():
    def add(call, code=None, param=None, status=400):
        REFUSALS.add(call, Invalid, status, code, param)

    portal = stripe.billing_portal.Session.create
    add(lambda w: portal(), "parameter_missing", "customer")
    add(lambda w: portal(customer="cus_x"), "resource_missing", "customer")
    add(lambda w: portal(customer=w.deleted.id), "resource_missing", "customer")
    add(lambda w: portal(customer=w.customer.id, return_url="home"), "url_invalid", "return_url")
    add(lambda w: portal(customer=w.customer.id, configuration="bpc_x"), "resource_missing", "configuration")
    add(lambda w: portal(customer=w.customer.id, flow_data={"type": "fly"}), None, "flow_data[type]")
    add(
        lambda w: portal(customer=w.customer.id, flow_data={"type": "subscription_cancel"}),
        "parameter_missing", "flow_data[subscription_cancel]",
    )  # fmt: skip
    add(
        lambda w: portal(
            customer=stripe.Customer.create().id,
            flow_data={"type": "subscription_cancel", "subscription_cancel": {"subscription": w.subscription.id}},
        ),
        "resource_missing", "flow_data[subscription_cancel][subscription]",
    )  # fmt: skip
    taxes = stripe.Customer.create_tax_id
    add(lambda w: taxes(w.customer.id, type="moon_vat", value="1"), None, "type")
    add(lambda w: taxes(w.customer.id, type="eu_vat"), "parameter_missing", "value")
    add(lambda w: taxes(w.customer.id, type="eu_vat", value="none"), "tax_id_invalid", "value")
    add(lambda w: taxes("cus_x", type="eu_vat", value="DE123456789"), "resource_missing", "id", 404)
    add(
        lambda w: stripe.Customer.create(tax_id_data=[{"type": "eu_vat", "value": "none"}]),
        "tax_id_invalid", "tax_id_data[0][value]",
    )  # fmt: skip
    add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id}], automatic_tax={"enabled": True}
        ),
        "customer_tax_location_invalid",
    )
    add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id}], proration_behavior="sometimes"
        ),
        None, "proration_behavior",
    )  # fmt: skip


for table in (setup_intents, checkout_sessions, portal_and_taxes):
    table()


@REFUSALS.test()
def test_a_refusal_says_what_and_why(world, call, raises, status, code, param):
    check(world, call, raises, status, code, param)
