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


#: What became of the reservation that an event named: the event settled it, or why not
#: (docs/spending-limits.md). The event is recorded in any case.
ReservationOutcome = Literal[
    "settled", "expired", "released", "settled_before", "other_meter", "unknown"
]
#: ``held`` while the units are; then what ended it.
ReservationStatus = Literal["held", "settled", "released", "expired"]


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
    #: What became of the reservation that the event named; None where it named none, and of what
    #: is only spooled.
    reservation: ReservationOutcome | None = None


@dataclass(frozen=True)
class Reservation:
    """Units of a customer's limit, held for an action (``POST /v1/usage/reservations``)."""

    #: Name it in the event that settles it.
    reservation_id: str
    status: ReservationStatus
    quantity: int
    #: Until when the units are held, unless usage settles them before: RFC 3339.
    expires_at: str


@dataclass(frozen=True)
class SpendingLimitAlert:
    """A threshold that was crossed in the current period, and the operator was told of."""

    threshold_percent: int
    #: RFC 3339.
    raised_at: str


@dataclass(frozen=True)
class SpendingLimit:
    """A limit, and how much of it is used in the current period (docs/spending-limits.md).

    One in units has ``units`` and ``left_units``, one in money ``amount`` and ``left_amount``.
    Amounts are decimal texts in major units. None is also what the API does not tell.
    """

    #: The most units of a period.
    units: int | None = None
    #: The most that a period may cost.
    amount: str | None = None
    #: Of the limit's amounts; of one in units, what the customer pays in.
    currency: str | None = None
    #: ``hard``: it stops; or ``soft``: it only tells.
    enforcement: str | None = None
    #: At how much of it the operator is told.
    thresholds_percent: tuple[int, ...] = ()
    #: RFC 3339.
    set_at: str | None = None
    #: Units of the period so far.
    used_units: int | None = None
    #: What they cost.
    used_amount: str | None = None
    #: What the customer pays in now.
    used_currency: str | None = None
    #: Units that reservations hold besides.
    held_units: int | None = None
    #: Rounded down; None where the limit is in another currency than the customer pays in now.
    used_percent: int | None = None
    #: Units that are left beside what is held.
    left_units: int | None = None
    #: The amount that is left so.
    left_amount: str | None = None
    alerts: tuple[SpendingLimitAlert, ...] = ()


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
    #: The most units of a period; None without such a limit.
    limit: int | None
    #: The limit, in units or in money, and what is left of it; None where there is none.
    spending_limit: SpendingLimit | None = None


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
    #: Whether the attempt may have recorded the event, or held the units, all the same.
    perhaps_recorded: bool
    #: How long the API asks to wait.
    retry_after_s: int | None = None
    problem: Problem | None = None


#: What one attempt, or all of them, came to for one event.
Verdict = Recorded | Refusal | Unsure
