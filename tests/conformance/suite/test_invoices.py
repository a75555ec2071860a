"""Invoices of a metered subscription, from the draft to the end."""

import pytest
import stripe

from conftest import DAY, HOUR, IS_ACACIA, make_client, make_meter, make_metered_price, v1


def price_of(line):
    """Since basil a line has its price under `pricing`."""
    return line.price.id if IS_ACACIA else line.pricing.price_details.price


def subscription_of(invoice):
    return invoice.subscription if IS_ACACIA else invoice.parent.subscription_details.subscription


def drafted(story):
    """The draft of the first period, whose end has just passed."""
    story.advance(story.period_end() + 60)
    (invoice,) = stripe.Invoice.list(subscription=story.subscription.id, status="draft").data
    return invoice


def test_a_period_is_billed_an_hour_after_its_end(subscribed):
    story = subscribed()
    story.use(25)
    story.use(17)
    end = story.period_end()
    invoice = drafted(story)
    assert (invoice.billing_reason, invoice.total) == ("subscription_cycle", 42 * 5)
    assert subscription_of(invoice) == story.subscription.id
    (line,) = invoice.lines.data
    assert (line.quantity, line.amount, line.currency) == (42, 210, "usd")
    assert price_of(line) == story.price.id
    assert (line.period.start, line.period.end) == (story.subscription.start_date, end)
    story.advance(invoice.created + 2 * HOUR)
    paid = stripe.Invoice.retrieve(invoice.id)
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", 210, 1)
    assert paid.status_transitions.paid_at and paid.number


def test_usage_of_a_draft_still_counts(subscribed):
    story = subscribed()
    story.use(10)
    end = story.period_end()
    invoice = drafted(story)
    story.use(5, timestamp=end - 60)
    story.advance(invoice.created + 2 * HOUR)
    assert stripe.Invoice.retrieve(invoice.id).total == 15 * 5


def test_an_added_item_bills_usage_from_its_addition_on(subscribed):
    story = subscribed()
    added_at = story.subscription.start_date + 10 * DAY
    story.advance(added_at)
    other = make_metered_price(story.meter, unit_amount=9)
    added = stripe.SubscriptionItem.create(subscription=story.subscription.id, price=other.id)
    assert added.created == added_at
    story.use(1, timestamp=added_at - 1)
    story.use(2, timestamp=added_at)
    end = story.period_end()
    invoice = drafted(story)
    lines = {price_of(line): line for line in invoice.lines.data}
    assert (lines[story.price.id].quantity, lines[other.id].quantity) == (3, 2)
    period = lines[other.id].period
    assert (period.start, period.end) == (added_at, end)
    assert invoice.total == 3 * 5 + 2 * 9


def test_a_draft_is_finalised_and_paid_by_hand(subscribed):
    story = subscribed()
    story.use(100)
    invoice = drafted(story)
    noted = stripe.Invoice.modify(invoice.id, description="July", metadata={"a": "b"}, auto_advance=False)
    assert (noted.description, noted.metadata["a"], noted.auto_advance) == ("July", "b", False)
    final = stripe.Invoice.finalize_invoice(invoice.id)
    assert (final.status, final.amount_due) == ("open", 500)
    assert final.hosted_invoice_url and final.invoice_pdf
    paid = stripe.Invoice.pay(invoice.id)
    assert (paid.status, paid.amount_remaining) == ("paid", 0)


def test_a_failed_payment_leaves_the_subscription_past_due(subscribed):
    story = subscribed("pm_card_chargeCustomerFail")
    story.use(100)
    invoice = drafted(story)
    story.advance(invoice.created + 2 * HOUR)
    failed = stripe.Invoice.retrieve(invoice.id)
    assert (failed.status, failed.attempted, failed.attempt_count) == ("open", True, 1)
    assert failed.next_payment_attempt
    assert stripe.Subscription.retrieve(story.subscription.id).status == "past_due"
    with pytest.raises(stripe.CardError) as error:
        stripe.Invoice.pay(invoice.id)
    assert error.value.code == "card_declined"
    assert error.value.error.decline_code == "generic_decline"
    saved = stripe.Invoice.pay(invoice.id, paid_out_of_band=True)
    assert saved.status == "paid"
    assert stripe.Subscription.retrieve(story.subscription.id).status == "active"


def test_an_open_invoice_is_voided(subscribed):
    story = subscribed("pm_card_chargeCustomerFail")
    story.use(100)
    invoice = stripe.Invoice.finalize_invoice(drafted(story).id, auto_advance=False)
    voided = stripe.Invoice.void_invoice(invoice.id)
    assert voided.status == "void"
    assert voided.status_transitions.voided_at


def test_an_uncollectible_invoice_can_still_be_paid(subscribed):
    story = subscribed()
    story.use(100)
    invoice = stripe.Invoice.finalize_invoice(drafted(story).id, auto_advance=False)
    given_up = stripe.Invoice.mark_uncollectible(invoice.id)
    assert given_up.status == "uncollectible"
    assert given_up.status_transitions.marked_uncollectible_at
    assert stripe.Invoice.pay(invoice.id).status == "paid"


def test_the_upcoming_invoice_is_previewed(subscribed, simulator):
    story = subscribed()
    story.use(33)
    simulator.settle()
    preview = stripe.Invoice.create_preview(subscription=story.subscription.id)
    assert (preview.object, preview.status, preview.total) == ("invoice", "draft", 165)
    assert preview.lines.data[0].quantity == 33
    by_customer = stripe.Invoice.create_preview(customer=story.customer.id)
    assert by_customer.total == 165


@pytest.mark.acacia
def test_before_basil_it_was_called_upcoming(subscribed, simulator):
    story = subscribed()
    story.use(33)
    simulator.settle()
    upcoming = stripe.Invoice.upcoming(subscription=story.subscription.id)
    assert upcoming.total == 165
    assert "id" not in upcoming
    lines = stripe.Invoice.upcoming_lines(subscription=story.subscription.id)
    assert [line.amount for line in lines.data] == [165]


def test_lines_are_listed(subscribed):
    story = subscribed()
    story.use(3)
    invoice = drafted(story)
    lines = stripe.Invoice.list_lines(invoice.id, limit=1)
    assert [line.id for line in lines.data] == [line.id for line in invoice.lines.data]
    assert not lines.has_more


@pytest.mark.parametrize(
    ("mode", "quantity", "total"),
    [
        ("graduated", 1500, 1000 + 500 * 2 + 7),
        ("graduated", 1000, 1000),
        ("volume", 1500, 1500 * 2 + 7),
        ("volume", 1000, 1000),
    ],
)
def test_tiers_are_billed_by_their_mode(subscribed, simulator, mode, quantity, total):
    meter = make_meter()
    price = make_metered_price(
        meter,
        billing_scheme="tiered",
        tiers_mode=mode,
        tiers=[
            {"up_to": 1000, "unit_amount": 1},
            {"up_to": "inf", "unit_amount": 2, "flat_amount": 7},
        ],
    )
    story = subscribed(price=price)
    stripe.billing.MeterEvent.create(
        event_name=meter.event_name,
        payload={"stripe_customer_id": story.customer.id, "value": str(quantity)},
    )
    simulator.settle()
    assert stripe.Invoice.create_preview(subscription=story.subscription.id).total == total


@pytest.mark.parametrize(("rounding", "total"), [("up", 300), ("down", 200)])
def test_quantities_are_transformed_before_they_are_billed(subscribed, simulator, rounding, total):
    meter = make_meter()
    transform = {"divide_by": 1000, "round": rounding}
    story = subscribed(price=make_metered_price(meter, unit_amount=100, transform_quantity=transform))
    stripe.billing.MeterEvent.create(
        event_name=meter.event_name, payload={"stripe_customer_id": story.customer.id, "value": "2001"}
    )
    simulator.settle()
    assert stripe.Invoice.create_preview(subscription=story.subscription.id).total == total


def test_the_client_style_makes_the_same(simulator, subscribed):
    story = subscribed()
    story.use(100)
    invoice = drafted(story)
    invoices = v1(make_client(simulator)).invoices
    assert invoices.update(invoice.id, {"auto_advance": False}).auto_advance is False
    assert invoices.finalize_invoice(invoice.id).status == "open"
    lines = invoices.line_items
    assert lines.list(invoice.id).data[0].amount == 500
    assert invoices.pay(invoice.id, {"expand": ["customer"]}).customer.id == story.customer.id
    listed = invoices.list({"customer": story.customer.id, "status": "paid"})
    assert invoice.id in [one.id for one in listed.data]


def test_a_clock_is_listed_and_deleted_with_its_customers(subscribed):
    story = subscribed()
    clocks = stripe.test_helpers.TestClock.list(limit=100)
    assert story.clock.id in [clock.id for clock in clocks.auto_paging_iter()]
    advanced = story.advance(story.clock.frozen_time + DAY)
    assert (advanced.status, advanced.frozen_time) == ("ready", story.clock.frozen_time + DAY)
    assert stripe.test_helpers.TestClock.delete(story.clock.id).deleted
    with pytest.raises(stripe.InvalidRequestError):
        stripe.Customer.retrieve(story.customer.id)
