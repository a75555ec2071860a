"""Requests that are refused for what they name or say: ids, parameters, values."""

from types import SimpleNamespace

import stripe

from conftest import DAY, HOUR, make_metered_price
from refusals import Refusals, check

Invalid = stripe.InvalidRequestError
REFUSALS = Refusals()


def unknown_ids():
    missing = (Invalid, 404, "resource_missing", "id")
    for kind in (
        stripe.Customer,
        stripe.Product,
        stripe.Price,
        stripe.Subscription,
        stripe.SubscriptionItem,
        stripe.Invoice,
        stripe.PaymentMethod,
        stripe.Event,
        stripe.WebhookEndpoint,
        stripe.billing.Meter,
        stripe.test_helpers.TestClock,
    ):
        REFUSALS.add(lambda w, kind=kind: kind.retrieve("nothing"), *missing)
    REFUSALS.add(lambda w: stripe.Customer.modify("cus_nothing", name="x"), *missing)
    REFUSALS.add(lambda w: stripe.Customer.delete(w.deleted.id), *missing)
    REFUSALS.add(lambda w: stripe.Customer.modify(w.deleted.id, name="x"), *missing)
    REFUSALS.add(lambda w: stripe.Subscription.cancel("sub_nothing"), *missing)
    REFUSALS.add(lambda w: stripe.Subscription.cancel(w.cancelled.id), *missing)
    REFUSALS.add(lambda w: stripe.Invoice.pay("in_nothing"), *missing)
    REFUSALS.add(lambda w: stripe.billing.Meter.deactivate("mtr_nothing"), *missing)
    REFUSALS.add(
        lambda w: stripe.test_helpers.TestClock.advance("clock_nothing", frozen_time=w.now), *missing
    )
    # The path names a customer, and that customer has no such thing.
    REFUSALS.add(lambda w: stripe.Customer.retrieve_payment_method(w.deleted.id, w.method), *missing)
    unknown = (Invalid, 404, "resource_missing")
    REFUSALS.add(lambda w: w.client.v2.core.events.retrieve("evt_nothing"), *unknown)
    REFUSALS.add(lambda w: w.client.v2.core.event_destinations.retrieve("ed_nothing"), *unknown)


def unknown_references():
    def missing(param):
        return (Invalid, 400, "resource_missing", param)

    REFUSALS.add(
        lambda w: stripe.Subscription.create(customer="cus_x", items=[{"price": w.price.id}]),
        *missing("customer"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(customer=w.deleted.id, items=[{"price": w.price.id}]),
        *missing("customer"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": "price_x"}]),
        *missing("items[0][price]"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.modify(w.subscription.id, items=[{"id": "si_x", "price": w.price.id}]),
        *missing("items[0][id]"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(product="prod_x", currency="usd", unit_amount=1), *missing("product")
    )
    REFUSALS.add(lambda w: make_metered_price(SimpleNamespace(id="mtr_x")), *missing("recurring[meter]"))
    REFUSALS.add(
        lambda w: stripe.PaymentMethod.attach("pm_card_visa", customer="cus_x"), *missing("customer")
    )
    REFUSALS.add(
        lambda w: stripe.PaymentMethod.create(type="card", card={"token": "tok_x"}), *missing("card[token]")
    )
    REFUSALS.add(lambda w: stripe.Customer.create(payment_method="pm_x"), *missing("payment_method"))
    REFUSALS.add(lambda w: stripe.Customer.create(test_clock="clock_x"), *missing("test_clock"))
    REFUSALS.add(
        lambda w: stripe.Customer.modify(w.customer.id, invoice_settings={"default_payment_method": "pm_x"}),
        *missing("invoice_settings[default_payment_method]"),
    )
    REFUSALS.add(lambda w: stripe.Customer.list(starting_after="cus_x"), *missing("starting_after"))
    REFUSALS.add(lambda w: stripe.Invoice.create_preview(subscription="sub_x"), *missing("subscription"))
    REFUSALS.add(
        lambda w: stripe.billing.Meter.list_event_summaries(
            w.meter.id, customer="cus_x", start_time=0, end_time=60
        ),
        *missing("customer"),
    )


def parameters():
    def missing(param):
        return (Invalid, 400, "parameter_missing", param)

    def unknown(param):
        return (Invalid, 400, "parameter_unknown", param)

    def no_integer(param):
        return (Invalid, 400, "parameter_invalid_integer", param)

    REFUSALS.add(lambda w: stripe.Product.create(), *missing("name"))
    REFUSALS.add(lambda w: stripe.Price.create(unit_amount=1, product=w.product), *missing("currency"))
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", product=w.product, unit_amount=1, recurring={"usage_type": "licensed"}
        ),
        *missing("recurring[interval]"),
    )
    REFUSALS.add(lambda w: stripe.Subscription.create(items=[{"price": w.price.id}]), *missing("customer"))
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.seat.id}], collection_method="send_invoice"
        ),
        *missing("days_until_due"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.create(event_name="x", default_aggregation={"formula": "sum"}),
        *missing("display_name"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.create(display_name="x", event_name="x"),
        *missing("default_aggregation"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.MeterEvent.create(event_name=w.meter.event_name), *missing("payload")
    )
    REFUSALS.add(
        lambda w: stripe.billing.MeterEvent.create(
            payload={"stripe_customer_id": w.customer.id, "value": "1"}
        ),
        *missing("event_name"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.MeterEventAdjustment.create(event_name=w.meter.event_name, type="cancel"),
        *missing("cancel"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer=w.customer.id, start_time=0),
        *missing("end_time"),
    )
    REFUSALS.add(lambda w: stripe.PaymentMethod.attach(w.method), *missing("customer"))
    REFUSALS.add(lambda w: stripe.test_helpers.TestClock.create(), *missing("frozen_time"))
    REFUSALS.add(
        lambda w: stripe.WebhookEndpoint.create(url="http://127.0.0.1:9/"), *missing("enabled_events")
    )
    REFUSALS.add(lambda w: stripe.Customer.search(), *missing("query"))
    REFUSALS.add(lambda w: stripe.SubscriptionItem.list(), *missing("subscription"))
    empty = (Invalid, 400, "parameter_invalid_empty")
    REFUSALS.add(lambda w: stripe.Product.create(name=""), *empty, "name")
    REFUSALS.add(
        lambda w: stripe.billing.MeterEvent.create(event_name="", payload={"a": "b"}), *empty, "event_name"
    )
    REFUSALS.add(lambda w: stripe.Customer.create(colour="red"), *unknown("colour"))
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", unit_amount=1, product=w.product, recurring={"interval": "month", "colour": "red"}
        ),
        *unknown("recurring[colour]"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id, "colour": 1}]
        ),
        *unknown("items[0][colour]"),
    )
    REFUSALS.add(lambda w: stripe.Customer.list(colour="red"), *unknown("colour"))
    REFUSALS.add(
        lambda w: stripe.Price.create(currency="usd", unit_amount="many", product=w.product),
        *no_integer("unit_amount"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(currency="usd", unit_amount=-1, product=w.product),
        *no_integer("unit_amount"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(currency="usd", unit_amount=1.5, product=w.product),
        *no_integer("unit_amount"),
    )
    REFUSALS.add(lambda w: stripe.Customer.list(limit=0), *no_integer("limit"))
    REFUSALS.add(lambda w: stripe.Customer.list(limit=101), *no_integer("limit"))
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.seat.id, "quantity": -1}]
        ),
        *no_integer("items[0][quantity]"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.MeterEvent.create(
            event_name=w.meter.event_name,
            payload={"stripe_customer_id": w.customer.id, "value": "1"},
            timestamp="today",
        ),
        *no_integer("timestamp"),
    )


def values():
    def wrong(param):
        return (Invalid, 400, None, param)

    REFUSALS.add(
        lambda w: stripe.Price.create(currency="zzz", unit_amount=1, product=w.product), *wrong("currency")
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(currency="dollars", unit_amount=1, product=w.product),
        *wrong("currency"),
    )
    REFUSALS.add(
        lambda w: stripe.Customer.create_balance_transaction(w.customer.id, amount=-5, currency="zzz"),
        *wrong("currency"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", product=w.product, unit_amount=1, recurring={"interval": "fortnight"}
        ),
        *wrong("recurring[interval]"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", product=w.product, unit_amount_decimal="0.0000000000001"
        ),
        *wrong("unit_amount_decimal"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, active="perhaps"),
        *wrong("active"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd",
            product=w.product,
            billing_scheme="tiered",
            tiers_mode="volume",
            tiers=[{"up_to": 5, "unit_amount": 1}],
        ),
        *wrong("tiers"),
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd",
            product=w.product,
            unit_amount=1,
            transform_quantity={"divide_by": 10, "round": "away"},
        ),
        *wrong("transform_quantity[round]"),
    )
    REFUSALS.add(lambda w: make_metered_price(w.inactive), *wrong("recurring[meter]"))
    REFUSALS.add(lambda w: make_metered_price(w.meter, lookup_key=w.lookup_key), *wrong("lookup_key"))
    REFUSALS.add(lambda w: stripe.Customer.create(email="nobody"), Invalid, 400, "email_invalid", "email")
    REFUSALS.add(lambda w: stripe.Customer.create(metadata="text"), *wrong("metadata"))
    REFUSALS.add(lambda w: stripe.Customer.create(metadata={"k" * 41: "v"}), *wrong("metadata"))
    REFUSALS.add(lambda w: stripe.Customer.create(metadata={"k": "v" * 501}), *wrong("metadata"))
    REFUSALS.add(
        lambda w: stripe.Customer.create(metadata={str(n): "v" for n in range(51)}), *wrong("metadata")
    )
    REFUSALS.add(lambda w: stripe.Customer.search(query="colour:red"), *wrong("query"))
    REFUSALS.add(
        lambda w: stripe.WebhookEndpoint.create(url="nowhere", enabled_events=["*"]),
        Invalid,
        400,
        "url_invalid",
        "url",
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.once.id}]),
        *wrong("items[0][price]"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.retired.id}]),
        *wrong("items[0][price]"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id, "quantity": 2}]
        ),
        *wrong("items[0][quantity]"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id}], payment_behavior="hope"
        ),
        *wrong("payment_behavior"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id}], trial_end=w.now - DAY
        ),
        *wrong("trial_end"),
    )
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=w.customer.id, items=[{"price": w.price.id}], billing_cycle_anchor=w.now + 90 * DAY
        ),
        *wrong("billing_cycle_anchor"),
    )
    REFUSALS.add(
        lambda w: stripe.test_helpers.TestClock.advance(w.clock.id, frozen_time=w.now - DAY),
        *wrong("frozen_time"),
    )
    REFUSALS.add(lambda w: stripe.Customer.retrieve(w.customer.id, expand=["colour"]), *wrong("expand"))
    REFUSALS.add(
        lambda w: stripe.Subscription.retrieve(w.subscription.id, expand=["a.b.c.d.e"]), *wrong("expand")
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.list_event_summaries(
            w.meter.id, customer=w.customer.id, start_time=1, end_time=60
        ),
        *wrong("start_time"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.list_event_summaries(
            w.meter.id, customer=w.customer.id, start_time=120, end_time=60
        ),
        *wrong("end_time"),
    )
    REFUSALS.add(
        lambda w: stripe.billing.Meter.list_event_summaries(
            w.meter.id, customer=w.customer.id, start_time=60, end_time=HOUR, value_grouping_window="hour"
        ),
        *wrong("start_time"),
    )
    exclusive = (Invalid, 400, "parameters_exclusive")
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", product=w.product, unit_amount=1, unit_amount_decimal="1"
        ),
        *exclusive,
        "unit_amount",
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd", product=w.product, product_data={"name": "x"}, unit_amount=1
        ),
        *exclusive,
        "product",
    )
    REFUSALS.add(
        lambda w: stripe.Customer.list(starting_after=w.customer.id, ending_before=w.customer.id),
        *exclusive,
        "ending_before",
    )
    REFUSALS.add(lambda w: stripe.Event.list(type="x", types=["y"]), *exclusive, "types")


for table in (unknown_ids, unknown_references, parameters, values):
    table()


@REFUSALS.test()
def test_a_refusal_says_what_and_why(world, call, raises, status, code, param):
    check(world, call, raises, status, code, param)
