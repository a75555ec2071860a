"""Meters and meter events, v1."""

import time

import pytest
import stripe

from conftest import DAY, HOUR, make_client, make_meter, unique, v1


def send(meter, customer, value=1, **params):
    return stripe.billing.MeterEvent.create(
        event_name=meter.event_name,
        payload={"stripe_customer_id": customer.id, "value": str(value)},
        **params,
    )


@pytest.fixture
def metered(simulator):
    return make_meter(), stripe.Customer.create()


def summaries(meter, customer, **params):
    """Of the two hours around now, on whole minutes."""
    now = int(time.time()) // 60 * 60
    window = {"start_time": now - HOUR, "end_time": now + HOUR, **params}
    return stripe.billing.Meter.list_event_summaries(meter.id, customer=customer.id, **window)


def test_a_meter_is_made_renamed_deactivated_and_reactivated(simulator):
    meter = make_meter()
    assert (meter.object, meter.status) == ("billing.meter", "active")
    assert meter.default_aggregation.formula == "sum"
    renamed = stripe.billing.Meter.modify(meter.id, display_name="More tokens")
    assert renamed.display_name == "More tokens"
    gone = stripe.billing.Meter.deactivate(meter.id)
    assert gone.status == "inactive"
    assert gone.status_transitions.deactivated_at >= meter.created
    assert meter.id in [one.id for one in stripe.billing.Meter.list(status="inactive").data]
    back = stripe.billing.Meter.reactivate(meter.id)
    assert (back.status, back.status_transitions.deactivated_at) == ("active", None)
    assert stripe.billing.Meter.retrieve(meter.id).status == "active"


def test_an_event_answers_what_was_taken(metered):
    meter, customer = metered
    moment = int(time.time()) - HOUR
    event = send(meter, customer, 25, identifier=unique("id"), timestamp=moment)
    assert event.object == "billing.meter_event"
    assert (event.event_name, event.timestamp) == (meter.event_name, moment)
    assert event.payload["value"] == "25"
    assert event.identifier.startswith("id_")


def test_an_event_without_identifier_and_time_gets_both(metered):
    event = send(*metered)
    assert event.identifier
    assert abs(event.timestamp - event.created) <= 1


def test_summaries_know_aggregated_events(metered, simulator):
    meter, customer = metered
    send(meter, customer, 25)
    send(meter, customer, 17)
    assert [one.aggregated_value for one in summaries(meter, customer).data] in ([], [0])
    simulator.settle()
    (summary,) = summaries(meter, customer).data
    assert summary.object == "billing.meter_event_summary"
    assert (summary.aggregated_value, summary.meter) == (42, meter.id)


@pytest.mark.parametrize("window", ["hour", "day"])
def test_summaries_are_grouped(metered, simulator, window):
    meter, customer = metered
    width = {"hour": HOUR, "day": DAY}[window]
    today = int(time.time()) // width * width
    for ago in (0, 1, 2):
        send(meter, customer, 10 + ago, timestamp=today - ago * width)
    simulator.settle()
    grouped = summaries(
        meter, customer, start_time=today - 2 * width, end_time=today + width, value_grouping_window=window
    )
    by_start = {one.start_time: one.aggregated_value for one in grouped.auto_paging_iter()}
    assert by_start == {today: 10, today - width: 11, today - 2 * width: 12}


@pytest.mark.parametrize(("formula", "expected"), [("sum", 9), ("count", 2), ("last", 4)])
def test_meters_aggregate_by_their_formula(simulator, formula, expected):
    meter = stripe.billing.Meter.create(
        display_name="Formula", event_name=unique("formula"), default_aggregation={"formula": formula}
    )
    customer = stripe.Customer.create()
    now = int(time.time())
    send(meter, customer, 5, timestamp=now - 60)
    send(meter, customer, 4, timestamp=now)
    simulator.settle()
    (summary,) = summaries(meter, customer).data
    assert summary.aggregated_value == expected


def test_a_meter_names_its_payload_keys(simulator):
    meter = stripe.billing.Meter.create(
        display_name="Own keys",
        event_name=unique("own_keys"),
        default_aggregation={"formula": "sum"},
        customer_mapping={"event_payload_key": "who", "type": "by_id"},
        value_settings={"event_payload_key": "how_many"},
    )
    customer = stripe.Customer.create()
    stripe.billing.MeterEvent.create(
        event_name=meter.event_name, payload={"who": customer.id, "how_many": "3", "color": "red"}
    )
    simulator.settle()
    assert summaries(meter, customer).data[0].aggregated_value == 3


def test_an_adjustment_cancels_an_event(metered, simulator):
    meter, customer = metered
    event = send(meter, customer, 25)
    send(meter, customer, 1)
    cancelled = stripe.billing.MeterEventAdjustment.create(
        event_name=meter.event_name, type="cancel", cancel={"identifier": event.identifier}
    )
    assert cancelled.object == "billing.meter_event_adjustment"
    assert (cancelled.status, cancelled.type) == ("pending", "cancel")
    assert cancelled.cancel.identifier == event.identifier
    simulator.settle()
    assert summaries(meter, customer).data[0].aggregated_value == 1


def test_the_client_style_makes_the_same(simulator, metered):
    meter, customer = metered
    billing = v1(make_client(simulator)).billing
    payload = {"stripe_customer_id": customer.id, "value": "7"}
    event = billing.meter_events.create({"event_name": meter.event_name, "payload": payload})
    cancel = {"type": "cancel", "event_name": meter.event_name, "cancel": {"identifier": event.identifier}}
    assert billing.meter_event_adjustments.create(cancel).type == "cancel"
    assert billing.meters.deactivate(meter.id).status == "inactive"
    assert billing.meters.reactivate(meter.id).status == "active"
    assert billing.meters.update(meter.id, {"display_name": "Client"}).display_name == "Client"
    now = int(time.time()) // 60 * 60
    window = {"customer": customer.id, "start_time": now - HOUR, "end_time": now + HOUR}
    event_summaries = billing.meters.event_summaries
    assert event_summaries.list(meter.id, window).object == "list"
