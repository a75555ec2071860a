"""The API's requests and answers, without any I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from ._events import UsageEvent
from ._outcomes import Access, Recorded, Refusal, Unsure, Verdict
from .errors import Problem

#: As much of an unexpected answer as an error shows, in characters.
_EXCERPT_CHARS_MAX = 200


@dataclass(frozen=True)
class Request:
    """A request, without address and key."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """An answer that came in whole."""

    status: int
    body: bytes
    retry_after: str | None = None


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


def access_request(customer_id: str) -> Request:
    """Asks whether a customer may act."""
    return Request("GET", f"/v1/customers/{customer_id}/access")


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
    if not isinstance(document, dict):
        return document
    try:
        return Access(
            allowed=_member(document, "allowed", bool),
            reason=_optional(document, "reason", str),
            status=_member(document, "status", str),
            units=_member(document, "units", int),
            limit=_optional(document, "limit", int),
        )
    except _Unreadable as why:
        return Unsure(str(why), perhaps_recorded=False)


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
    if attempt.status >= 500 or attempt.status in (408, 429):
        return Unsure(
            f"{attempt.status} {problem}",
            # Who is told to come later was not served.
            perhaps_recorded=attempt.status != HTTPStatus.TOO_MANY_REQUESTS,
            retry_after_s=_whole_seconds(attempt.retry_after),
            problem=problem,
        )
    return Refusal(problem)


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
    )


def _member(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise _Unreadable(f"an answer whose {name} cannot be read")
    return value


def _optional(document: Mapping[str, Any], name: str, kind: type) -> Any:
    return None if document.get(name) is None else _member(document, name, kind)


def _whole_seconds(retry_after: str | None) -> int | None:
    """``Retry-After`` in its form of seconds. Its other form, a date, would need the
    API's clock to agree with this one."""
    text = (retry_after or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
