"""Usage records, as 2025-02-24.acacia still has them."""

import time

import pytest
import stripe

from conftest import DAY, HOUR, make_client, make_payer, unique

pytestmark = [pytest.mark.acacia, pytest.mark.usefixtures("simulator")]


@pytest.fixture
def item():
    """The item of a subscription to a metered price without a meter."""
    price = stripe.Price.create(
        currency="usd",
        unit_amount=7,
        recurring={"interval": "month", "usage_type": "metered"},
        product_data={"name": "Legacy tokens"},
    )
    subscription = stripe.Subscription.create(customer=make_payer().id, items=[{"price": price.id}])
    return subscription["items"]["data"][0]


def total(item):
    summaries = stripe.SubscriptionItem.list_usage_record_summaries(item.id)
    return summaries.data[0].total_usage


def test_increments_add_up(item, simulator):
    record = stripe.SubscriptionItem.create_usage_record(
        item.id, quantity=25, timestamp=int(time.time()), action="increment"
    )
    assert record.object == "usage_record"
    assert record.id.startswith("mbur_")
    assert (record.quantity, record.subscription_item) == (25, item.id)
    stripe.SubscriptionItem.create_usage_record(item.id, quantity=17, action="increment")
    simulator.settle()
    assert total(item) == 42


def test_set_replaces_what_stood_at_its_time(item, simulator):
    moment = int(time.time())
    for quantity in (25, 17):
        stripe.SubscriptionItem.create_usage_record(
            item.id, quantity=quantity, timestamp=moment, action="set"
        )
    simulator.settle()
    assert total(item) == 17


def test_now_is_a_time(item, simulator):
    record = stripe.SubscriptionItem.create_usage_record(item.id, quantity=1, timestamp="now")
    assert abs(record.timestamp - time.time()) < DAY
    simulator.settle()
    assert total(item) == 1


def test_an_idempotency_key_makes_an_increment_safe(item, simulator):
    key = unique("usage")
    moment = int(time.time())
    records = [
        stripe.SubscriptionItem.create_usage_record(
            item.id, quantity=3, timestamp=moment, action="increment", idempotency_key=key
        )
        for _ in range(2)
    ]
    assert records[0].id == records[1].id
    simulator.settle()
    assert total(item) == 3


def test_usage_records_are_billed(item, simulator):
    stripe.SubscriptionItem.create_usage_record(item.id, quantity=100, timestamp="now")
    simulator.settle()
    preview = stripe.Invoice.create_preview(subscription=item.subscription)
    assert preview.total == 700


def test_each_period_has_a_summary(subscribed, simulator):
    price = stripe.Price.create(
        currency="usd", unit_amount=7, product_data={"name": "Legacy tokens"},
        recurring={"interval": "month", "usage_type": "metered"},
    )  # fmt: skip
    story = subscribed(price=price)
    ends = [story.subscription.start_date]
    for quantity in [10, 20, 0]:
        if quantity:
            stripe.SubscriptionItem.create_usage_record(story.item.id, quantity=quantity)
        ends.append(story.period_end())
        story.advance(ends[-1] + 2 * HOUR)
    stripe.SubscriptionItem.create_usage_record(story.item.id, quantity=3)
    simulator.settle()
    summaries = list(stripe.SubscriptionItem.list_usage_record_summaries(story.item.id, limit=2).auto_paging_iter())
    assert [one.total_usage for one in summaries] == [3, 0, 20, 10]
    assert [one.period.start for one in summaries] == ends[::-1]
    assert [one.period.end for one in summaries] == [None, *ends[:0:-1]]
    current, *past = [one.invoice for one in summaries]
    assert current is None
    invoices = [stripe.Invoice.retrieve(invoice) for invoice in past]
    assert [invoice.total for invoice in invoices] == [0, 140, 70]
    assert all(invoice.subscription == story.subscription.id for invoice in invoices)


def test_the_client_style_makes_the_same(item, simulator):
    items = make_client(simulator).subscription_items
    record = items.usage_records.create(item.id, {"quantity": 5, "timestamp": "now"})
    assert record.quantity == 5
    simulator.settle()
    summaries = items.usage_record_summaries.list(item.id)
    assert summaries.data[0].total_usage == 5
    assert summaries.data[0].subscription_item == item.id
