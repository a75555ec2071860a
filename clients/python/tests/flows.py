"""Plays the flows of a client on a clock of the test's: attempts are answered from a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from meterline import Access, MeterlineError, Recorded, Reservation, UsageEvent, _core, _flow
from meterline._outcomes import Verdict
from meterline._protocol import Answer, Attempt, NoAnswer, Request
from meterline._reservations import Question, Wanted

PROBLEM = "urn:meterline:problem:"
LOST = NoAnswer("the connection was reset", perhaps_heard=True)
NOT_HEARD = NoAnswer("connection refused", perhaps_heard=False)


class World:
    """Answers attempts from a list, and lets time pass only in waits."""

    def __init__(self, *attempts: Attempt, budget_s: float = 30, jitter: float = 1.0) -> None:
        self.now_s = 1000.0
        self.sent: list[Any] = []
        self.requests: list[Request] = []
        self.waits_s: list[float] = []
        self._attempts = list(attempts)
        self.core = _core.Core(budget_s, clock=lambda: self.now_s, jitter=lambda: jitter)

    def perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Send):
            self.requests.append(effect.request)
            self.sent.append(json.loads(effect.request.body or b"null"))
            return self._attempts.pop(0)
        if isinstance(effect, _flow.Sleep):
            self.waits_s.append(effect.seconds)
            self.now_s += effect.seconds
            return False
        if isinstance(effect, _flow.Blocking):
            return effect.call()
        if isinstance(effect, _flow.AwaitWork):
            # There is no more: the client closes.
            return True
        raise AssertionError(effect)

    def emit(self, event: UsageEvent) -> Recorded:
        return _flow.run(_core.emit(self.core, event), self.perform)

    def reserve(self, wanted: Wanted) -> Reservation:
        return _flow.run(_core.reserve(self.core, wanted), self.perform)

    def release(self, reservation_id: str) -> Reservation:
        return _flow.run(_core.release(self.core, "cus_1", reservation_id), self.perform)

    def check_access(self, **question: Any) -> Access:
        asked = Question.new("cus_1", **question)
        return _flow.run(_core.check_access(self.core, asked), self.perform)

    def emit_many(self, events: Sequence[UsageEvent]) -> list[Recorded | MeterlineError]:
        return _flow.run(_core.emit_many(self.core, events), self.perform)

    def deliver(self, events: Sequence[UsageEvent]) -> list[Verdict]:
        flow = _core.deliver(self.core, events, self.core.deadline())
        return _flow.run(flow, self.perform)


def event(event_id: str = "a", quantity: int = 1) -> UsageEvent:
    return UsageEvent.new("cus_1", "read", quantity, event_id=event_id)


def result(event_id: str = "a", **fields: Any) -> dict[str, Any]:
    recorded = {
        "status": "delivered",
        "duplicate": False,
        "quantity": 1,
        "customer_status": "active",
    }
    return {"event_id": event_id, **recorded, **fields}


def recorded(event_id: str = "a", code: int = 200, **fields: Any) -> Answer:
    return Answer(code, json.dumps(result(event_id, **fields)).encode())


def refused(status: int, problem: str, retry_after: str | None = None, **more: Any) -> Answer:
    body = {"type": PROBLEM + problem, "title": problem, "status": status, "detail": "because"}
    return Answer(status, json.dumps(body | more).encode(), retry_after)


def wanted(reservation_id: str = "r") -> Wanted:
    return Wanted.new("cus_1", "read", 3, reservation_id=reservation_id)


def reservation(reservation_id: str = "r", code: int = 201, **fields: Any) -> Answer:
    held = {"status": "held", "quantity": 3, "expires_at": "2026-01-31T12:05:00Z"}
    body = {"reservation_id": reservation_id, "customer_id": "cus_1", **held, **fields}
    return Answer(code, json.dumps(body).encode())


def access(**fields: Any) -> Answer:
    body = {"allowed": True, "reason": None, "status": "active", "units": 7, "limit": None}
    return Answer(200, json.dumps(body | fields).encode())


def gateway(status: int, retry_after: str | None = None, date: str | None = None) -> Answer:
    return Answer(status, b'{"message":"Service Unavailable"}', retry_after, date)


def batch(*results: Any) -> Answer:
    return Answer(200, json.dumps({"results": results}).encode())
