"""What metering an SDK's client is, with a client of Meterline that blocks or is awaited."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._events import UsageEvent
from .._outcomes import Recorded
from ..errors import InvalidUsage, MeterlineError, PerhapsRecorded
from ._provider import Provider, Route, StreamReader
from ._tokens import ActionOf, Report, TokenEvents, UnnamedTokens

_LOG = logging.getLogger("meterline")

#: How long, and for how much, a stream is read on for its report after its reader has left. The
#: report of a response has all of its text in it.
REPORT_WAIT_S = 10.0
REPORT_BYTES_MAX = 8 * 1024 * 1024

#: The header by which both SDKs say to themselves that the caller wants the HTTP response.
_RAW_RESPONSE = "x-stainless-raw-response"


class UsageNotRecorded(MeterlineError):
    """A model answered, and not all of its usage is recorded.

    The answer is in :attr:`response`: to ask the model again would cost again. Emit
    :attr:`events` (:meth:`meterline.Meterline.emit_many`), which is always safe, then use it.
    :attr:`unnamed` is what ``action`` had no name for, or none that can be: name it, and emit it
    under its ``event_id``.
    """

    kind = "usage_not_recorded"

    def __init__(
        self,
        failed: Sequence[tuple[UsageEvent, MeterlineError]],
        unnamed: Sequence[tuple[UnnamedTokens, MeterlineError]],
        response: Any,
    ) -> None:
        errors = [error for _, error in failed] + [error for _, error in unnamed]
        first = errors[0]
        super().__init__(str(first), event_id=first.event_id, problem=first.problem)
        self.retryable = all(error.retryable for error in errors)
        #: Why, for each of :attr:`events`, then for each of :attr:`unnamed`.
        self.errors = errors
        #: The events that are not recorded, or only perhaps.
        self.events = [event for event, _ in failed]
        #: Tokens that are no events yet.
        self.unnamed = [tokens for tokens, _ in unnamed]
        #: The SDK's answer; of a stream its last event, which was held back, if it had one.
        self.response = response


class UnreportedUsage(MeterlineError):
    """A model answered, and did not say what it used, or not to the end. What it said is
    recorded; the rest is not known here."""

    kind = "unreported_usage"

    def __init__(self, message: str, response: Any = None) -> None:
        super().__init__(message)
        #: The SDK's answer; of a stream its last event, which was held back, if it had one.
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

    def events(self, report: Report | None) -> TokenEvents:
        """The events of an answer."""
        return report.events(self.customer, self.action) if report else TokenEvents()

    def check(
        self,
        report: Report | None,
        named: TokenEvents,
        outcomes: Sequence[Recorded | MeterlineError],
        response: Any,
    ) -> None:
        """Raises if anything is not recorded, or was not reported."""
        failed = [
            (event, outcome)
            for event, outcome in zip(named.events, outcomes, strict=True)
            if isinstance(outcome, MeterlineError)
        ]
        if failed or named.unnamed:
            first = failed[0][1] if failed else named.unnamed[0][1]
            raise UsageNotRecorded(failed, named.unnamed, response) from first
        if report is None or not report.is_final:
            raise UnreportedUsage(_unreported(report), response)

    def tell(self, error: MeterlineError) -> None:
        """Where nobody can be told by an exception. What is told may fail, too."""
        try:
            self.on_background_error(error)
        except Exception:  # noqa: BLE001 (the caller's own function)
            _LOG.exception("on_background_error failed, over: %s", error)

    def tell_interrupted(self, report: Report | None, why: BaseException) -> None:
        """The recording itself has been ended from outside: by an interrupt, or with its loop."""
        named = self.events(report)
        message = f"the recording was interrupted ({type(why).__name__}): emit it again"
        failed: list[tuple[UsageEvent, MeterlineError]] = [
            (event, PerhapsRecorded(message, event_id=event.event_id)) for event in named.events
        ]
        if failed or named.unnamed:
            self.tell(UsageNotRecorded(failed, named.unnamed, None))
        else:
            self.tell(UnreportedUsage(_unreported(report)))


@dataclass
class StreamState:
    """Where a metered stream stands."""

    reader: StreamReader
    #: Set when its usage is being recorded, which happens once.
    is_settled: bool = False

    def wants_report(self) -> bool:
        """Whether the report, as far as can be told, is all that is still to come."""
        if self.is_settled or not self.reader.is_generated:
            return False
        report = self.reader.report()
        return report is None or not report.is_final


def bytes_read(response: Any) -> int:
    """How much of an HTTP response has come in, as it was sent."""
    read = getattr(response, "num_bytes_downloaded", 0)
    return read if isinstance(read, int) else 0


def asked_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller of an SDK asks for, with what ``extra_body`` sets in it."""
    body: dict[str, Any] = request.get("body") or {}
    extra = (request.get("options") or {}).get("extra_json")
    return {**body, **extra} if isinstance(extra, Mapping) else body


def with_body(request: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """A request that asks for another :func:`asked_body`."""
    options = {**(request.get("options") or {}), "extra_json": None}
    return {**request, "body": body, "options": options}


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
