"""What metering an SDK's client is, with a client of Meterline that blocks or is awaited."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._events import UsageEvent
from .._outcomes import Recorded
from ..errors import InvalidUsage, MeterlineError
from ._provider import Provider, Route, StreamReader
from ._tokens import ActionOf, Report

_LOG = logging.getLogger("meterline")

#: The header by which both SDKs say to themselves that the caller wants the HTTP response.
_RAW_RESPONSE = "x-stainless-raw-response"


class UsageNotRecorded(MeterlineError):
    """A model answered, and not all of its usage is recorded.

    The answer is in :attr:`response`: to ask the model again would cost again. Emit
    :attr:`events` (:meth:`meterline.Meterline.emit_many`), which is always safe, then use it.
    """

    kind = "usage_not_recorded"

    def __init__(
        self, errors: Sequence[MeterlineError], events: Sequence[UsageEvent], response: Any
    ) -> None:
        first = errors[0]
        super().__init__(str(first), event_id=first.event_id, problem=first.problem)
        self.retryable = all(error.retryable for error in errors)
        #: Why, for each of :attr:`events`.
        self.errors = list(errors)
        #: The events that are not recorded, or only perhaps.
        self.events = list(events)
        #: The SDK's answer; none of a stream, whose parts were handed out.
        self.response = response


class UnreportedUsage(MeterlineError):
    """A model answered, and did not say what it used, or not to the end. What it said is
    recorded; the rest is not known here."""

    kind = "unreported_usage"

    def __init__(self, message: str, response: Any = None) -> None:
        super().__init__(message)
        #: The SDK's answer; none of a stream.
        self.response = response


def log_background_error(error: MeterlineError) -> None:
    """What happens to an error that cannot be raised, unless somebody else takes it."""
    _LOG.error("usage of a model is not billed as it should be: %s", error)


@dataclass(frozen=True)
class Metering:
    """Whom to bill, for what, and how."""

    provider: Provider
    customer: str
    action: ActionOf
    check_access: bool
    on_background_error: Callable[[MeterlineError], None]

    def is_metered(self, path: str) -> bool:
        """Whether a request is to be billed. Raises :class:`InvalidUsage` where nobody can
        tell what it will have used: unbilled use must not go unseen."""
        route = self.provider.route(path)
        if route is Route.UNKNOWN:
            raise InvalidUsage(f"POST {path} is not metered: make it with the client itself")
        return route is Route.METERED

    def events(self, report: Report | None, response: Any) -> list[UsageEvent]:
        """The events of an answer. Raises :class:`UsageNotRecorded` where ``action`` gives a
        name that cannot be."""
        try:
            return report.events(self.customer, self.action) if report else []
        except InvalidUsage as error:
            raise UsageNotRecorded([error], [], response) from error

    def check(
        self,
        report: Report | None,
        events: Sequence[UsageEvent],
        outcomes: Sequence[Recorded | MeterlineError],
        response: Any,
    ) -> None:
        """Raises if anything is not recorded, or was not reported."""
        failed = [
            (event, outcome)
            for event, outcome in zip(events, outcomes, strict=True)
            if isinstance(outcome, MeterlineError)
        ]
        if failed:
            raise UsageNotRecorded([it[1] for it in failed], [it[0] for it in failed], response)
        if report is None or not report.is_final:
            raise UnreportedUsage(_unreported(report), response)


@dataclass
class StreamState:
    """Where a metered stream stands."""

    reader: StreamReader
    #: Set when its usage is being recorded, which happens once.
    is_settled: bool = False

    def wants_report(self) -> bool:
        """Whether the report is surely about to come."""
        report = self.reader.report()
        return self.reader.is_generated and (report is None or not report.is_final)


def raw_response(options: Mapping[str, Any]) -> str | None:
    """How the caller of an SDK wants the HTTP response, if it does: ``stream``, or read."""
    headers = options.get("headers") or {}
    for name, value in headers.items():
        if str(name).lower() == _RAW_RESPONSE:
            return str(value)
    return None


def refuse_unread(path: str, raw: str | None, is_stream: bool) -> None:
    """A response that the caller reads by itself cannot be read here."""
    if raw == "stream" or (raw and is_stream):
        raise InvalidUsage(f"POST {path} with a raw stream is not metered")


def _unreported(report: Report | None) -> str:
    if report is None:
        return "a model answered without saying what it used"
    tokens = report.tokens
    return (
        f"the answer {report.response_id} of {report.model} did not say to the end what it used: "
        f"billed are {tokens.input} tokens of input and {tokens.output} of output, "
        "what came after is not known"
    )
