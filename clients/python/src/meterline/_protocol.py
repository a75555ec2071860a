"""The API's requests and answers, without any I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from ._events import UsageEvent
from ._outcomes import (
    Access,
    Recorded,
    Refusal,
    Reservation,
    SpendingLimit,
    SpendingLimitAlert,
    Unsure,
    Verdict,
)
from ._reservations import Question, Wanted
from .errors import PROBLEM, Problem

#: As much of an unexpected answer as an error shows, in characters.
_EXCERPT_CHARS_MAX = 200
#: A wait of more digits is none that anybody means.
_RETRY_AFTER_DIGITS_MAX = 9


@dataclass(frozen=True)
class Request:
    """A request, without address and key."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Where an attempt is given up sooner than the client's others.
    timeout_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """An answer that came in whole."""

    status: int
    body: bytes
    retry_after: str | None = None
    #: When it was made, by the clock of who made it.
    date: str | None = None


@dataclass(frozen=True)
class NoAnswer:
    """An attempt without one."""

    reason: str
    #: Whether the API may have heard of the request.
    perhaps_heard: bool


Attempt = Answer | NoAnswer


class _Unreadable(Exception):
    """An answer that is not one of the API's."""


def usage_request(events: Sequence[UsageEvent]) -> Request:
    """Records one event, or up to a hundred with an outcome each."""
    if len(events) == 1:
        return Request("POST", "/v1/usage", _encoded(events[0].to_json()))
    body = {"events": [event.to_json() for event in events]}
    return Request("POST", "/v1/usage/batch", _encoded(body))


def access_request(question: Question) -> Request:
    """Asks whether a customer may act."""
    asked = {"units": question.units, "action_type": question.action_type}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    path = f"/v1/customers/{question.customer_id}/access"
    return Request("GET", f"{path}?{query}" if query else path)


def reserve_request(wanted: Wanted) -> Request:
    """Holds units."""
    return Request("POST", "/v1/usage/reservations", _encoded(wanted.to_json()))


def release_request(
    customer_id: str, reservation_id: str, timeout_s: float | None = None
) -> Request:
    """Gives units back. No character of either id has a meaning in an address."""
    path = f"/v1/usage/reservations/{reservation_id}?customer_id={customer_id}"
    return Request("DELETE", path, timeout_s=timeout_s)


def read_usage(events: Sequence[UsageEvent], attempt: Attempt) -> list[Verdict]:
    """What an attempt of :func:`usage_request` says of each event."""
    document = _document(attempt)
    if not isinstance(document, dict):
        return [document] * len(events)
    try:
        if len(events) == 1:
            return [_recorded(events[0], document)]
        results = document.get("results")
        if not isinstance(results, list) or len(results) != len(events):
            raise _Unreadable("a batch without a result for each event")
    except _Unreadable as why:
        return [Unsure(str(why), perhaps_recorded=True)] * len(events)
    return [_batch_result(event, result) for event, result in zip(events, results, strict=True)]


def read_access(attempt: Attempt) -> Access | Refusal | Unsure:
    """What an attempt of :func:`access_request` says."""
    document = _document(attempt)
    if isinstance(document, Unsure):
        # A question changes nothing.
        return replace(document, perhaps_recorded=False)
    if isinstance(document, Refusal):
        return document
    try:
        return Access(
            allowed=_member(document, "allowed", bool),
            reason=_optional(document, "reason", str),
            status=_member(document, "status", str),
            units=_member(document, "units", int),
            limit=_optional(document, "limit", int),
            spending_limit=_spending_limit(_optional(document, "spending_limit", dict)),
        )
    except _Unreadable as why:
        return Unsure(str(why), perhaps_recorded=False)


def read_reserved(wanted: Wanted, attempt: Attempt) -> Reservation | Refusal | Unsure:
    """What an attempt of :func:`reserve_request` says."""
    answer = read_released(wanted.customer_id, wanted.reservation_id, attempt)
    if isinstance(answer, Reservation) and answer.status != "held":
        return Unsure("an answer that holds nothing", perhaps_recorded=True)
    return answer


def read_released(
    customer_id: str, reservation_id: str, attempt: Attempt
) -> Reservation | Refusal | Unsure:
    """What an attempt of :func:`release_request` says."""
    document = _document(attempt)
    if not isinstance(document, dict):
        return document
    try:
        names = (document.get("customer_id"), document.get("reservation_id"))
        if names != (customer_id, reservation_id):
            raise _Unreadable("an answer about another reservation")
        return Reservation(
            reservation_id=reservation_id,
            status=_member(document, "status", str),
            quantity=_member(document, "quantity", int),
            expires_at=_member(document, "expires_at", str),
        )
    except _Unreadable as why:
        return Unsure(str(why), perhaps_recorded=True)


def _encoded(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _document(attempt: Attempt) -> dict[str, Any] | Refusal | Unsure:
    """The JSON object of a success; what else an answer comes to."""
    if isinstance(attempt, NoAnswer):
        return Unsure(attempt.reason, perhaps_recorded=attempt.perhaps_heard)
    if 200 <= attempt.status < 300:
        document = _parsed(attempt.body)
        if isinstance(document, dict):
            return document
        return Unsure("an answer that cannot be read", perhaps_recorded=True)
    problem = _problem(attempt)
    if attempt.status in (408, 429) or not _is_meterlines(attempt.status, problem):
        return Unsure(
            f"{attempt.status} {problem}",
            # Who is told to come later was not served.
            perhaps_recorded=attempt.status != HTTPStatus.TOO_MANY_REQUESTS,
            retry_after_s=_retry_after_s(attempt),
            problem=problem,
        )
    return Refusal(problem)


def _is_meterlines(status: int, problem: Problem) -> bool:
    """Whether it is Meterline that refuses. It redirects nobody, and names what is wrong; who
    answers otherwise, such as a gateway that has lost its way to it, is somebody else, and refuses
    nothing in its name. But for the key, which a gateway may look at."""
    is_of_the_key = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return 400 <= status < 500 and (problem.type.startswith(PROBLEM) or is_of_the_key)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    # A deeply nested answer ends in the parser's recursion.
    except (ValueError, RecursionError):
        return None


def _problem(answer: Answer) -> Problem:
    document = _parsed(answer.body)
    if isinstance(document, dict) and isinstance(document.get("type"), str):
        return _problem_of(document, answer.status)
    detail = answer.body[: _EXCERPT_CHARS_MAX * 4].decode(errors="replace")[:_EXCERPT_CHARS_MAX]
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        detail = document["message"]
    try:
        title = HTTPStatus(answer.status).phrase
    except ValueError:
        title = str(answer.status)
    return Problem("about:blank", title, detail, answer.status)


def _problem_of(document: Mapping[str, Any], status: int) -> Problem:
    own_status = document.get("status")
    return Problem(
        type=str(document.get("type", "about:blank")),
        title=str(document.get("title", "")),
        detail=str(document.get("detail", "")),
        status=own_status if isinstance(own_status, int) else status,
        members=dict(document),
    )


def _batch_result(event: UsageEvent, result: object) -> Verdict:
    if not isinstance(result, dict):
        return Unsure("a result that cannot be read", perhaps_recorded=True)
    error = result.get("error")
    if not isinstance(error, dict):
        try:
            return _recorded(event, result)
        except _Unreadable as why:
            return Unsure(str(why), perhaps_recorded=True)
    problem = _problem_of(error, HTTPStatus.BAD_REQUEST)
    if result.get("status") == "unknown":
        return Unsure(str(problem), perhaps_recorded=True, problem=problem)
    return Refusal(problem)


def _recorded(event: UsageEvent, document: Mapping[str, Any]) -> Recorded:
    if document.get("event_id") != event.event_id:
        # Not from Meterline, or about another request: it proves nothing.
        raise _Unreadable("an answer about another event")
    return Recorded(
        event_id=event.event_id,
        # A status of a later version is a success all the same.
        status=_member(document, "status", str),
        duplicate=_member(document, "duplicate", bool),
        quantity=_member(document, "quantity", int),
        customer_status=_optional(document, "customer_status", str),
        stripe_record_id=_optional(document, "stripe_record_id", str),
        reservation=_optional(document, "reservation", str),
    )


def _spending_limit(limit: Mapping[str, Any] | None) -> SpendingLimit | None:
    """A limit as far as the API tells, which may be of another version."""
    if limit is None:
        return None
    alerts = [
        SpendingLimitAlert(_member(it, "threshold_percent", int), _member(it, "raised_at", str))
        for it in _items(limit, "alerts", dict)
    ]
    return SpendingLimit(
        units=_optional(limit, "units", int),
        amount=_optional(limit, "amount", str),
        currency=_optional(limit, "currency", str),
        enforcement=_optional(limit, "enforcement", str),
        thresholds_percent=tuple(_items(limit, "thresholds_percent", int)),
        set_at=_optional(limit, "set_at", str),
        used_units=_optional(limit, "used_units", int),
        used_amount=_optional(limit, "used_amount", str),
        used_currency=_optional(limit, "used_currency", str),
        held_units=_optional(limit, "held_units", int),
        used_percent=_optional(limit, "used_percent", int),
        left_units=_optional(limit, "left_units", int),
        left_amount=_optional(limit, "left_amount", str),
        alerts=tuple(alerts),
    )


def _member(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise _Unreadable(f"an answer whose {name} cannot be read")
    return value


def _optional(document: Mapping[str, Any], name: str, kind: type) -> Any:
    return None if document.get(name) is None else _member(document, name, kind)


def _items(document: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    items = _optional(document, name, list) or []
    if not all(isinstance(item, kind) for item in items):
        raise _Unreadable(f"an answer whose {name} cannot be read")
    return list(items)


def _retry_after_s(answer: Answer) -> int | None:
    """``Retry-After``, in seconds or as a date. A date is held against the answer's own: this
    machine's clock may be wrong, and without one there is nothing to hold it against."""
    text = (answer.retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _RETRY_AFTER_DIGITS_MAX else None
    until, since = _http_date(text), _http_date(answer.date or "")
    if until is None or since is None:
        return None
    seconds = max(0, int((until - since).total_seconds()))
    return seconds if len(str(seconds)) <= _RETRY_AFTER_DIGITS_MAX else None


def _http_date(text: str) -> datetime | None:
    """A date of HTTP, in any of its three forms (RFC 9110, "Date/Time Formats")."""
    try:
        date = parsedate_to_datetime(text)
    # What the parser makes of what is none differs from version to version.
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # One of the forms does not say that it is of Greenwich, as all are.
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
