"""OpenTelemetry, where it is installed (``pip install meterline[otel]``); nothing where not.

A span ``meterline.emit`` for each event or list of events, ``meterline.check_access``,
``meterline.reserve`` and ``meterline.release``. With attributes, none of which is personal:
Stripe's customer id, the action type, the quantity, the ids of event and reservation, the outcome.
A request carries the trace's headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ._events import UsageEvent
from ._outcomes import Recorded, Reservation
from ._reservations import Question, Wanted
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
            if isinstance(outcomes[0], Recorded) and outcomes[0].reservation:
                self._span.set_attribute("meterline.reservation", outcomes[0].reservation)
        else:
            for status in sorted(set(statuses)):
                self._span.set_attribute(f"meterline.events.{status}", statuses.count(status))
        duplicates = sum(isinstance(it, Recorded) and it.duplicate for it in outcomes)
        self._span.set_attribute("meterline.duplicates", duplicates)

    def note_reservation(self, reservation: Reservation) -> None:
        """Says where a reservation stands."""
        if self._span is not None:
            self._span.set_attribute("meterline.status", reservation.status)


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
        if events[0].reservation_id is not None:
            attributes["meterline.reservation_id"] = events[0].reservation_id
    with _span("meterline.emit", attributes) as span:
        yield Tracing(span)


@contextmanager
def access_span(question: Question) -> Iterator[None]:
    """The span of a question for access."""
    if not HAS_OPENTELEMETRY:
        yield
        return
    attributes: dict[str, str | int] = {"meterline.customer_id": question.customer_id}
    if question.units is not None:
        attributes["meterline.quantity"] = question.units
    if question.action_type is not None:
        attributes["meterline.action_type"] = question.action_type
    with _span("meterline.check_access", attributes):
        yield


@contextmanager
def reserve_span(wanted: Wanted) -> Iterator[Tracing]:
    """The span of a reservation that is made."""
    if not HAS_OPENTELEMETRY:
        yield Tracing()
        return
    attributes: dict[str, str | int] = {
        "meterline.customer_id": wanted.customer_id,
        "meterline.action_type": wanted.action_type,
        "meterline.quantity": wanted.quantity,
        "meterline.reservation_id": wanted.reservation_id,
    }
    with _span("meterline.reserve", attributes) as span:
        yield Tracing(span)


@contextmanager
def release_span(customer_id: str, reservation_id: str) -> Iterator[Tracing]:
    """The span of one that is given back."""
    if not HAS_OPENTELEMETRY:
        yield Tracing()
        return
    attributes: dict[str, str | int] = {
        "meterline.customer_id": customer_id,
        "meterline.reservation_id": reservation_id,
    }
    with _span("meterline.release", attributes) as span:
        yield Tracing(span)


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
