"""One simulator for the suite, the SDK pointed at it, and what tests begin with."""

import itertools
import time
from types import SimpleNamespace

import pytest
import requests
import stripe

from fields import Fields
from listener import Listener
from simulator import SECRET_KEY, Simulator

IS_ACACIA = stripe.api_version == "2025-02-24.acacia"
FIELDS = Fields()
HOUR, DAY = 3_600, 86_400
NUMBERS = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption(
        "--update-fields",
        action="store_true",
        help="write the simulator's field lists anew instead of comparing them",
    )


def pytest_report_header():
    return f"stripe {stripe._version.VERSION}, API {stripe.api_version}"


def pytest_collection_modifyitems(items):
    other = "newest" if IS_ACACIA else "acacia"
    skip = pytest.mark.skip(reason=f"only with the {other} SDK")
    for item in items:
        if item.get_closest_marker(other):
            item.add_marker(skip)
    items.sort(key=lambda item: item.path.name == "test_fields.py")


def note(response, **_):
    """Notes the objects of an answer, where it is of the version that the SDK is pinned to."""
    is_pinned = response.headers.get("stripe-version") == stripe.api_version
    if response.ok and is_pinned and "/_simulator/" not in response.url:
        FIELDS.note(response.json())


def http_client():
    """The SDK's own HTTP client; the session under it lets the suite read along."""
    session = requests.Session()
    session.hooks["response"].append(note)
    return stripe.RequestsClient(session=session)


def make_client(simulator, key=SECRET_KEY, **options):
    """A StripeClient, whose v1 services lie under `v1` since the SDK has v2 too."""
    addresses = {"api": simulator.url, "meter_events": simulator.url}
    options = {"http_client": http_client(), **options}
    return stripe.StripeClient(key, base_addresses=addresses, **options)


def v1(client):
    return getattr(client, "v1", client)


@pytest.fixture(scope="session")
def simulator():
    """It does nothing by itself: a test says when (`settle`)."""
    simulator = Simulator("--manual")
    stripe.api_key = SECRET_KEY
    stripe.api_base = simulator.url
    stripe.meter_events_api_base = simulator.url
    stripe.max_network_retries = 0
    stripe.default_http_client = http_client()
    yield simulator
    simulator.stop()


@pytest.fixture(autouse=True)
def no_faults_left(simulator):
    yield
    simulator.end_faults()


@pytest.fixture
def client(simulator):
    return make_client(simulator)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.stop()


def unique(name):
    """A name that no other test has."""
    return f"{name}_{next(NUMBERS)}"


def make_meter(event_name=None, **params):
    return stripe.billing.Meter.create(
        display_name="Tokens",
        event_name=event_name or unique("tokens"),
        default_aggregation={"formula": "sum"},
        customer_mapping={"event_payload_key": "stripe_customer_id", "type": "by_id"},
        value_settings={"event_payload_key": "value"},
        **params,
    )


def make_metered_price(meter, **params):
    amounts = {} if params.keys() & {"unit_amount", "unit_amount_decimal", "tiers"} else {"unit_amount": 5}
    return stripe.Price.create(
        currency="usd",
        product_data={"name": "Tokens"},
        recurring={"interval": "month", "usage_type": "metered", "meter": meter.id},
        **amounts,
        **params,
    )


def make_payer(card="pm_card_visa", **params):
    if card:
        params |= {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
    return stripe.Customer.create(email="ada@example.com", **params)


@pytest.fixture
def subscribed(simulator):
    """Makes a customer on a test clock with a subscription to a metered price."""

    def make(card="pm_card_visa", price=None, **params):
        clock = stripe.test_helpers.TestClock.create(frozen_time=int(time.time()), name="story")
        meter = make_meter()
        price = price or make_metered_price(meter)
        customer = make_payer(card, test_clock=clock.id)
        subscription = stripe.Subscription.create(customer=customer.id, items=[{"price": price.id}], **params)
        item = subscription["items"]["data"][0]

        def use(value, **event):
            return stripe.billing.MeterEvent.create(
                event_name=meter.event_name,
                payload={"stripe_customer_id": customer.id, "value": str(value)},
                timestamp=event.pop("timestamp", clock.frozen_time),
                **event,
            )

        def advance(frozen_time):
            stripe.test_helpers.TestClock.advance(clock.id, frozen_time=frozen_time)
            simulator.settle()
            return stripe.test_helpers.TestClock.retrieve(clock.id)

        def period_end():
            now = stripe.Subscription.retrieve(subscription.id)
            return (now if IS_ACACIA else now["items"]["data"][0])["current_period_end"]

        return SimpleNamespace(
            clock=clock, meter=meter, price=price, customer=customer, item=item,
            subscription=subscription, use=use, advance=advance, period_end=period_end,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
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
    full_clock = stripe.test_helpers.TestClock.create(frozen_time=int(time.time()))
    for _ in range(3):
        stripe.Customer.create(test_clock=full_clock.id)
    key = unique("taken")
    stripe.Product.create(name="First", idempotency_key=key)
    lookup_key = unique("lookup")
    make_metered_price(meter, lookup_key=lookup_key)
    return SimpleNamespace(
        simulator=simulator, client=make_client(simulator), meter=meter, customer=customer, price=price,
        once=once, seat=seat, retired=retired, subscription=subscription, cancelled=cancelled,
        item=subscription["items"]["data"][0], inactive=inactive, archived=archived, deleted=deleted,
        sent=sent, cancelled_event=cancelled_event, legacy_item=legacy_item, clock=clock, full_clock=full_clock, key=key,
        lookup_key=lookup_key, product=once.product, paid=subscription.latest_invoice,
        method=customer.invoice_settings.default_payment_method, now=int(time.time()),
    )  # fmt: skip
