"""What is refused: the SDK's exception, the status, the code and the parameter of each."""

import threading
import time
from types import SimpleNamespace

import pytest
import stripe

from conftest import DAY, HOUR, IS_ACACIA, SECRET_KEY, make_client, make_meter, make_metered_price, make_payer, unique

Invalid = stripe.InvalidRequestError
BAD_KEY = "sk_test_of_somebody_else"


@pytest.fixture(scope="module")
def world(simulator):
    """What the cases refer to."""
    meter = make_meter()
    customer = make_payer()
    price = make_metered_price(meter)
    once = stripe.Price.create(currency="usd", unit_amount=5, product_data={"name": "Once"})
    seat = stripe.Price.create(
        currency="usd", unit_amount=1000, recurring={"interval": "month"}, product_data={"name": "Seat"}
    )
    retired = make_metered_price(meter, active=False)
    subscription = stripe.Subscription.create(customer=customer.id, items=[{"price": price.id}])
    cancelled = stripe.Subscription.create(customer=customer.id, items=[{"price": price.id}])
    stripe.Subscription.cancel(cancelled.id)
    inactive = make_meter()
    stripe.billing.Meter.deactivate(inactive.id)
    archived = make_meter()
    stripe.billing.Meter.deactivate(archived.id)
    deleted = stripe.Customer.create()
    stripe.Customer.delete(deleted.id)
    sent = stripe.billing.MeterEvent.create(
        event_name=meter.event_name,
        identifier=unique("error"),
        payload={"stripe_customer_id": customer.id, "value": "1"},
    )
    cancelled_event = stripe.billing.MeterEvent.create(
        event_name=meter.event_name, payload={"stripe_customer_id": customer.id, "value": "1"}
    )
    stripe.billing.MeterEventAdjustment.create(
        event_name=meter.event_name, type="cancel", cancel={"identifier": cancelled_event.identifier}
    )
    legacy_item = None
    if IS_ACACIA:
        legacy = stripe.Price.create(
            currency="usd",
            unit_amount=5,
            recurring={"interval": "month", "usage_type": "metered"},
            product_data={"name": "Legacy"},
        )
        legacy = stripe.Subscription.create(customer=customer.id, items=[{"price": legacy.id}])
        legacy_item = legacy["items"]["data"][0]
    clock = stripe.test_helpers.TestClock.create(frozen_time=int(time.time()))
    key = unique("taken")
    stripe.Product.create(name="First", idempotency_key=key)
    lookup_key = unique("lookup")
    make_metered_price(meter, lookup_key=lookup_key)
    return SimpleNamespace(
        simulator=simulator, client=make_client(simulator), meter=meter, customer=customer, price=price,
        once=once, seat=seat, retired=retired, subscription=subscription, cancelled=cancelled,
        item=subscription["items"]["data"][0], inactive=inactive, archived=archived, deleted=deleted,
        sent=sent, cancelled_event=cancelled_event, legacy_item=legacy_item, clock=clock, key=key,
        lookup_key=lookup_key, product=once.product, paid=subscription.latest_invoice,
        method=customer.invoice_settings.default_payment_method, now=int(time.time()),
    )  # fmt: skip


CASES = []


def case(call, raises, status, code=None, param=None, only=None):
    """A call that is refused so; `call` takes the world."""
    marks = [getattr(pytest.mark, only)] if only else []
    name = f"{len(CASES):03}-{status}-{code}-{param}"
    CASES.append(pytest.param(call, raises, status, code, param, id=name, marks=marks))


def unknown_ids():
    missing = (Invalid, 404, "resource_missing", "id")
    for kind in (
        stripe.Customer, stripe.Product, stripe.Price, stripe.Subscription, stripe.SubscriptionItem,
        stripe.Invoice, stripe.PaymentMethod, stripe.Event, stripe.WebhookEndpoint,
        stripe.billing.Meter, stripe.test_helpers.TestClock,
    ):  # fmt: skip
        case(lambda w, kind=kind: kind.retrieve("nothing"), *missing)
    case(lambda w: stripe.Customer.modify("cus_nothing", name="x"), *missing)
    case(lambda w: stripe.Customer.delete(w.deleted.id), *missing)
    case(lambda w: stripe.Customer.modify(w.deleted.id, name="x"), *missing)
    case(lambda w: stripe.Subscription.cancel("sub_nothing"), *missing)
    case(lambda w: stripe.Subscription.cancel(w.cancelled.id), *missing)
    case(lambda w: stripe.Invoice.pay("in_nothing"), *missing)
    case(lambda w: stripe.billing.Meter.deactivate("mtr_nothing"), *missing)
    case(lambda w: stripe.test_helpers.TestClock.advance("clock_nothing", frozen_time=w.now), *missing)
    # The path names a customer, and that customer has no such thing.
    case(lambda w: stripe.Customer.retrieve_payment_method(w.deleted.id, w.method), *missing)
    unknown = (Invalid, 404, "resource_missing")
    case(lambda w: w.client.v2.core.events.retrieve("evt_nothing"), *unknown)
    case(lambda w: w.client.v2.core.event_destinations.retrieve("ed_nothing"), *unknown)


def unknown_references():
    def missing(param):
        return (Invalid, 400, "resource_missing", param)

    case(lambda w: stripe.Subscription.create(customer="cus_x", items=[{"price": w.price.id}]), *missing("customer"))
    case(lambda w: stripe.Subscription.create(customer=w.deleted.id, items=[{"price": w.price.id}]), *missing("customer"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": "price_x"}]), *missing("items[0][price]"))
    case(lambda w: stripe.Subscription.modify(w.subscription.id, items=[{"id": "si_x", "price": w.price.id}]), *missing("items[0][id]"))
    case(lambda w: stripe.Price.create(product="prod_x", currency="usd", unit_amount=1), *missing("product"))
    case(lambda w: make_metered_price(SimpleNamespace(id="mtr_x")), *missing("recurring[meter]"))
    case(lambda w: stripe.PaymentMethod.attach("pm_card_visa", customer="cus_x"), *missing("customer"))
    case(lambda w: stripe.PaymentMethod.create(type="card", card={"token": "tok_x"}), *missing("card[token]"))
    case(lambda w: stripe.Customer.create(payment_method="pm_x"), *missing("payment_method"))
    case(lambda w: stripe.Customer.create(test_clock="clock_x"), *missing("test_clock"))
    case(
        lambda w: stripe.Customer.modify(w.customer.id, invoice_settings={"default_payment_method": "pm_x"}),
        *missing("invoice_settings[default_payment_method]"),
    )
    case(lambda w: stripe.Customer.list(starting_after="cus_x"), *missing("starting_after"))
    case(lambda w: stripe.Invoice.create_preview(subscription="sub_x"), *missing("subscription"))
    case(
        lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer="cus_x", start_time=0, end_time=60),
        *missing("customer"),
    )


def parameters():
    def missing(param):
        return (Invalid, 400, "parameter_missing", param)

    def unknown(param):
        return (Invalid, 400, "parameter_unknown", param)

    def no_integer(param):
        return (Invalid, 400, "parameter_invalid_integer", param)

    case(lambda w: stripe.Product.create(), *missing("name"))
    case(lambda w: stripe.Price.create(unit_amount=1, product=w.product), *missing("currency"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, recurring={"usage_type": "licensed"}), *missing("recurring[interval]"))
    case(lambda w: stripe.Subscription.create(items=[{"price": w.price.id}]), *missing("customer"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.seat.id}], collection_method="send_invoice"), *missing("days_until_due"))
    case(lambda w: stripe.billing.Meter.create(event_name="x", default_aggregation={"formula": "sum"}), *missing("display_name"))
    case(lambda w: stripe.billing.Meter.create(display_name="x", event_name="x"), *missing("default_aggregation"))
    case(lambda w: stripe.billing.MeterEvent.create(event_name=w.meter.event_name), *missing("payload"))
    case(lambda w: stripe.billing.MeterEvent.create(payload={"stripe_customer_id": w.customer.id, "value": "1"}), *missing("event_name"))
    case(lambda w: stripe.billing.MeterEventAdjustment.create(event_name=w.meter.event_name, type="cancel"), *missing("cancel"))
    case(lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer=w.customer.id, start_time=0), *missing("end_time"))
    case(lambda w: stripe.PaymentMethod.attach(w.method), *missing("customer"))
    case(lambda w: stripe.test_helpers.TestClock.create(), *missing("frozen_time"))
    case(lambda w: stripe.WebhookEndpoint.create(url="http://127.0.0.1:9/"), *missing("enabled_events"))
    case(lambda w: stripe.Customer.search(), *missing("query"))
    case(lambda w: stripe.SubscriptionItem.list(), *missing("subscription"))
    empty = (Invalid, 400, "parameter_invalid_empty")
    case(lambda w: stripe.Product.create(name=""), *empty, "name")
    case(lambda w: stripe.billing.MeterEvent.create(event_name="", payload={"a": "b"}), *empty, "event_name")
    case(lambda w: stripe.Customer.create(colour="red"), *unknown("colour"))
    case(lambda w: stripe.Price.create(currency="usd", unit_amount=1, product=w.product, recurring={"interval": "month", "colour": "red"}), *unknown("recurring[colour]"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.price.id, "colour": 1}]), *unknown("items[0][colour]"))
    case(lambda w: stripe.Customer.list(colour="red"), *unknown("colour"))
    case(lambda w: stripe.Price.create(currency="usd", unit_amount="many", product=w.product), *no_integer("unit_amount"))
    case(lambda w: stripe.Price.create(currency="usd", unit_amount=-1, product=w.product), *no_integer("unit_amount"))
    case(lambda w: stripe.Price.create(currency="usd", unit_amount=1.5, product=w.product), *no_integer("unit_amount"))
    case(lambda w: stripe.Customer.list(limit=0), *no_integer("limit"))
    case(lambda w: stripe.Customer.list(limit=101), *no_integer("limit"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.seat.id, "quantity": -1}]), *no_integer("items[0][quantity]"))
    case(lambda w: stripe.billing.MeterEvent.create(event_name=w.meter.event_name, payload={"stripe_customer_id": w.customer.id, "value": "1"}, timestamp="today"), *no_integer("timestamp"))


def values():
    def wrong(param):
        return (Invalid, 400, None, param)

    case(lambda w: stripe.Price.create(currency="zzz", unit_amount=1, product=w.product), *wrong("currency"))
    case(lambda w: stripe.Price.create(currency="dollars", unit_amount=1, product=w.product), *wrong("currency"))
    case(lambda w: stripe.Customer.create_balance_transaction(w.customer.id, amount=-5, currency="zzz"), *wrong("currency"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, recurring={"interval": "fortnight"}), *wrong("recurring[interval]"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount_decimal="0.0000000000001"), *wrong("unit_amount_decimal"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, active="perhaps"), *wrong("active"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, billing_scheme="tiered", tiers_mode="volume", tiers=[{"up_to": 5, "unit_amount": 1}]), *wrong("tiers"))
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, transform_quantity={"divide_by": 10, "round": "away"}), *wrong("transform_quantity[round]"))
    case(lambda w: make_metered_price(w.inactive), *wrong("recurring[meter]"))
    case(lambda w: make_metered_price(w.meter, lookup_key=w.lookup_key), *wrong("lookup_key"))
    case(lambda w: stripe.Customer.create(email="nobody"), Invalid, 400, "email_invalid", "email")
    case(lambda w: stripe.Customer.create(metadata="text"), *wrong("metadata"))
    case(lambda w: stripe.Customer.create(metadata={"k" * 41: "v"}), *wrong("metadata"))
    case(lambda w: stripe.Customer.create(metadata={"k": "v" * 501}), *wrong("metadata"))
    case(lambda w: stripe.Customer.create(metadata={str(n): "v" for n in range(51)}), *wrong("metadata"))
    case(lambda w: stripe.Customer.search(query="colour:red"), *wrong("query"))
    case(lambda w: stripe.WebhookEndpoint.create(url="nowhere", enabled_events=["*"]), Invalid, 400, "url_invalid", "url")
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.once.id}]), *wrong("items[0][price]"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.retired.id}]), *wrong("items[0][price]"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.price.id, "quantity": 2}]), *wrong("items[0][quantity]"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.price.id}], payment_behavior="hope"), *wrong("payment_behavior"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.price.id}], trial_end=w.now - DAY), *wrong("trial_end"))
    case(lambda w: stripe.Subscription.create(customer=w.customer.id, items=[{"price": w.price.id}], billing_cycle_anchor=w.now + 90 * DAY), *wrong("billing_cycle_anchor"))
    case(lambda w: stripe.test_helpers.TestClock.advance(w.clock.id, frozen_time=w.now - DAY), *wrong("frozen_time"))
    case(lambda w: stripe.Customer.retrieve(w.customer.id, expand=["colour"]), *wrong("expand"))
    case(lambda w: stripe.Subscription.retrieve(w.subscription.id, expand=["a.b.c.d.e"]), *wrong("expand"))
    case(lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer=w.customer.id, start_time=1, end_time=60), *wrong("start_time"))
    case(lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer=w.customer.id, start_time=120, end_time=60), *wrong("end_time"))
    case(lambda w: stripe.billing.Meter.list_event_summaries(w.meter.id, customer=w.customer.id, start_time=60, end_time=HOUR, value_grouping_window="hour"), *wrong("start_time"))
    exclusive = (Invalid, 400, "parameters_exclusive")
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, unit_amount=1, unit_amount_decimal="1"), *exclusive, "unit_amount")
    case(lambda w: stripe.Price.create(currency="usd", product=w.product, product_data={"name": "x"}, unit_amount=1), *exclusive, "product")
    case(lambda w: stripe.Customer.list(starting_after=w.customer.id, ending_before=w.customer.id), *exclusive, "ending_before")
    case(lambda w: stripe.Event.list(type="x", types=["y"]), *exclusive, "types")


def states():
    def refused(code=None, param=None):
        return (Invalid, 400, code, param)

    case(lambda w: stripe.Product.create(id=w.product, name="Again"), *refused("resource_already_exists", "id"))
    case(lambda w: stripe.Product.delete(w.product), *refused())
    case(lambda w: make_meter(w.meter.event_name), *refused(None, "event_name"))
    case(lambda w: stripe.billing.Meter.deactivate(w.inactive.id), *refused())
    case(lambda w: stripe.billing.Meter.reactivate(w.meter.id), *refused())
    case(lambda w: stripe.PaymentMethod.attach(w.method, customer=stripe.Customer.create().id), *refused("payment_method_unexpected_state", "payment_method"))
    case(lambda w: stripe.PaymentMethod.detach(stripe.PaymentMethod.create(type="card", card={"token": "tok_visa"}).id), *refused())
    case(lambda w: stripe.Subscription.modify(w.cancelled.id, description="x"), *refused())
    case(lambda w: stripe.Subscription.create(customer=stripe.Customer.create().id, items=[{"price": w.seat.id}]), *refused("resource_missing"))
    case(lambda w: stripe.Invoice.pay(w.paid), *refused("invoice_already_paid"))
    case(lambda w: stripe.Invoice.finalize_invoice(w.paid), *refused("invoice_not_editable"))
    case(lambda w: stripe.Invoice.void_invoice(w.paid), *refused("invoice_not_editable"))
    case(lambda w: stripe.Invoice.mark_uncollectible(w.paid), *refused("invoice_not_editable"))
    case(lambda w: stripe.Invoice.create_preview(customer=stripe.Customer.create().id), *refused("invoice_upcoming_none"))
    declined = (stripe.CardError, 402, "card_declined")
    case(lambda w: stripe.PaymentMethod.attach("pm_card_chargeDeclined", customer=w.customer.id), *declined)
    case(
        lambda w: stripe.Subscription.create(
            customer=make_payer("pm_card_chargeCustomerFail").id,
            items=[{"price": w.seat.id}],
            payment_behavior="error_if_incomplete",
        ),
        *declined,
    )


def send(w, value="1", name=None, **params):
    payload = params.pop("payload", {"stripe_customer_id": w.customer.id, "value": value})
    return stripe.billing.MeterEvent.create(event_name=name or w.meter.event_name, payload=payload, **params)


def send_v2(w, value="1", name=None, **params):
    payload = params.pop("payload", {"stripe_customer_id": w.customer.id, "value": value})
    event = {"event_name": name or w.meter.event_name, "payload": payload, **params}
    return w.client.v2.billing.meter_events.create(event)


def cancel(w, identifier, name=None):
    return stripe.billing.MeterEventAdjustment.create(
        event_name=name or w.meter.event_name, type="cancel", cancel={"identifier": identifier}
    )


def meter_events():
    def refused(code, param):
        return (Invalid, 400, code, param)

    case(lambda w: send(w, name="never_heard_of"), *refused("no_meter", "event_name"))
    case(lambda w: send(w, name=w.archived.event_name), *refused("archived_meter", "event_name"))
    case(lambda w: send(w, payload={"value": "1"}), *refused("meter_event_no_customer_defined", "payload[stripe_customer_id]"))
    case(lambda w: send(w, payload={"stripe_customer_id": "cus_x", "value": "1"}), *refused("resource_missing", "payload[stripe_customer_id]"))
    case(lambda w: send(w, payload={"stripe_customer_id": w.deleted.id, "value": "1"}), *refused("resource_missing", "payload[stripe_customer_id]"))
    case(lambda w: send(w, "many"), *refused("meter_event_invalid_value", "payload[value]"))
    case(lambda w: send(w, "1.5"), *refused("meter_event_invalid_value", "payload[value]"))
    case(lambda w: send(w, payload={"stripe_customer_id": w.customer.id}), *refused("meter_event_invalid_value", "payload[value]"))
    case(lambda w: send(w, "1" * 16), *refused("meter_event_value_too_many_digits", "payload[value]"))
    case(lambda w: send(w, timestamp=w.now - 36 * DAY), *refused("timestamp_too_far_in_past", "timestamp"))
    case(lambda w: send(w, timestamp=w.now + HOUR), *refused("timestamp_in_future", "timestamp"))
    case(lambda w: send(w, identifier=w.sent.identifier), *refused(None, None))
    case(lambda w: send(w, identifier="i" * 101), *refused(None, "identifier"))
    case(lambda w: cancel(w, "never_sent"), *refused("resource_missing", "cancel[identifier]"))
    case(lambda w: cancel(w, w.cancelled_event.identifier), *refused(None, "cancel[identifier]"))
    case(lambda w: cancel(w, w.sent.identifier, name="never_heard_of"), *refused("resource_missing", "cancel[identifier]"))
    # v2 names no parameter.
    case(lambda w: send_v2(w, name="never_heard_of"), *refused("no_meter", None))
    case(lambda w: send_v2(w, "many"), *refused("meter_event_invalid_value", None))
    case(lambda w: send_v2(w, timestamp="2001-01-01T00:00:00Z"), *refused("timestamp_too_far_in_past", None))
    case(lambda w: send_v2(w, identifier=w.sent.identifier), *refused(None, None))
    case(lambda w: send_v2(w, colour="red"), *refused("parameter_unknown", None))
    expired = (stripe.TemporarySessionExpiredError, 401, "billing_meter_event_session_expired")
    event = {"event_name": "x", "payload": {"stripe_customer_id": "x", "value": "1"}}
    for token in ("mes_test_never_made", SECRET_KEY):
        case(
            lambda w, token=token: make_client(w.simulator, token).v2.billing.meter_event_stream.create({"events": [event]}),
            *expired,
        )
    case(lambda w: stream(w, []), *refused(None, None))
    case(lambda w: stream(w, [event] * 101), *refused(None, None))


def stream(w, events):
    session = w.client.v2.billing.meter_event_session.create()
    client = make_client(w.simulator, session.authentication_token)
    return client.v2.billing.meter_event_stream.create({"events": events})


def fault(w, **order):
    w.simulator.order_fault(kind="error_before", path_prefix="/v1/products", **order)
    return stripe.Product.create(name="x")


def keys_and_limits():
    denied = (stripe.AuthenticationError, 401)
    case(lambda w: stripe.Customer.create(api_key=BAD_KEY), *denied)
    case(lambda w: stripe.Customer.list(api_key="pk_test_public"), *denied)
    case(lambda w: make_client(w.simulator, BAD_KEY).v2.billing.meter_event_session.create(), *denied)
    forbidden = (stripe.PermissionError, 403)
    case(lambda w: stripe.Customer.create(stripe_account="acct_of_somebody_else"), *forbidden, "account_invalid")
    case(lambda w: stripe.Account.retrieve("acct_of_somebody_else"), *forbidden, "account_invalid")
    case(lambda w: fault(w, status=403), *forbidden)
    case(lambda w: fault(w, status=429), stripe.RateLimitError, 429, "rate_limit")
    case(lambda w: fault(w, status=500), stripe.APIError, 500)
    case(lambda w: fault(w, status=503), stripe.APIError, 503)
    conflict = (stripe.IdempotencyError, 400)
    case(lambda w: stripe.Product.create(name="Second", idempotency_key=w.key), *conflict)
    case(lambda w: stripe.Customer.create(idempotency_key="k" * 256), *conflict)
    case(lambda w: w.client.raw_request("get", "/v1/nothing"), Invalid, 404)
    case(lambda w: w.client.raw_request("get", "/v2/nothing"), Invalid, 404)
    case(lambda w: stripe.Customer.list(stripe_version="2001-13-45.tulip"), Invalid, 400)


def gated_by_version():
    case(
        lambda w: stripe.Price.create(
            currency="usd", unit_amount=1, product=w.product,
            recurring={"interval": "month", "usage_type": "metered"},
        ),
        Invalid, 400, only="newest",
    )  # fmt: skip
    usage_records = "/v1/subscription_items/{}/usage_records"
    upcoming = "/v1/invoices/upcoming"
    case(lambda w: w.client.raw_request("post", usage_records.format(w.item.id), quantity=1), Invalid, 404, only="newest")
    case(lambda w: w.client.raw_request("get", upcoming), Invalid, 404, "resource_missing", "id", only="newest")
    case(
        lambda w: stripe.Price.create(
            currency="usd", unit_amount=1, product=w.product,
            recurring={"interval": "month", "usage_type": "metered", "meter": w.meter.id, "aggregate_usage": "sum"},
        ),
        Invalid, 400, "parameter_unknown", "recurring[aggregate_usage]", only="newest",
    )  # fmt: skip
    case(
        lambda w: stripe.SubscriptionItem.create_usage_record(w.legacy_item.id, quantity=1, stripe_version="2025-03-31.basil"),
        Invalid, 404, only="acacia",
    )  # fmt: skip
    case(
        lambda w: stripe.Price.create(
            currency="usd", unit_amount=1, product=w.product, stripe_version="2025-03-31.basil",
            recurring={"interval": "month", "usage_type": "metered"},
        ),
        Invalid, 400, only="acacia",
    )  # fmt: skip

    def record(w, **params):
        return stripe.SubscriptionItem.create_usage_record(w.legacy_item.id, **params)

    case(lambda w: record(w, quantity=-1), Invalid, 400, "parameter_invalid_integer", "quantity", "acacia")
    case(lambda w: record(w, quantity="many"), Invalid, 400, "parameter_invalid_integer", "quantity", "acacia")
    case(lambda w: record(w), Invalid, 400, "parameter_missing", "quantity", "acacia")
    case(lambda w: record(w, quantity=1, action="guess"), Invalid, 400, None, "action", "acacia")
    case(lambda w: record(w, quantity=1, timestamp=w.now - 400 * DAY), Invalid, 400, None, "timestamp", "acacia")
    case(lambda w: stripe.SubscriptionItem.create_usage_record("si_x", quantity=1), Invalid, 404, "resource_missing", "id", "acacia")
    case(lambda w: stripe.SubscriptionItem.create_usage_record(w.item.id, quantity=1), Invalid, 400, None, None, "acacia")


for table in (
    unknown_ids, unknown_references, parameters, values, states, meter_events, keys_and_limits, gated_by_version,
):  # fmt: skip
    table()


@pytest.mark.parametrize(("call", "raises", "status", "code", "param"), CASES)
def test_a_refusal_says_what_and_why(world, call, raises, status, code, param):
    with pytest.raises(stripe.StripeError) as refused:
        call(world)
    error = refused.value
    assert type(error) is raises, error
    assert error.http_status == status, error
    body = error.json_body["error"]
    assert (body.get("code"), body.get("param")) == (code, param), error
    assert error.user_message
    # A request that was refused before it was read has an id too.
    assert error.headers["request-id"].startswith("req_")
    assert body["type"]


def test_a_rate_limit_says_when_to_come_back(simulator):
    simulator.order_fault(kind="error_before", status=429, retry_after_s=7, path_prefix="/v1/products")
    with pytest.raises(stripe.RateLimitError) as refused:
        stripe.Product.create(name="x")
    assert refused.value.headers["retry-after"] == "7"


def test_one_customer_and_meter_take_one_event_at_a_time(simulator, world):
    """Stripe's own limit of v1 meter events, without any fault ordered but a delay."""
    simulator.order_fault(kind="delay_ms", delay_ms=400, path_prefix="/v1/billing/meter_events")
    first = threading.Thread(target=lambda: send(world))
    first.start()
    while not any(fault["struck"] for fault in simulator.control("GET", "faults")["data"]):
        pass
    with pytest.raises(stripe.RateLimitError) as refused:
        send(world)
    first.join()
    assert refused.value.json_body["error"]["code"] == "rate_limit"
