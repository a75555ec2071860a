"""Subscriptions and their items."""

import time

import pytest
import stripe

from conftest import DAY, IS_ACACIA, make_client, make_meter, make_metered_price, make_payer, v1


def period(subscription):
    """Since basil the items have it."""
    holder = subscription if IS_ACACIA else subscription["items"]["data"][0]
    return holder["current_period_start"], holder["current_period_end"]


@pytest.fixture
def seat(simulator):
    """A price that is paid in advance."""
    return stripe.Price.create(
        currency="usd", unit_amount=1000, recurring={"interval": "month"}, product_data={"name": "Seat"}
    )


def test_a_metered_subscription_begins_with_an_invoice_of_nothing(subscribed):
    story = subscribed(expand=["latest_invoice"], metadata={"plan": "metered"})
    subscription = story.subscription
    assert (subscription.object, subscription.status) == ("subscription", "active")
    assert subscription.customer == story.customer.id
    assert subscription.metadata["plan"] == "metered"
    assert subscription.test_clock == story.clock.id
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 0, "subscription_create")
    assert story.item.price.id == story.price.id
    assert "quantity" not in story.item
    start, end = period(subscription)
    assert start == subscription.start_date and 28 * DAY <= end - start <= 31 * DAY


@pytest.mark.newest
def test_the_first_payment_is_confirmed_by_a_secret_where_one_is_due(subscribed):
    story = subscribed(
        payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=["latest_invoice.confirmation_secret", "pending_setup_intent"],
    )
    # Metered usage begins with nothing to pay.
    assert story.subscription.status == "active"
    assert story.subscription.latest_invoice.confirmation_secret is None
    assert story.subscription.payment_settings.save_default_payment_method == "on_subscription"


@pytest.mark.acacia
def test_the_first_payment_intent_is_none_where_nothing_is_due(subscribed):
    story = subscribed(payment_behavior="default_incomplete", expand=["latest_invoice.payment_intent"])
    assert story.subscription.status == "active"
    assert story.subscription.latest_invoice.payment_intent is None
    assert story.subscription.latest_invoice.subscription == story.subscription.id


def test_default_incomplete_waits_for_the_first_payment(seat):
    customer = make_payer()
    subscription = stripe.Subscription.create(
        customer=customer.id, items=[{"price": seat.id}],
        payment_behavior="default_incomplete", expand=["latest_invoice"],
    )  # fmt: skip
    assert subscription.status == "incomplete"
    assert (subscription.latest_invoice.status, subscription.latest_invoice.amount_due) == ("open", 1000)
    paid = stripe.Invoice.pay(subscription.latest_invoice.id)
    assert paid.status == "paid"
    assert stripe.Subscription.retrieve(subscription.id).status == "active"


def test_allow_incomplete_shows_a_failed_first_payment(seat):
    customer = make_payer("pm_card_chargeCustomerFail")
    subscription = stripe.Subscription.create(customer=customer.id, items=[{"price": seat.id}])
    assert subscription.status == "incomplete"
    assert stripe.Invoice.retrieve(subscription.latest_invoice).attempt_count == 1


def test_a_licensed_item_has_a_quantity(seat):
    subscription = stripe.Subscription.create(
        customer=make_payer().id, items=[{"price": seat.id, "quantity": 3, "metadata": {"a": "b"}}]
    )
    (item,) = subscription["items"]["data"]
    assert (item.quantity, item.metadata["a"], subscription.status) == (3, "b", "active")
    assert stripe.Invoice.retrieve(subscription.latest_invoice).amount_paid == 3000
    changed = stripe.SubscriptionItem.modify(item.id, quantity=4, proration_behavior="none")
    assert changed.quantity == 4
    assert stripe.SubscriptionItem.retrieve(item.id).subscription == subscription.id
    listed = stripe.SubscriptionItem.list(subscription=subscription.id)
    assert [one.id for one in listed.data] == [item.id]


def test_a_trial_postpones_the_first_period(subscribed):
    story = subscribed(trial_period_days=14)
    subscription = story.subscription
    assert subscription.status == "trialing"
    assert subscription.trial_end == subscription.trial_start + 14 * DAY
    assert period(subscription) == (subscription.trial_start, subscription.trial_end)
    story.advance(subscription.trial_end + 60)
    assert stripe.Subscription.retrieve(subscription.id).status == "active"


def announced(subscription):
    """The events that announce the end of the subscription's trial."""
    found = stripe.Event.list(type="customer.subscription.trial_will_end", limit=100).data
    return [event.data.object for event in found if event.data.object.id == subscription.id]


def test_the_end_of_a_trial_is_announced_three_days_before(subscribed):
    story = subscribed(trial_period_days=14)
    announced_at = story.subscription.trial_end - 3 * DAY
    story.advance(announced_at - 60)
    assert announced(story.subscription) == []
    story.advance(announced_at)
    (shown,) = announced(story.subscription)
    assert (shown.status, shown.trial_end) == ("trialing", story.subscription.trial_end)
    story.advance(story.subscription.trial_end + 60)
    assert len(announced(story.subscription)) == 1


def test_the_end_of_a_short_trial_is_announced_at_once(subscribed):
    story = subscribed(trial_period_days=2)
    assert len(announced(story.subscription)) == 1


def test_a_trial_says_what_happens_without_a_payment_method(subscribed):
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    subscription = subscribed(trial_period_days=1, trial_settings=settings).subscription
    assert subscription.trial_settings.end_behavior.missing_payment_method == "pause"


def test_a_trial_can_end_at_a_moment(subscribed):
    end = int(time.time()) + 3 * DAY
    assert subscribed(trial_end=end).subscription.trial_end == end


def test_the_billing_cycle_has_an_anchor(subscribed):
    anchor = int(time.time()) + 10 * DAY
    subscription = subscribed(billing_cycle_anchor=anchor, proration_behavior="none").subscription
    assert subscription.billing_cycle_anchor == anchor
    assert period(subscription)[1] == anchor


def test_an_invoice_can_be_sent_instead_of_charged(seat):
    subscription = stripe.Subscription.create(
        customer=stripe.Customer.create(email="a@b.example").id, items=[{"price": seat.id}],
        collection_method="send_invoice", days_until_due=30, expand=["latest_invoice"],
    )  # fmt: skip
    assert (subscription.status, subscription.days_until_due) == ("active", 30)
    assert subscription.latest_invoice.collection_method == "send_invoice"
    assert subscription.latest_invoice.due_date


def test_a_subscription_ends_with_its_period(subscribed):
    story = subscribed()
    ends = stripe.Subscription.modify(story.subscription.id, cancel_at_period_end=True)
    assert ends.cancel_at_period_end
    assert ends.cancel_at == period(ends)[1]
    stays = stripe.Subscription.modify(story.subscription.id, cancel_at_period_end=False)
    assert stays.cancel_at is None
    stripe.Subscription.modify(story.subscription.id, cancel_at_period_end=True)
    story.advance(period(ends)[1] + 60)
    assert stripe.Subscription.retrieve(story.subscription.id).status == "canceled"


def test_a_subscription_is_cancelled_at_once(subscribed):
    story = subscribed()
    cancelled = stripe.Subscription.cancel(
        story.subscription.id, cancellation_details={"comment": "too dear", "feedback": "too_expensive"}
    )
    assert cancelled.status == "canceled"
    assert cancelled.ended_at
    assert cancelled.cancellation_details.reason == "cancellation_requested"
    assert cancelled.cancellation_details.comment == "too dear"
    assert cancelled.cancellation_details.feedback == "too_expensive"
    gone = stripe.Subscription.list(customer=story.customer.id)
    assert gone.data == []
    for status in ("all", "canceled", "ended"):
        found = stripe.Subscription.list(customer=story.customer.id, status=status)
        assert [one.id for one in found.data] == [cancelled.id]


def test_items_are_added_and_removed(subscribed):
    story = subscribed()
    other = make_metered_price(make_meter())
    added = stripe.SubscriptionItem.create(subscription=story.subscription.id, price=other.id)
    assert added.subscription == story.subscription.id
    assert len(stripe.Subscription.retrieve(story.subscription.id)["items"]["data"]) == 2
    deleted = stripe.SubscriptionItem.delete(added.id, proration_behavior="none")
    assert deleted.deleted
    (left,) = stripe.Subscription.retrieve(story.subscription.id)["items"]["data"]
    assert left.id == story.item.id


def test_a_plan_is_changed(subscribed):
    story = subscribed()
    dearer = make_metered_price(make_meter(), unit_amount=9)
    changed = stripe.Subscription.modify(
        story.subscription.id,
        items=[{"id": story.item.id, "price": dearer.id}],
        proration_behavior="none",
        metadata={"plan": "dear"},
    )
    (item,) = changed["items"]["data"]
    assert (item.id, item.price.id) == (story.item.id, dearer.id)
    assert changed.metadata["plan"] == "dear"


@pytest.mark.newest
def test_a_billing_mode_is_flexible_unless_it_is_named(subscribed):
    assert subscribed().subscription.billing_mode.type == "flexible"
    classic = subscribed(billing_mode={"type": "classic"}).subscription
    assert (classic.billing_mode.type, classic.billing_mode.flexible) == ("classic", None)


def test_expansions_reach_four_levels(subscribed):
    story = subscribed()
    shown = stripe.Subscription.retrieve(
        story.subscription.id,
        expand=["customer.invoice_settings.default_payment_method", "items.data.price.product"],
    )
    assert shown.customer.invoice_settings.default_payment_method.card.last4 == "4242"
    assert shown["items"]["data"][0].price.product.name == "Tokens"
    listed = stripe.Subscription.list(customer=story.customer.id, expand=["data.customer"])
    assert listed.data[0].customer.email == "ada@example.com"


def test_the_client_style_makes_the_same(simulator, seat):
    services = v1(make_client(simulator))
    customer = make_payer()
    subscription = services.subscriptions.create(
        {"customer": customer.id, "items": [{"price": seat.id}], "expand": ["latest_invoice"]}
    )
    assert subscription.latest_invoice.status == "paid"
    updated = services.subscriptions.update(subscription.id, {"description": "By client"})
    assert updated.description == "By client"
    assert services.subscriptions.list({"price": seat.id}).data[0].id == subscription.id
    assert services.subscriptions.cancel(subscription.id).status == "canceled"
