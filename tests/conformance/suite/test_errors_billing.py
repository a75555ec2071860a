"""Requests that are refused for how things stand: states, meter events, keys, limits, versions."""

import threading

import pytest
import stripe

from conftest import DAY, HOUR, SECRET_KEY, make_client, make_meter, make_payer
from refusals import Refusals, check

BAD_KEY = "sk_test_of_somebody_else"

Invalid = stripe.InvalidRequestError
REFUSALS = Refusals()


def states():
    def refused(code=None, param=None):
        return (Invalid, 400, code, param)

    REFUSALS.add(
        lambda w: stripe.Product.create(id=w.product, name="Again"), *refused("resource_already_exists", "id")
    )
    REFUSALS.add(lambda w: stripe.Product.delete(w.product), *refused())
    REFUSALS.add(lambda w: make_meter(w.meter.event_name), *refused(None, "event_name"))
    REFUSALS.add(lambda w: stripe.billing.Meter.deactivate(w.inactive.id), *refused())
    REFUSALS.add(lambda w: stripe.billing.Meter.reactivate(w.meter.id), *refused())
    REFUSALS.add(
        lambda w: stripe.PaymentMethod.attach(w.method, customer=stripe.Customer.create().id),
        *refused("payment_method_unexpected_state", "payment_method"),
    )
    REFUSALS.add(
        lambda w: stripe.PaymentMethod.detach(
            stripe.PaymentMethod.create(type="card", card={"token": "tok_visa"}).id
        ),
        *refused(),
    )
    REFUSALS.add(lambda w: stripe.Subscription.modify(w.cancelled.id, description="x"), *refused())
    REFUSALS.add(
        lambda w: stripe.Subscription.create(
            customer=stripe.Customer.create().id, items=[{"price": w.seat.id}]
        ),
        *refused("resource_missing"),
    )
    REFUSALS.add(lambda w: stripe.Customer.create(test_clock=w.full_clock.id), *refused(None, "test_clock"))
    REFUSALS.add(lambda w: stripe.Invoice.pay(w.paid), *refused("invoice_already_paid"))
    REFUSALS.add(lambda w: stripe.Invoice.finalize_invoice(w.paid), *refused("invoice_not_editable"))
    REFUSALS.add(lambda w: stripe.Invoice.void_invoice(w.paid), *refused("invoice_not_editable"))
    REFUSALS.add(lambda w: stripe.Invoice.mark_uncollectible(w.paid), *refused("invoice_not_editable"))
    REFUSALS.add(
        lambda w: stripe.Invoice.create_preview(customer=stripe.Customer.create().id),
        *refused("invoice_upcoming_none"),
    )
    declined = (stripe.CardError, 402, "card_declined")
    REFUSALS.add(
        lambda w: stripe.PaymentMethod.attach("pm_card_chargeDeclined", customer=w.customer.id), *declined
    )
    REFUSALS.add(
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

    REFUSALS.add(lambda w: send(w, name="never_heard_of"), *refused("no_meter", "event_name"))
    REFUSALS.add(lambda w: send(w, name=w.archived.event_name), *refused("archived_meter", "event_name"))
    REFUSALS.add(
        lambda w: send(w, payload={"value": "1"}),
        *refused("meter_event_no_customer_defined", "payload[stripe_customer_id]"),
    )
    REFUSALS.add(
        lambda w: send(w, payload={"stripe_customer_id": "cus_x", "value": "1"}),
        *refused("resource_missing", "payload[stripe_customer_id]"),
    )
    REFUSALS.add(
        lambda w: send(w, payload={"stripe_customer_id": w.deleted.id, "value": "1"}),
        *refused("resource_missing", "payload[stripe_customer_id]"),
    )
    REFUSALS.add(lambda w: send(w, "many"), *refused("meter_event_invalid_value", "payload[value]"))
    REFUSALS.add(lambda w: send(w, "1.5"), *refused("meter_event_invalid_value", "payload[value]"))
    REFUSALS.add(
        lambda w: send(w, payload={"stripe_customer_id": w.customer.id}),
        *refused("meter_event_invalid_value", "payload[value]"),
    )
    REFUSALS.add(lambda w: send(w, "1" * 16), *refused("meter_event_value_too_many_digits", "payload[value]"))
    REFUSALS.add(
        lambda w: send(w, timestamp=w.now - 36 * DAY), *refused("timestamp_too_far_in_past", "timestamp")
    )
    REFUSALS.add(lambda w: send(w, timestamp=w.now + HOUR), *refused("timestamp_in_future", "timestamp"))
    REFUSALS.add(lambda w: send(w, identifier=w.sent.identifier), *refused(None, None))
    REFUSALS.add(lambda w: send(w, identifier="i" * 101), *refused(None, "identifier"))
    REFUSALS.add(lambda w: cancel(w, "never_sent"), *refused("resource_missing", "cancel[identifier]"))
    REFUSALS.add(lambda w: cancel(w, w.cancelled_event.identifier), *refused(None, "cancel[identifier]"))
    REFUSALS.add(
        lambda w: cancel(w, w.sent.identifier, name="never_heard_of"),
        *refused("resource_missing", "cancel[identifier]"),
    )
    # v2 names no parameter.
    REFUSALS.add(lambda w: send_v2(w, name="never_heard_of"), *refused("no_meter", None))
    REFUSALS.add(lambda w: send_v2(w, "many"), *refused("meter_event_invalid_value", None))
    REFUSALS.add(
        lambda w: send_v2(w, timestamp="2001-01-01T00:00:00Z"), *refused("timestamp_too_far_in_past", None)
    )
    REFUSALS.add(lambda w: send_v2(w, identifier=w.sent.identifier), *refused(None, None))
    REFUSALS.add(lambda w: send_v2(w, colour="red"), *refused("parameter_unknown", None))
    expired = (stripe.TemporarySessionExpiredError, 401, "billing_meter_event_session_expired")
    event = {"event_name": "x", "payload": {"stripe_customer_id": "x", "value": "1"}}
    for token in ("mes_test_never_made", SECRET_KEY):
        REFUSALS.add(
            lambda w, token=token: make_client(w.simulator, token).v2.billing.meter_event_stream.create(
                {"events": [event]}
            ),
            *expired,
        )
    REFUSALS.add(lambda w: stream(w, []), *refused(None, None))
    REFUSALS.add(lambda w: stream(w, [event] * 101), *refused(None, None))


def stream(w, events):
    session = w.client.v2.billing.meter_event_session.create()
    client = make_client(w.simulator, session.authentication_token)
    return client.v2.billing.meter_event_stream.create({"events": events})


def fault(w, **order):
    w.simulator.order_fault(kind="error_before", path_prefix="/v1/products", **order)
    return stripe.Product.create(name="x")


def keys_and_limits():
    denied = (stripe.AuthenticationError, 401)
    REFUSALS.add(lambda w: stripe.Customer.create(api_key=BAD_KEY), *denied)
    REFUSALS.add(lambda w: stripe.Customer.list(api_key="pk_test_public"), *denied)
    REFUSALS.add(lambda w: make_client(w.simulator, BAD_KEY).v2.billing.meter_event_session.create(), *denied)
    forbidden = (stripe.PermissionError, 403)
    REFUSALS.add(
        lambda w: stripe.Customer.create(stripe_account="acct_of_somebody_else"),
        *forbidden,
        "account_invalid",
    )
    REFUSALS.add(lambda w: stripe.Account.retrieve("acct_of_somebody_else"), *forbidden, "account_invalid")
    REFUSALS.add(lambda w: fault(w, status=403), *forbidden)
    REFUSALS.add(lambda w: fault(w, status=429), stripe.RateLimitError, 429, "rate_limit")
    REFUSALS.add(lambda w: fault(w, status=500), stripe.APIError, 500)
    REFUSALS.add(lambda w: fault(w, status=503), stripe.APIError, 503)
    conflict = (stripe.IdempotencyError, 400)
    REFUSALS.add(lambda w: stripe.Product.create(name="Second", idempotency_key=w.key), *conflict)
    REFUSALS.add(lambda w: stripe.Customer.create(idempotency_key="k" * 256), *conflict)
    REFUSALS.add(lambda w: w.client.raw_request("get", "/v1/nothing"), Invalid, 404)
    REFUSALS.add(lambda w: w.client.raw_request("get", "/v2/nothing"), Invalid, 404)
    REFUSALS.add(lambda w: stripe.Customer.list(stripe_version="2001-13-45.tulip"), Invalid, 400)


def gated_by_version():
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd",
            unit_amount=1,
            product=w.product,
            recurring={"interval": "month", "usage_type": "metered"},
        ),
        Invalid,
        400,
        only="newest",
    )
    usage_records = "/v1/subscription_items/{}/usage_records"
    upcoming = "/v1/invoices/upcoming"
    REFUSALS.add(
        lambda w: w.client.raw_request("post", usage_records.format(w.item.id), quantity=1),
        Invalid,
        404,
        only="newest",
    )
    REFUSALS.add(
        lambda w: w.client.raw_request("get", upcoming), Invalid, 404, "resource_missing", "id", only="newest"
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd",
            unit_amount=1,
            product=w.product,
            recurring={
                "interval": "month",
                "usage_type": "metered",
                "meter": w.meter.id,
                "aggregate_usage": "sum",
            },
        ),
        Invalid,
        400,
        "parameter_unknown",
        "recurring[aggregate_usage]",
        only="newest",
    )
    REFUSALS.add(
        lambda w: stripe.SubscriptionItem.create_usage_record(
            w.legacy_item.id, quantity=1, stripe_version="2025-03-31.basil"
        ),
        Invalid,
        404,
        only="acacia",
    )
    REFUSALS.add(
        lambda w: stripe.Price.create(
            currency="usd",
            unit_amount=1,
            product=w.product,
            stripe_version="2025-03-31.basil",
            recurring={"interval": "month", "usage_type": "metered"},
        ),
        Invalid,
        400,
        only="acacia",
    )

    def record(w, **params):
        return stripe.SubscriptionItem.create_usage_record(w.legacy_item.id, **params)

    REFUSALS.add(
        lambda w: record(w, quantity=-1), Invalid, 400, "parameter_invalid_integer", "quantity", "acacia"
    )
    REFUSALS.add(
        lambda w: record(w, quantity="many"), Invalid, 400, "parameter_invalid_integer", "quantity", "acacia"
    )
    REFUSALS.add(lambda w: record(w), Invalid, 400, "parameter_missing", "quantity", "acacia")
    REFUSALS.add(lambda w: record(w, quantity=1, action="guess"), Invalid, 400, None, "action", "acacia")
    REFUSALS.add(
        lambda w: record(w, quantity=1, timestamp=w.now - 400 * DAY),
        Invalid,
        400,
        None,
        "timestamp",
        "acacia",
    )
    REFUSALS.add(
        lambda w: stripe.SubscriptionItem.create_usage_record("si_x", quantity=1),
        Invalid,
        404,
        "resource_missing",
        "id",
        "acacia",
    )
    REFUSALS.add(
        lambda w: stripe.SubscriptionItem.create_usage_record(w.item.id, quantity=1),
        Invalid,
        400,
        None,
        None,
        "acacia",
    )


for table in (states, meter_events, keys_and_limits, gated_by_version):
    table()


@REFUSALS.test()
def test_a_refusal_says_what_and_why(world, call, raises, status, code, param):
    check(world, call, raises, status, code, param)


def test_a_rate_limit_says_when_to_come_back(simulator):
    simulator.order_fault(kind="error_before", status=429, retry_after_s=7, path_prefix="/v1/products")
    with pytest.raises(stripe.RateLimitError) as refused:
        stripe.Product.create(name="x")
    assert refused.value.headers["retry-after"] == "7"


def test_one_customer_and_meter_take_one_event_at_a_time(simulator, world):
    """Stripe's own limit of v1 meter events, without any fault ordered but a delay."""
    simulator.order_fault(kind="delay_ms", delay_ms=1_500, path_prefix="/v1/billing/meter_events")
    first = threading.Thread(target=lambda: send(world))
    first.start()
    simulator.await_fault()
    with pytest.raises(stripe.RateLimitError) as refused:
        send(world)
    first.join()
    assert refused.value.json_body["error"]["code"] == "rate_limit"
