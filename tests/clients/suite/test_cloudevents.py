"""What the official SDK for CloudEvents sends is taken, in each content mode."""

import json
import re
import sys
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from drivers import REPOSITORY
from local_system import ACTION_TYPE
from test_quick_starts import of_the_system, run

BATCHED = {"content-type": "application/cloudevents-batch+json"}
# An id that a header can hold only encoded.
STRANGE_ID = 'job "7" 100% \u20ac \U0001f600'


def an_event(customer, event_id="job-7", data=None, **attributes):
    of_usage = {"id": event_id, "source": "/agents/7", "type": ACTION_TYPE, "subject": customer}
    return CloudEvent({**of_usage, **attributes}, data)


def send(system, headers, body):
    key = system.keys["$key"]
    headers = {**headers, "authorization": f"Bearer {key}"}
    answer = httpx.post(f"{system.url}/v1/events", headers=headers, content=body, timeout=60)
    return answer.status_code, answer.json()


def send_event(system, to_message, event):
    message = to_message(event)
    return send(system, message.headers, message.body)


@pytest.mark.parametrize("to_message", [to_structured_event, to_binary_event])
def test_an_event_is_billed_once_in_either_mode(to_message, system):
    customer = system.new_customer()
    # With the time that the SDK puts in, and an extension.
    event = an_event(customer, STRANGE_ID, {"quantity": 3, "pages": [1]}, traceparent="00-af-b7-01")
    status, answer = send_event(system, to_message, event)
    assert (status, answer["event_id"], answer["quantity"]) == (200, STRANGE_ID, 3), answer
    assert not answer["duplicate"]
    for again in (to_structured_event, to_binary_event):
        status, answer = send_event(system, again, event)
        assert (status, answer["duplicate"]) == (200, True), answer
    assert system.meter_events(customer)["value"] == 3
    recorded = system.recorded_event(customer, STRANGE_ID)
    assert recorded["source"] == "/agents/7"
    occurred_at = datetime.fromisoformat(recorded["occurred_at"].replace("Z", "+00:00"))
    assert abs(occurred_at - event.get_time()) < timedelta(milliseconds=1)


@pytest.mark.parametrize("to_message", [to_structured_event, to_binary_event])
def test_bytes_a_type_of_json_and_another_offset_are_read(to_message, system):
    customer = system.new_customer()
    time = datetime.now(timezone(timedelta(hours=5, minutes=30)))
    event = an_event(
        customer,
        data=json.dumps({"quantity": 4}).encode(),
        datacontenttype="application/vnd.usage+json; charset=utf-8",
        dataschema="https://example.com/usage.json",
        time=time,
    )
    status, answer = send_event(system, to_message, event)
    assert (status, answer["quantity"]) == (200, 4), answer


@pytest.mark.parametrize("to_message", [to_structured_event, to_binary_event])
def test_an_event_without_data_is_one_unit(to_message, system):
    status, answer = send_event(system, to_message, an_event(system.new_customer()))
    assert (status, answer["quantity"]) == (200, 1), answer


def test_data_that_are_text_are_refused(system):
    event = an_event(system.new_customer(), data="three units", datacontenttype="text/plain")
    status, answer = send_event(system, to_structured_event, event)
    assert (status, answer["field"]) == (400, "datacontenttype")
    status, answer = send_event(system, to_binary_event, event)
    assert (status, answer["type"]) == (415, "urn:meterline:problem:unsupported-media-type")


def test_a_batch_is_answered_event_by_event(system):
    customer = system.new_customer()
    events = [an_event(customer, f"job-{number}", {"quantity": number + 1}) for number in range(9)]
    events.append(an_event(customer, "job-0", {"quantity": 1}, source="/agents/8"))
    # The SDK has no batches: the format is a list of what it writes.
    body = b"[" + b",".join(JSONFormat().write(event) for event in events) + b"]"
    status, answer = send(system, BATCHED, body)
    assert (status, answer["delivered"], answer["rejected"]) == (200, 9, 1), answer
    assert answer["results"][9]["status"] == "conflict"
    assert send(system, BATCHED, body)[1]["duplicates"] == 9
    assert system.meter_events(customer)["value"] == 45


def test_the_page_bills_once_however_often_it_runs(system):
    page = (REPOSITORY / "docs/cloudevents.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    customer = system.new_customer()
    environment = {
        **of_the_system(system, customer),
        "JOB_STARTED_AT": datetime.now(timezone.utc).isoformat(),
    }
    for _ in range(2):
        output = run([sys.executable, "-"], environment, block)
        assert output.split() == ["delivered"]
    assert system.meter_events(customer)["value"] == 3
