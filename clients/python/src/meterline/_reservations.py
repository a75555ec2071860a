"""What is asked of a customer's limit before an action: whether it may act, and to hold units."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from ._checks import (
    QUANTITY_MAX,
    check_action,
    check_reservation_id,
    check_stripe_id,
    checked_whole,
)
from .errors import InvalidUsage

#: The longest that units are held, in seconds.
EXPIRES_IN_S_MAX = 3_600
#: The most units of a limit: more fit into none.
UNITS_MAX = 1_000_000_000_000_000


@dataclass(frozen=True)
class Question:
    """Whether a customer may act, and use so many units more."""

    customer_id: str
    units: int | None = None
    action_type: str | None = None

    @classmethod
    def new(cls, customer: str, units: int | None = None, action: str | None = None) -> Question:
        """Raises :class:`InvalidUsage` for what the API would refuse."""
        check_stripe_id(customer, "customer")
        if units is not None:
            checked_whole(units, "units", UNITS_MAX)
        if action is not None:
            check_action(action)
            if units is None:
                raise InvalidUsage("action has a meaning with units only")
        return cls(customer, units, action)


@dataclass(frozen=True)
class Wanted:
    """Units that are to be held, under an id that is fixed before the first attempt."""

    reservation_id: str
    customer_id: str
    action_type: str
    quantity: int
    #: None: as long as the API holds units unless told otherwise.
    expires_in_s: int | None = None

    @classmethod
    def new(
        cls,
        customer: str,
        action: str,
        quantity: int,
        *,
        reservation_id: str | None = None,
        expires_in_s: int | None = None,
    ) -> Wanted:
        """What is wanted, under the id that is given, or a new one.

        Raises :class:`InvalidUsage` for what the API would refuse.
        """
        check_stripe_id(customer, "customer")
        check_action(action)
        if reservation_id is None:
            reservation_id = str(uuid.uuid4())
        check_reservation_id(reservation_id)
        checked_whole(quantity, "quantity", QUANTITY_MAX, reservation_id=reservation_id)
        if expires_in_s is not None:
            checked_whole(
                expires_in_s, "expires_in_s", EXPIRES_IN_S_MAX, reservation_id=reservation_id
            )
        return cls(reservation_id, customer, action, quantity, expires_in_s)

    @classmethod
    def before(
        cls, customer: str, action: str, reserve: int | None, reservation_id: str | None
    ) -> Wanted | None:
        """What is to be held before an action under a new id; None where nothing is. An event
        can name one reservation: not ``reservation_id`` besides."""
        if reserve is None:
            return None
        if reservation_id is not None:
            raise InvalidUsage("give reserve or reservation_id, not both")
        checked_whole(reserve, "reserve", QUANTITY_MAX)
        return cls.new(customer, action, reserve)

    def to_json(self) -> dict[str, Any]:
        """The request as ``POST /v1/usage/reservations`` takes it."""
        fields = {
            "reservation_id": self.reservation_id,
            "customer_id": self.customer_id,
            "action_type": self.action_type,
            "quantity": self.quantity,
            "expires_in_s": self.expires_in_s,
        }
        return {name: value for name, value in fields.items() if value is not None}
