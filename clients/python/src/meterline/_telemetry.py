"""OpenTelemetry, where it is installed (``pip install meterline[otel]``); nothing where not.

A span ``meterline.emit`` for each event or list of events, and ``meterline.check_access``. With
attributes, none of which is personal: Stripe's customer id, the action type, the quantity, the
event id, the outcome. A request carries the trace's headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._events import UsageEvent
from ._outcomes import Recorded
from ._version import VERSION
from .errors import MeterlineError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

try:
    from opentelemetry import propagate, trace
except ImportError:
    HAS_OPENTELEMETRY = False
else:
    HAS_OPENTELEMETRY = True


class Tracing:
    """A span, or nothing."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def note(self, outcomes: Sequence[Recorded | MeterlineError]) -> None:
        """Says what became of the events."""
        if self._span is None:
            return
        statuses = [it.status if isinstance(it, Recorded) else it.kind for it in outcomes]
        if len(statuses) == 1:
            self._span.set_attribute("meterline.status", statuses[0])
        else:
            for status in sorted(set(statuses)):
                self._span.set_attribute(f"meterline.events.{status}", statuses.count(status))
        duplicates = sum(isinstance(it, Recorded) and it.duplicate for it in outcomes)
        self._span.set_attribute("meterline.duplicates", duplicates)


@contextmanager
def emit_span(events: Sequence[UsageEvent]) -> Iterator[Tracing]:
    """The span of an emission. An error that passes is recorded in it."""
    if not HAS_OPENTELEMETRY:
        yield Tracing()
        return
    attributes: dict[str, str | int] = {"meterline.events": len(events)}
    if len(events) == 1:
        attributes |= {
            "meterline.customer_id": events[0].customer_id,
            "meterline.action_type": events[0].action_type,
            "meterline.quantity": events[0].quantity,
            "meterline.event_id": events[0].event_id,
        }
    with _span("meterline.emit", attributes) as span:
        yield Tracing(span)


@contextmanager
def access_span(customer_id: str) -> Iterator[None]:
    """The span of a question for access."""
    if not HAS_OPENTELEMETRY:
        yield
        return
    with _span("meterline.check_access", {"meterline.customer_id": customer_id}):
        yield


@contextmanager
def _span(name: str, attributes: dict[str, str | int]) -> Iterator[Span]:
    tracer = trace.get_tracer("meterline", VERSION)
    with tracer.start_as_current_span(
        name, kind=trace.SpanKind.CLIENT, attributes=attributes
    ) as span:
        try:
            yield span
        except MeterlineError as error:
            span.set_attribute("meterline.status", error.kind)
            raise


def trace_headers() -> dict[str, str]:
    """What carries the current trace to the API."""
    headers: dict[str, str] = {}
    if HAS_OPENTELEMETRY:
        propagate.inject(headers)
    return headers
