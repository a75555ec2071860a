"""The v2 API: meter event sessions and the stream, events and event destinations."""

import time
from datetime import datetime, timezone

import pytest
import stripe

from conftest import HOUR, IS_ACACIA, make_client, make_meter, unique


def rfc3339(unix_s):
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat().replace("+00:00", "Z")


def event(meter, customer, value="1", **params):
    payload = {"stripe_customer_id": customer.id, "value": value}
    return {"event_name": meter.event_name, "payload": payload, "identifier": unique("v2"), **params}


@pytest.fixture
def metered(simulator):
    return make_meter(), stripe.Customer.create()


@pytest.fixture
def stream(client, simulator):
    """A client of the session that the stream takes."""
    session = client.v2.billing.meter_event_session.create()
    assert session.object == "v2.billing.meter_event_session"
    assert session.expires_at > session.created
    return make_client(simulator, session.authentication_token).v2.billing.meter_event_stream


def counted(meter, customer):
    now = int(time.time()) // 60 * 60
    window = {"start_time": now - HOUR, "end_time": now + HOUR}
    summaries = stripe.billing.Meter.list_event_summaries(meter.id, customer=customer.id, **window)
    return sum(one.aggregated_value for one in summaries.data)


def test_the_stream_takes_a_hundred_events_at_once(metered, stream, simulator):
    now = int(time.time())
    events = [event(*metered, timestamp=rfc3339(now)) for _ in range(100)]
    stream.create({"events": events})
    simulator.settle()
    assert counted(*metered) == 100


def test_the_stream_counts_an_identifier_once(metered, stream, simulator):
    once = event(*metered, value="5")
    stream.create({"events": [once, once]})
    stream.create({"events": [once]})
    simulator.settle()
    assert counted(*metered) == 5


def test_a_single_event_is_answered(metered, client, simulator):
    sent = event(*metered, value="7", timestamp=rfc3339(int(time.time())))
    taken = client.v2.billing.meter_events.create(sent)
    assert taken.object == "v2.billing.meter_event"
    assert taken.identifier == sent["identifier"]
    assert taken.payload["value"] == "7"
    simulator.settle()
    assert counted(*metered) == 7


def test_an_adjustment_cancels_an_event(metered, client, simulator):
    meter, customer = metered
    taken = client.v2.billing.meter_events.create(event(meter, customer, value="7"))
    cancelled = client.v2.billing.meter_event_adjustments.create(
        {"type": "cancel", "event_name": meter.event_name, "cancel": {"identifier": taken.identifier}}
    )
    assert cancelled.object == "v2.billing.meter_event_adjustment"
    assert cancelled.cancel.identifier == taken.identifier
    simulator.settle()
    assert counted(meter, customer) == 0


def reports(client, meter):
    events = client.v2.core.events.list({"object_id": meter.id})
    return [one for one in events.auto_paging_iter() if one.type.endswith("error_report_triggered")]


def test_what_is_wrong_in_the_stream_is_reported_later(metered, stream, client, simulator):
    meter, customer = metered
    stranger = event(meter, stripe.Customer.construct_from({"id": "cus_nobody"}, None))
    no_number = event(meter, customer, value="many")
    stream.create({"events": [event(meter, customer), stranger, no_number]})
    simulator.settle()
    (report,) = reports(client, meter)
    report = client.v2.core.events.retrieve(report.id)
    assert report.object == "v2.core.event"
    assert report.type == "v1.billing.meter.error_report_triggered"
    assert report.data.reason.error_count == 2
    assert report.related_object.id == meter.id
    by_code = {one.code: one.sample_errors[0] for one in report.data.reason.error_types}
    assert by_code.keys() == {"meter_event_customer_not_found", "meter_event_invalid_value"}
    found = by_code["meter_event_customer_not_found"]
    assert found["request"].identifier == stranger["identifier"]
    assert found.error_message
    assert report.fetch_related_object().id == meter.id


def test_an_event_without_a_meter_is_reported_later(stream, client, simulator):
    payload = {"stripe_customer_id": stripe.Customer.create().id, "value": "1"}
    sent = {"event_name": unique("nothing"), "payload": payload, "identifier": unique("v2")}
    stream.create({"events": [sent]})
    simulator.settle()
    listed = client.v2.core.events.list({"limit": 5})
    report = next(one for one in listed.data if one.type == "v1.billing.meter.no_meter_found")
    report = client.v2.core.events.retrieve(report.id)
    samples = [one for types in report.data.reason.error_types for one in types.sample_errors]
    assert sent["identifier"] in [one["request"].identifier for one in samples]


@pytest.fixture
def destination(client, listener):
    made = client.v2.core.event_destinations.create(
        {
            "name": "Errors",
            "description": "What the stream refused",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": ["v1.billing.meter.error_report_triggered"],
            "webhook_endpoint": {"url": listener.url},
            "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
            "metadata": {"a": "b"},
        }
    )
    yield made
    client.v2.core.event_destinations.delete(made.id)


def test_a_thin_event_is_delivered_signed_and_fetched(
    metered, stream, client, simulator, listener, destination
):
    stream.create({"events": [event(*metered, value="many")]})
    simulator.settle()
    (delivery,) = listener.deliveries
    secret = destination.webhook_endpoint.signing_secret
    parse = client.parse_thin_event if IS_ACACIA else client.parse_event_notification
    notification = parse(delivery.body, delivery.signature, secret)
    assert notification.type == "v1.billing.meter.error_report_triggered"
    assert notification.related_object.id == metered[0].id
    if IS_ACACIA:
        full = client.v2.core.events.retrieve(notification.id)
    else:
        full = notification.fetch_event()
        assert notification.fetch_related_object().event_name == metered[0].event_name
    assert full.id == notification.id
    assert full.data.reason.error_count == 1
    with pytest.raises(stripe.SignatureVerificationError):
        parse(delivery.body + b" ", delivery.signature, secret)


def test_a_destination_is_read_changed_disabled_and_enabled(client, destination):
    destinations = client.v2.core.event_destinations
    assert (destination.object, destination.status) == ("v2.core.event_destination", "enabled")
    assert destination.webhook_endpoint.signing_secret.startswith("whsec_")
    shown = destinations.retrieve(destination.id, {"include": ["webhook_endpoint.url"]})
    assert shown.webhook_endpoint.url == destination.webhook_endpoint.url
    assert shown.webhook_endpoint.signing_secret is None
    changed = destinations.update(destination.id, {"description": "Changed"})
    assert (changed.description, changed.name) == ("Changed", "Errors")
    disabled = destinations.disable(destination.id)
    assert (disabled.status, disabled.status_details.disabled.reason) == ("disabled", "user")
    assert destinations.enable(destination.id).status == "enabled"
    assert destination.id in [one.id for one in destinations.list({"limit": 1}).auto_paging_iter()]


def test_a_destination_is_pinged(client, simulator, listener, destination):
    pinged = client.v2.core.event_destinations.ping(destination.id)
    assert pinged.type == "v2.core.event_destination.ping"
    simulator.settle()
    (delivery,) = listener.deliveries
    parse = client.parse_thin_event if IS_ACACIA else client.parse_event_notification
    secret = destination.webhook_endpoint.signing_secret
    assert parse(delivery.body, delivery.signature, secret).id == pinged.id


def test_events_are_listed_by_type_and_time(client, stream, simulator):
    meter, customer = make_meter(), stripe.Customer.create()
    stream.create({"events": [event(meter, customer, value="many")]})
    simulator.settle()
    types = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"]
    (report,) = client.v2.core.events.list({"object_id": meter.id, "types": types}).data
    assert client.v2.core.events.list({"object_id": meter.id, "types": types[1:]}).data == []
    hour_ago, in_an_hour = (rfc3339(int(time.time()) + away) for away in (-HOUR, HOUR))
    within = {"gte": hour_ago, "lt": in_an_hour}
    (again,) = client.v2.core.events.list({"object_id": meter.id, "created": within}).data
    assert again.id == report.id
    later = client.v2.core.events.list({"object_id": meter.id, "created": {"gt": in_an_hour}})
    assert later.data == []


def test_v2_lists_are_paged_by_links(client, stream, simulator):
    for _ in range(3):
        meter, customer = make_meter(), stripe.Customer.create()
        stream.create({"events": [event(meter, customer, value="many")]})
        simulator.settle()
    first = client.v2.core.events.list({"limit": 2})
    assert len(first.data) == 2
    assert first.next_page_url
    every = [one.id for one in first.auto_paging_iter()]
    assert len(every) == len(set(every)) >= 3
