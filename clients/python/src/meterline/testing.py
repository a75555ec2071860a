"""A Meterline for your own tests, in memory: real clients, and an API that remembers.

>>> from meterline.testing import FakeMeterline
>>> fake = FakeMeterline()
>>> process_document(fake.client(), "job-7")
>>> assert fake.units("cus_1") == 1

Like the real API it counts an id once and calls other content under it a conflict, and holds no
more units than a hard limit leaves. Unlike it, every customer exists, limits are in units, one
meter counts every action, the totals count an event at once, and a reservation expires when the
test says so.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import httpx

from ._async_client import AsyncMeterline
from ._checks import checked_whole
from ._client import Meterline
from ._events import UsageEvent
from ._reservations import UNITS_MAX, Wanted
from .errors import LIMIT_REACHED, PROBLEM

_ACCESS = re.compile(r"/v1/customers/([^/]+)/access")
_RESERVATION = re.compile(r"/v1/usage/reservations/([^/]+)")
#: For how long the API holds units unless told otherwise.
_EXPIRES_IN_S = 300
_URL = "http://meterline.test"
_API_KEY = "mk_test"


@dataclass(frozen=True)
class _Limit:
    """A limit of so many units."""

    units: int
    enforcement: str
    set_at: str


@dataclass
class _Reservation:
    """A reservation, and where it stands."""

    wanted: Wanted
    expires_at: str
    status: str = "held"

    def to_json(self) -> dict[str, Any]:
        wanted = {name: it for name, it in self.wanted.to_json().items() if name != "expires_in_s"}
        return {**wanted, "status": self.status, "expires_at": self.expires_at}


class FakeMeterline:
    """Records events, and answers as it is told."""

    def __init__(self) -> None:
        #: What was recorded, in order; a repeat is not recorded again.
        self.events: list[UsageEvent] = []
        #: The headers of each request, in order.
        self.headers: list[httpx.Headers] = []
        self._known: dict[tuple[str, str], UsageEvent] = {}
        #: What became of the reservations that events named, by the event.
        self._settled: dict[tuple[str, str], str | None] = {}
        self._reservations: dict[tuple[str, str], _Reservation] = {}
        self._limits: dict[str, _Limit] = {}
        self._denied: dict[str, str] = {}
        #: Clients call from many threads.
        self._lock = threading.Lock()
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

    def held_units(self, customer: str) -> int:
        """The units that reservations of a customer hold."""
        return sum(
            reservation.wanted.quantity
            for reservation in list(self._reservations.values())
            if reservation.wanted.customer_id == customer and reservation.status == "held"
        )

    def limit(
        self,
        customer: str,
        units: int | None,
        enforcement: Literal["hard", "soft"] = "hard",
    ) -> None:
        """Sets the spending limit of a customer; None takes it away."""
        if units is None:
            self._limits.pop(customer, None)
        else:
            checked_whole(units, "units", UNITS_MAX)
            self._limits[customer] = _Limit(units, enforcement, _rfc_3339())

    def expire(self, customer: str, reservation_id: str) -> None:
        """Ends a reservation that is held, as the API does with one whose time is over."""
        reservation = self._reservations[customer, reservation_id]
        if reservation.status == "held":
            reservation.status = "expired"

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
        with self._lock:
            return self._answer_in_turn(request)

    def _answer_in_turn(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        if self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        status, document = self._routed(request)
        return (
            _problem(status, document) if status >= 400 else httpx.Response(status, json=document)
        )

    def _routed(self, request: httpx.Request) -> tuple[int, Any]:
        path, query = request.url.path, request.url.params
        if access := _ACCESS.fullmatch(path):
            return 200, self._access(access[1], int(query.get("units", 0)))
        if reservation := _RESERVATION.fullmatch(path):
            return self._release(query["customer_id"], reservation[1])
        routes = {
            "/v1/usage": self._record,
            "/v1/usage/batch": self._record_batch,
            "/v1/usage/reservations": self._reserve,
        }
        return routes[path](json.loads(request.content))

    def _access(self, customer: str, units: int = 0) -> dict[str, Any]:
        limit = self._limits.get(customer)
        reason = self._denied.get(customer) or self._stopped(customer, units)
        return {
            "allowed": reason is None,
            "reason": reason,
            "status": self._status(customer),
            "units": self.units(customer),
            "limit": limit.units if limit else None,
            "spending_limit": self._standing(customer, limit) if limit else None,
        }

    def _status(self, customer: str) -> str:
        return "suspended" if customer in self._denied else "active"

    def _stopped(self, customer: str, more: int) -> str | None:
        """Why a hard limit stops a customer, if it does."""
        left = self._hard_left_units(customer)
        if left is None:
            return None
        if left == 0:
            return "the spending limit of the period is reached"
        if more > left:
            return "so many units are more than what is left of the spending limit"
        return None

    def _hard_left_units(self, customer: str) -> int | None:
        """What is left of a hard limit; None where nothing stops."""
        limit = self._limits.get(customer)
        if limit is None or limit.enforcement == "soft":
            return None
        return self._left_units(customer, limit)

    def _left_units(self, customer: str, limit: _Limit) -> int:
        return max(0, limit.units - self.units(customer) - self.held_units(customer))

    def _standing(self, customer: str, limit: _Limit) -> dict[str, Any]:
        used_units = self.units(customer)
        return {
            "units": limit.units,
            "amount": None,
            "currency": "usd",
            "enforcement": limit.enforcement,
            "thresholds_percent": [],
            "set_at": limit.set_at,
            "used_units": used_units,
            "used_amount": "0.00",
            "used_currency": "usd",
            "held_units": self.held_units(customer),
            "used_percent": used_units * 100 // limit.units,
            "left_units": self._left_units(customer, limit),
            "left_amount": None,
            "alerts": [],
        }

    def _reserve(self, fields: Any) -> tuple[int, Any]:
        wanted = _wanted(fields)
        key = (wanted.customer_id, wanted.reservation_id)
        known = self._reservations.get(key)
        if known is not None:
            is_same = (known.wanted.quantity, known.wanted.action_type) == (
                wanted.quantity,
                wanted.action_type,
            )
            if is_same and known.status == "held":
                return 200, self._with_status(known)
            return 409, {**_CONFLICT, "reservation_status": known.status}
        left = self._hard_left_units(wanted.customer_id)
        if left is not None and wanted.quantity > left:
            return 402, {**_LIMIT_REACHED, "left_units": left, "left_amount": None}
        seconds = wanted.expires_in_s or _EXPIRES_IN_S
        held = self._reservations[key] = _Reservation(wanted, _rfc_3339(seconds))
        return 201, self._with_status(held)

    def _with_status(self, held: _Reservation) -> dict[str, Any]:
        return {**held.to_json(), "customer_status": self._status(held.wanted.customer_id)}

    def _release(self, customer: str, reservation_id: str) -> tuple[int, Any]:
        reservation = self._reservations.get((customer, reservation_id))
        if reservation is None:
            return 404, _NOT_FOUND
        if reservation.status == "held":
            reservation.status = "released"
        return 200, reservation.to_json()

    def _settle(self, event: UsageEvent) -> str | None:
        """What becomes of the reservation that a new event names."""
        if event.reservation_id is None:
            return None
        reservation = self._reservations.get((event.customer_id, event.reservation_id))
        if reservation is None:
            return "unknown"
        if reservation.status == "settled":
            return "settled_before"
        if reservation.status == "held":
            reservation.status = "settled"
        return reservation.status

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
            return 409, _CONFLICT
        duplicate = known is not event
        if not duplicate:
            self.events.append(event)
            self._settled[key] = self._settle(event)
        recorded = {
            "event_id": event.event_id,
            "status": "delivered",
            "duplicate": duplicate,
            "quantity": event.quantity,
            "customer_status": self._status(event.customer_id),
        }
        # A repeat is told what became of it then.
        if settled := self._settled[key]:
            recorded["reservation"] = settled
        return 200, recorded


_CONFLICT = {
    "type": f"{PROBLEM}conflict",
    "title": "The id is in use for something else",
    "status": 409,
    "detail": "",
}
_LIMIT_REACHED = {
    "type": LIMIT_REACHED,
    "title": "The spending limit is reached",
    "status": 402,
    "detail": "",
}
_NOT_FOUND = {"type": f"{PROBLEM}not-found", "title": "Not found", "status": 404, "detail": ""}


def _rfc_3339(in_s: int = 0) -> str:
    at = datetime.now(timezone.utc) + timedelta(seconds=in_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _wanted(fields: Any) -> Wanted:
    return Wanted.new(
        fields["customer_id"],
        fields["action_type"],
        fields["quantity"],
        reservation_id=fields["reservation_id"],
        expires_in_s=fields.get("expires_in_s"),
    )


def _problem(status: int, document: Any) -> httpx.Response:
    return httpx.Response(
        status, content=json.dumps(document), headers={"content-type": "application/problem+json"}
    )
