"""Webhook endpoints, what they are sent, and the list of events."""

import json

import pytest
import stripe

from conftest import FIELDS, IS_ACACIA, make_client, make_payer, v1


@pytest.fixture
def endpoint(listener, simulator):
    made = stripe.WebhookEndpoint.create(
        url=listener.url,
        enabled_events=["customer.created", "customer.updated", "customer.deleted"],
        api_version=stripe.api_version,
        description="The suite's",
        metadata={"a": "b"},
    )
    yield made
    stripe.WebhookEndpoint.delete(made.id)


def delivered(simulator, listener, endpoint):
    """What was sent, as the SDK makes an event of it."""
    simulator.settle()
    events = []
    for delivery in listener.deliveries:
        event = stripe.Webhook.construct_event(delivery.body, delivery.signature, endpoint.secret)
        FIELDS.note(json.loads(delivery.body))
        events.append(event)
    # Deliveries come in any order.
    return sorted(events, key=lambda event: event.type)


def test_an_event_is_signed_and_constructed(simulator, listener, endpoint):
    customer = make_payer(name="Ada", idempotency_key="webhook-story")
    stripe.Customer.modify(customer.id, name="Grace")
    stripe.Customer.delete(customer.id)
    created, deleted, updated = delivered(simulator, listener, endpoint)
    assert [created.type, deleted.type, updated.type] == [
        "customer.created", "customer.deleted", "customer.updated",
    ]  # fmt: skip
    assert created.object == "event"
    assert created.api_version == stripe.api_version
    assert created["request"]["idempotency_key"] == "webhook-story"
    assert created["request"]["id"].startswith("req_")
    assert isinstance(created.data.object, stripe.Customer)
    assert created.data.object.name == "Ada"
    assert updated.data.previous_attributes["name"] == "Ada"
    assert updated.data.object.name == "Grace"
    assert deleted.data.object.id == customer.id
    assert created.pending_webhooks == 1


@pytest.mark.parametrize("change", ["body", "secret", "signature", "scheme", "time"])
def test_what_was_altered_is_refused(simulator, listener, endpoint, change):
    stripe.Customer.create()
    simulator.settle()
    (delivery,) = listener.deliveries
    body, signature, secret = delivery.body, delivery.signature, endpoint.secret
    if change == "body":
        body = body.replace(b"customer", b"Customer", 1)
    elif change == "secret":
        secret += "x"
    elif change == "scheme":
        time, _, v0 = signature.split(",")
        assert v0.startswith("v0=")
        signature = f"{time},{v0}"
    elif change == "signature":
        signature = signature.replace("v1=", "v2=")
    else:
        signature = signature.replace("t=1", "t=2", 1)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature, secret)


def test_a_refused_delivery_is_pending(simulator, listener, endpoint):
    listener.answers = [500]
    customer = stripe.Customer.create()
    simulator.settle()
    events = stripe.Event.list(type="customer.created", limit=1)
    (event,) = events.data
    assert event.data.object.id == customer.id
    assert event.pending_webhooks == 1
    failed = stripe.Event.list(delivery_success=False, limit=1)
    assert [one.id for one in failed.data] == [event.id]


def test_an_endpoint_is_read_changed_disabled_and_listed(simulator, endpoint):
    assert endpoint.secret.startswith("whsec_")
    shown = stripe.WebhookEndpoint.retrieve(endpoint.id)
    assert "secret" not in shown
    assert (shown.status, shown.metadata["a"]) == ("enabled", "b")
    changed = stripe.WebhookEndpoint.modify(endpoint.id, enabled_events=["*"], disabled=True)
    assert (changed.enabled_events, changed.status) == (["*"], "disabled")
    assert endpoint.id in [one.id for one in stripe.WebhookEndpoint.list().auto_paging_iter()]


def test_events_are_listed_by_type_and_time(simulator):
    customer = stripe.Customer.create()
    stripe.Customer.delete(customer.id)
    (event,) = stripe.Event.list(types=["customer.deleted"], limit=1).data
    assert event.data.object.id == customer.id
    assert stripe.Event.retrieve(event.id).type == "customer.deleted"
    later = stripe.Event.list(type="customer.*", created={"gt": event.created + 60})
    assert later.data == []
    both = stripe.Event.list(type="customer.*", created={"gte": event.created - 60}, limit=2)
    assert [one.type for one in both.data] == ["customer.deleted", "customer.created"]


@pytest.mark.newest
def test_a_snapshot_is_no_notification(simulator, listener, endpoint, client):
    stripe.Customer.create()
    simulator.settle()
    (delivery,) = listener.deliveries
    event = client.construct_event(delivery.body, delivery.signature, endpoint.secret)
    assert event.type == "customer.created"
    with pytest.raises(ValueError, match="thin event notification"):
        client.parse_event_notification(delivery.body, delivery.signature, endpoint.secret)


def test_invoices_are_told_from_draft_to_paid(simulator, listener, subscribed):
    endpoint = stripe.WebhookEndpoint.create(
        url=listener.url,
        enabled_events=["invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded"],
        api_version=stripe.api_version,
    )
    story = subscribed()
    story.use(100)
    simulator.settle()
    listener.deliveries.clear()
    story.advance(story.period_end() + 60)
    story.advance(story.clock.frozen_time + 33 * 86_400)
    events = delivered(simulator, listener, endpoint)
    stripe.WebhookEndpoint.delete(endpoint.id)
    of_cycle = [one for one in events if one.data.object.amount_due == 500 or one.type == "invoice.created"]
    assert {one.type for one in of_cycle} == {
        "invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded",
    }  # fmt: skip
    invoice = of_cycle[0].data.object
    if IS_ACACIA:
        assert invoice.subscription == story.subscription.id
    else:
        assert invoice.parent.subscription_details.subscription == story.subscription.id


def test_the_client_style_makes_the_same(simulator, listener):
    services = v1(make_client(simulator))
    endpoint = services.webhook_endpoints.create({"url": listener.url, "enabled_events": ["*"]})
    assert services.webhook_endpoints.retrieve(endpoint.id).url == listener.url
    assert services.webhook_endpoints.delete(endpoint.id).deleted
    assert services.events.list({"limit": 1}).data[0].object == "event"
