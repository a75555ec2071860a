"""A Meterline for your own tests, in memory: real clients, and an API that remembers.

>>> from meterline.testing import FakeMeterline
>>> fake = FakeMeterline()
>>> process_document(fake.client(), "job-7")
>>> assert fake.units("cus_1") == 1

Like the real API it counts an id once and calls other content under it a conflict. Unlike it, every
customer exists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

from ._async_client import AsyncMeterline
from ._client import Meterline
from ._events import UsageEvent
from .errors import PROBLEM

_ACCESS = re.compile(r"/v1/customers/([^/]+)/access")
_URL = "http://meterline.test"
_API_KEY = "mk_test"


class FakeMeterline:
    """Records events, and answers as it is told."""

    def __init__(self) -> None:
        #: What was recorded, in order; a repeat is not recorded again.
        self.events: list[UsageEvent] = []
        #: The headers of each request, in order.
        self.headers: list[httpx.Headers] = []
        self._known: dict[tuple[str, str], UsageEvent] = {}
        self._denied: dict[str, str] = {}
        self._answers: list[httpx.Response | Exception] = []

    def client(self, **settings: Any) -> Meterline:
        """A client of this API, with the settings of :class:`Meterline`."""
        transport = httpx.MockTransport(self._answer)
        return Meterline(_URL, _API_KEY, transport=transport, **settings)

    def async_client(self, **settings: Any) -> AsyncMeterline:
        """The same for asyncio."""
        transport = httpx.MockTransport(self._answer)
        return AsyncMeterline(_URL, _API_KEY, transport=transport, **settings)

    def units(self, customer: str, action: str | None = None) -> int:
        """The units recorded for a customer, of one action or of all."""
        return sum(
            event.quantity
            for event in self.events
            if event.customer_id == customer and action in (None, event.action_type)
        )

    def deny(self, customer: str, reason: str = "payments have failed for too long") -> None:
        """Lets :meth:`Meterline.check_access` say that a customer is suspended."""
        self._denied[customer] = reason

    def refuse(self, problem: str = "forbidden", status: int = 403, times: int = 1) -> None:
        """Answers the next requests with a problem, and records nothing of them."""
        document = {"type": PROBLEM + problem, "title": problem, "status": status, "detail": ""}
        self._answers += [_problem(status, document)] * times

    def fail(self, status: int = 503, times: int = 1) -> None:
        """Answers the next requests as a gateway does that reaches nobody."""
        self._answers += [httpx.Response(status, json={"message": "Service Unavailable"})] * times

    def drop(self, times: int = 1) -> None:
        """Breaks the connection of the next requests, before they are heard."""
        self._answers += [httpx.ReadError("the connection was reset")] * times

    def behave(self) -> None:
        """Answers as it should from now on."""
        self._answers.clear()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        if self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        access = _ACCESS.fullmatch(request.url.path)
        if access:
            return httpx.Response(200, json=self._access(access[1]))
        routes: dict[str, Callable[[Any], tuple[int, Any]]] = {
            "/v1/usage": self._record,
            "/v1/usage/batch": self._record_batch,
        }
        status, document = routes[request.url.path](json.loads(request.content))
        return (
            _problem(status, document) if status >= 400 else httpx.Response(status, json=document)
        )

    def _access(self, customer: str) -> dict[str, Any]:
        reason = self._denied.get(customer)
        return {
            "allowed": reason is None,
            "reason": reason,
            "status": "active" if reason is None else "suspended",
            "units": self.units(customer),
            "limit": None,
        }

    def _record_batch(self, body: Any) -> tuple[int, Any]:
        results = []
        for fields in body["events"]:
            status, document = self._record(fields)
            if status >= 400:
                document = {"event_id": fields["event_id"], "status": "conflict", "error": document}
            results.append(document)
        return 200, {"results": results}

    def _record(self, fields: Any) -> tuple[int, Any]:
        event = UsageEvent.from_json(fields)
        key = (event.customer_id, event.event_id)
        known = self._known.setdefault(key, event)
        if not known.has_content_of(event):
            title = "The id is in use for something else"
            return 409, {"type": f"{PROBLEM}conflict", "title": title, "status": 409, "detail": ""}
        duplicate = known is not event
        if not duplicate:
            self.events.append(event)
        return 200, {
            "event_id": event.event_id,
            "status": "delivered",
            "duplicate": duplicate,
            "quantity": event.quantity,
            "customer_status": self._access(event.customer_id)["status"],
        }


def _problem(status: int, document: Any) -> httpx.Response:
    return httpx.Response(
        status, content=json.dumps(document), headers={"content-type": "application/problem+json"}
    )
