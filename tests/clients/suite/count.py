"""Counts what is billed, and holds it against what the client said."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from system import REDELIVERY_S, await_that

REQUESTS_AT_ONCE = 8
# Nothing may be billed for these.
NOT_RECORDED = {
    "refused",
    "invalid",
    "access_denied",
    "action_failed",
    "limit_reached",
    "spool_failed",
}


def count(play):
    """Fails unless the number billed is the number acknowledged."""
    system, customer, expect = play.system, play.customer, play.case["expect"]
    await_what_is_pending(play)
    billed = system.meter_events(customer)
    assert (billed["value"], billed["count"]) == (expect["billed_units"], expect["events"]), (
        f"billed are {billed['value']} units in {billed['count']} events, not "
        f"{expect['billed_units']} in {expect['events']}"
    )
    check_requests(play.proxy.requests, expect)
    check_events(play, billed["data"])
    units = expect["billed_units"]
    await_that(lambda: system.reported_units(customer) == units, f"{units} units in the usage report")


def await_what_is_pending(play):
    """An answer of 202 says that Stripe has the event later."""
    pending = {
        each.event_id for each in play.told if each.outcome and each.outcome["status"] == "pending"
    }

    def is_delivered(event_id):
        row = play.system.recorded_event(play.customer, event_id)
        return row is not None and row["status"] == "delivered"

    for event_id in pending:
        await_that(lambda: is_delivered(event_id), f"{event_id} is delivered", REDELIVERY_S)


def check_requests(requests, expect):
    number = len(requests)
    least, most = expect.get("requests_min", 0), expect.get("requests_max", number)
    assert least <= number <= most, f"{number} requests, not {least} to {most}"
    gaps_ms = [(after - before) * 1000 for before, after in zip(requests, requests[1:])]
    shortest_ms = expect.get("gap_ms_min", 0)
    assert all(gap_ms >= shortest_ms for gap_ms in gaps_ms), f"{gaps_ms} ms, not {shortest_ms}"


def check_events(play, meter_events):
    """Each event that a step chose, and that nothing else is there."""
    in_stripe = defaultdict(list)
    for meter_event in meter_events:
        in_stripe[meter_event["identifier"]].append(int(meter_event["value"]))
    told = defaultdict(list)
    nameless = 0
    for each in play.told:
        if each.request["customer_id"] != play.customer:
            continue
        if each.event_id is None:
            # Killed before it could say which id it had made, or refused without one.
            nameless += each.answer is None
        else:
            told[each.event_id].append(each)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        rows = threads.map(lambda event_id: play.system.recorded_event(play.customer, event_id), told)
    for (event_id, said), row in zip(told.items(), rows):
        quantities = in_stripe.pop(row["identifier"], []) if row else []
        check_event(event_id, said, row, quantities)
    assert len(in_stripe) <= nameless, f"nobody asked for {dict(in_stripe)}"


def check_event(event_id, said, row, quantities):
    shown = f"{event_id}: {said}\nthe row is {row}, Stripe has {quantities}"
    acknowledged = [each.outcome["quantity"] for each in said if each.outcome and not each.will_be]
    if acknowledged:
        assert len(set(acknowledged)) == 1, shown
        assert quantities == acknowledged[:1], shown
        assert (row["status"], row["quantity"]) == ("delivered", acknowledged[0]), shown
    elif all(each.will_be or each.error_kind in NOT_RECORDED for each in said):
        assert row is None and not quantities, shown
    else:
        assert len(quantities) <= 1, shown
