"""Traces, with OpenTelemetry's own SDK; and a client that works without it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meterline import LimitReached, PerhapsRecorded, UsageEvent
from meterline.testing import FakeMeterline

EXPORTER = InMemorySpanExporter()

WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from meterline.testing import FakeMeterline
fake = FakeMeterline()
fake.client().emit("cus_1", "read")
fake.client().check_access("cus_1", units=1)
fake.client().reserve("cus_1", "read", 1, reservation_id="a")
fake.client().release("cus_1", "a")
assert fake.units("cus_1") == 1
"""


@pytest.fixture(scope="module", autouse=True)
def provider() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)


@pytest.fixture(autouse=True)
def cleared() -> Iterator[None]:
    yield
    EXPORTER.clear()


def only_span() -> ReadableSpan:
    (span,) = EXPORTER.get_finished_spans()
    return span


def test_an_event_is_a_span_with_its_outcome(fake: FakeMeterline) -> None:
    fake.client().emit("cus_1", "read", 3, event_id="a")
    span = only_span()
    assert span.name == "meterline.emit"
    assert dict(span.attributes or {}) == {
        "meterline.events": 1,
        "meterline.customer_id": "cus_1",
        "meterline.action_type": "read",
        "meterline.quantity": 3,
        "meterline.event_id": "a",
        "meterline.status": "delivered",
        "meterline.duplicates": 0,
    }


def test_an_error_is_in_its_span(fake: FakeMeterline) -> None:
    fake.drop()
    with pytest.raises(PerhapsRecorded):
        fake.client(retry_budget_s=0).emit("cus_1", "read")
    span = only_span()
    assert (span.attributes or {})["meterline.status"] == "perhaps_recorded"
    assert span.status.status_code is trace.StatusCode.ERROR


def test_many_events_are_one_span(fake: FakeMeterline) -> None:
    fake.client().emit_many([UsageEvent.new("cus_1", "read", event_id=name) for name in "aba"])
    attributes = only_span().attributes or {}
    assert (attributes["meterline.events"], attributes["meterline.events.delivered"]) == (3, 3)
    assert attributes["meterline.duplicates"] == 1


def test_a_reservation_is_a_span_from_its_beginning_to_its_end(fake: FakeMeterline) -> None:
    client = fake.client()
    client.reserve("cus_1", "read", 3, reservation_id="r")
    client.emit("cus_1", "read", 2, event_id="a", reservation_id="r")
    client.release("cus_1", "r")
    spans = {span.name: dict(span.attributes or {}) for span in EXPORTER.get_finished_spans()}
    assert spans["meterline.reserve"] == {
        "meterline.customer_id": "cus_1",
        "meterline.action_type": "read",
        "meterline.quantity": 3,
        "meterline.reservation_id": "r",
        "meterline.status": "held",
    }
    assert spans["meterline.emit"]["meterline.reservation_id"] == "r"
    assert spans["meterline.emit"]["meterline.reservation"] == "settled"
    assert spans["meterline.release"] == {
        "meterline.customer_id": "cus_1",
        "meterline.reservation_id": "r",
        "meterline.status": "settled",
    }


def test_a_limit_that_is_reached_is_in_its_span(fake: FakeMeterline) -> None:
    fake.limit("cus_1", 2)
    with pytest.raises(LimitReached):
        fake.client().reserve("cus_1", "read", 3)
    assert (only_span().attributes or {})["meterline.status"] == "limit_reached"


def test_a_question_says_for_how_much(fake: FakeMeterline) -> None:
    fake.client().check_access("cus_1", units=3, action="read")
    assert dict(only_span().attributes or {}) == {
        "meterline.customer_id": "cus_1",
        "meterline.quantity": 3,
        "meterline.action_type": "read",
    }


def test_the_trace_goes_on_in_the_request(fake: FakeMeterline) -> None:
    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("work") as work:
        fake.client().emit("cus_1", "read")
    assert format(work.get_span_context().trace_id, "032x") in fake.headers[0]["traceparent"]


def test_a_client_works_without_opentelemetry() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WITHOUT], env=environment, check=True)
