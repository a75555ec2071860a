"""The common tutorials from end to end, against a simulator that does all by itself, as Stripe does."""

import time

import pytest

from conftest import DAY, IS_ACACIA, make_client, unique
from simulator import Simulator

# A request takes a millisecond or two; what is awaited comes within a second.
REQUESTS_MAX = 20_000


@pytest.fixture(scope="module")
def automatic():
    """A simulator of its own. The module style goes to the suite's, so these use clients."""
    automatic = Simulator()
    yield automatic
    automatic.stop()


@pytest.fixture
def services(automatic):
    client = make_client(automatic)
    return getattr(client, "v1", client)


def until(look):
    """Asks again until the answer is there."""
    for _ in range(REQUESTS_MAX):
        found = look()
        if found:
            return found
    raise AssertionError("it did not come")


def advance(services, clock, frozen_time):
    services.test_helpers.test_clocks.advance(clock.id, {"frozen_time": frozen_time})
    return until(lambda: ready(services, clock))


def ready(services, clock):
    now = services.test_helpers.test_clocks.retrieve(clock.id)
    assert now.status in ("advancing", "ready")
    return now if now.status == "ready" else None


def test_usage_based_billing_with_meters(automatic, services):
    """Stripe's documentation: Set up a pay-as-you-go pricing model, with a test clock."""
    meter = services.billing.meters.create(
        {
            "display_name": "Alpaca AI tokens",
            "event_name": unique("alpaca_ai_tokens"),
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    price = services.prices.create(
        {
            "currency": "usd",
            "unit_amount_decimal": "0.04",
            "billing_scheme": "per_unit",
            "recurring": {"usage_type": "metered", "interval": "month", "meter": meter.id},
            "product_data": {"name": "Alpaca AI tokens"},
        }
    )
    clock = services.test_helpers.test_clocks.create({"frozen_time": int(time.time())})
    customer = services.customers.create(
        {
            "email": "alpaca@example.com",
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
            "test_clock": clock.id,
        }
    )
    subscription = services.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "expand": ["latest_invoice"]}
    )
    assert subscription.status == "active"
    for _ in range(4):
        services.billing.meter_events.create(
            {
                "event_name": meter.event_name,
                "payload": {"value": "25000", "stripe_customer_id": customer.id},
                "identifier": unique("alpaca"),
            }
        )
    holder = subscription if IS_ACACIA else subscription["items"]["data"][0]
    advance(services, clock, holder["current_period_end"] + DAY)
    (invoice,) = services.invoices.list({"subscription": subscription.id, "limit": 1}).data
    assert (invoice.billing_reason, invoice.total, invoice.status) == ("subscription_cycle", 4000, "paid")
    previewed = services.invoices.create_preview({"subscription": subscription.id})
    assert previewed.total == 0


def test_high_throughput_with_the_stream(automatic, services):
    """Stripe's documentation: Record usage for billing with the API, High-throughput ingestion."""
    meter = services.billing.meters.create(
        {"display_name": "Calls", "event_name": unique("calls"), "default_aggregation": {"formula": "count"}}
    )
    customer = services.customers.create()
    session = make_client(automatic).v2.billing.meter_event_session.create()
    stream = make_client(automatic, session.authentication_token).v2.billing.meter_event_stream
    event = {"event_name": meter.event_name, "payload": {"stripe_customer_id": customer.id, "value": "1"}}
    for _ in range(3):
        stream.create({"events": [event] * 10})
    today = int(time.time()) // DAY * DAY
    window = {"customer": customer.id, "start_time": today - DAY, "end_time": today + DAY}
    until(
        lambda: (
            sum(
                one.aggregated_value
                for one in services.billing.meters.event_summaries.list(meter.id, window).data
            )
            == 30
        )
    )


@pytest.mark.acacia
def test_legacy_metered_billing_with_usage_records(services):
    """Stripe's documentation, 2025-02-24.acacia: Usage-based billing, Report usage."""
    product = services.products.create({"name": "SaaS platform"})
    price = services.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "recurring": {"interval": "month", "usage_type": "metered"},
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [
                {"up_to": 5, "flat_amount": 2500},
                {"up_to": "inf", "unit_amount": 100},
            ],
        }
    )
    clock = services.test_helpers.test_clocks.create({"frozen_time": int(time.time())})
    customer = services.customers.create(
        {
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
            "test_clock": clock.id,
        }
    )
    subscription = services.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    (item,) = subscription["items"]["data"]
    for _ in range(7):
        services.subscription_items.usage_records.create(
            item.id,
            {"quantity": 1, "timestamp": subscription.current_period_start + 60, "action": "increment"},
            {"idempotency_key": unique("report")},
        )
    advance(services, clock, subscription.current_period_end + DAY)
    (invoice,) = services.invoices.list({"subscription": subscription.id, "limit": 1}).data
    assert (invoice.total, invoice.paid) == (2500 + 2 * 100, True)
