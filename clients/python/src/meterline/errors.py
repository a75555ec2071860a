"""What can go wrong, and whether to try again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ._events import UsageEvent

#: The URN before the name of each kind of problem (openapi.json, "Problem").
PROBLEM = "urn:meterline:problem:"
#: The type of the problem of who wants to hold more than what is left of a hard limit.
LIMIT_REACHED = f"{PROBLEM}limit-reached"


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
    #: Whether the same call, under the same id, may succeed.
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        event_id: str | None = None,
        reservation_id: str | None = None,
        problem: Problem | None = None,
    ) -> None:
        super().__init__(message)
        #: The id that the event has or would have; emit again under it.
        self.event_id = event_id
        #: The reservation that was asked for, or that the event names; reserve, or emit, again
        #: with it.
        self.reservation_id = reservation_id
        #: The API's last answer, where it gave one.
        self.problem = problem
        #: Of ``metered``, once the action has run: its event, to be emitted again
        #: (``emit_many([error.event])``). None where its quantity cannot be.
        self.event: UsageEvent | None = None
        #: Of ``metered``, once the action has run: what it returned.
        self.result: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # As an exception is pickled by itself, it would be made of its message alone.
        return _rebuilt, (type(self), self.args, self.__dict__)

    @property
    def type(self) -> str | None:
        """The problem's type, where the API named one."""
        return self.problem.type if self.problem else None

    @property
    def detail(self) -> str | None:
        """What the API says about this request."""
        return self.problem.detail if self.problem else None


def _rebuilt(kind: type[MeterlineError], args: tuple[Any, ...], members: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


class InvalidUsage(MeterlineError, ValueError):
    """The arguments cannot be; nothing was sent."""

    kind = "invalid"


class Refused(MeterlineError):
    """The API said no: the event is not recorded, or not in this content; nothing is held."""

    kind = "refused"


class PerhapsRecorded(MeterlineError):
    """No clear answer within the retry budget. Emit again under :attr:`event_id`, which is
    always safe, or have the event voided; never assume."""

    kind = "perhaps_recorded"
    retryable = True


class Unavailable(MeterlineError):
    """Nobody said within the retry budget whether the customer may act, or whether the units of
    :attr:`reservation_id` are held. If they are, they expire; under the same id they are held once.
    Nothing was run."""

    kind = "unavailable"
    retryable = True


class LimitReached(MeterlineError):
    """So many units are more than what is left of a hard limit. Nothing is held, and nothing
    was run."""

    kind = "limit_reached"

    @property
    def left_units(self) -> int | None:
        """What is left of a limit in units; None of one in money."""
        left = self.problem.members.get("left_units") if self.problem else None
        return left if isinstance(left, int) else None

    @property
    def left_amount(self) -> str | None:
        """What is left of a limit in money, a decimal text in major units; None of one in units."""
        left = self.problem.members.get("left_amount") if self.problem else None
        return left if isinstance(left, str) else None


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
    """The event could not be written to the spool, and nothing was sent; or the spool cannot be
    read, and nobody can say what waits there."""

    kind = "spool_failed"
    retryable = True


class Closed(MeterlineError, RuntimeError):
    """The client has been closed. Nothing was sent."""

    kind = "closed"
