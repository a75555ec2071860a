"""What is known of an event after it was sent, and of a customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from .errors import Problem

T = TypeVar("T")

#: Where an event is. ``delivered``: in Stripe. ``pending``: durable, and it will be.
#: ``quarantined``, ``held``: durable, and the operator knows that it needs a look
#: (docs/exactness.md). ``spooled``: on this machine's disk, to be sent.
Status = Literal["delivered", "pending", "quarantined", "held", "spooled"]


@dataclass(frozen=True)
class Recorded:
    """An event that will not be lost."""

    event_id: str
    status: Status
    #: Whether an earlier call had recorded it: this one bills nothing.
    duplicate: bool
    quantity: int
    #: The customer's standing: ``active``, ``past_due``, ``suspended``, ``canceled``.
    #: None of what is only spooled.
    customer_status: str | None = None
    #: Stripe's id of the usage, where the way into Stripe gives one.
    stripe_record_id: str | None = None


@dataclass(frozen=True)
class Access:
    """Whether a customer may act (``GET /v1/customers/{id}/access``)."""

    allowed: bool
    #: Why not, in words; None where it may.
    reason: str | None
    #: ``active``, ``past_due``, ``suspended`` or ``canceled``.
    status: str
    #: Units of the current period so far.
    units: int
    #: The most units of a period; None without a limit.
    limit: int | None


@dataclass(frozen=True)
class Metered(Generic[T]):
    """An action's result, and the record of its usage."""

    result: T
    usage: Recorded


@dataclass(frozen=True)
class SpoolState:
    """What lies in the spool."""

    #: Events without an outcome yet.
    waiting: int = 0
    #: Events that were refused, in the folder ``refused``.
    set_aside: int = 0


@dataclass(frozen=True)
class Refusal:
    """The API said no."""

    problem: Problem


@dataclass(frozen=True)
class Unsure:
    """No clear answer."""

    reason: str
    #: Whether the attempt may have recorded the event all the same.
    perhaps_recorded: bool
    #: How long the API asks to wait.
    retry_after_s: int | None = None
    problem: Problem | None = None


#: What one attempt, or all of them, came to for one event.
Verdict = Recorded | Refusal | Unsure
