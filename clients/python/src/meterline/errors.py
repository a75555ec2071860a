"""What can go wrong, and whether to try again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

#: The URN before the name of each kind of problem (openapi.json, "Problem").
PROBLEM = "urn:meterline:problem:"


@dataclass(frozen=True)
class Problem:
    """An answer that says no: ``application/problem+json`` (RFC 9457), or what stands in for it."""

    #: A stable name, such as ``urn:meterline:problem:conflict``; ``about:blank`` of a gateway's.
    type: str
    title: str
    detail: str
    #: The HTTP status.
    status: int
    #: All of the document, with members such as ``field`` and ``stripe_code``.
    members: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return ": ".join(text for text in (self.title, self.detail) if text) or self.type


class MeterlineError(Exception):
    """The root of all errors of this package."""

    #: One word for the kind of error, the same in every language.
    kind: ClassVar[str] = "error"
    #: Whether the same call, under the same event id, may succeed.
    retryable: bool = False

    def __init__(
        self, message: str, *, event_id: str | None = None, problem: Problem | None = None
    ) -> None:
        super().__init__(message)
        #: The id that the event has or would have; emit again under it.
        self.event_id = event_id
        #: The API's last answer, where it gave one.
        self.problem = problem

    @property
    def type(self) -> str | None:
        """The problem's type, where the API named one."""
        return self.problem.type if self.problem else None

    @property
    def detail(self) -> str | None:
        """What the API says about this request."""
        return self.problem.detail if self.problem else None


class InvalidUsage(MeterlineError, ValueError):
    """The arguments cannot be; nothing was sent."""

    kind = "invalid"


class Refused(MeterlineError):
    """The API said no: the event is not recorded, or not in this content."""

    kind = "refused"


class PerhapsRecorded(MeterlineError):
    """No clear answer within the retry budget. Emit again under :attr:`event_id`, which is
    always safe, or have the event voided; never assume."""

    kind = "perhaps_recorded"
    retryable = True


class Unavailable(MeterlineError):
    """Nobody said within the retry budget whether the customer may act. Nothing was run or sent."""

    kind = "unavailable"
    retryable = True


class AccessDenied(MeterlineError):
    """The customer may not act. The action was not run."""

    kind = "access_denied"

    def __init__(self, message: str, *, customer_status: str, reason: str | None) -> None:
        super().__init__(message)
        #: ``suspended`` or ``canceled``, or the limit's ``active`` or ``past_due``.
        self.customer_status = customer_status
        #: Why not, in words.
        self.reason = reason


class SpoolFailed(MeterlineError):
    """The event could not be written to the spool. Nothing was sent."""

    kind = "spool_failed"
    retryable = True


class Closed(MeterlineError, RuntimeError):
    """The client has been closed. Nothing was sent."""

    kind = "closed"
