"""What the API would refuse for its form is refused here, before anything is sent."""

from __future__ import annotations

import re

from .errors import InvalidUsage

#: The most units of one event, and of one reservation.
QUANTITY_MAX = 1_000_000_000

_STRIPE_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
_ACTION_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
#: It stands in a path, in which . and .. would be something else.
_RESERVATION_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:~-]{1,128}")


def check_stripe_id(value: object, name: str) -> None:
    """Raises :class:`InvalidUsage` unless it may be an id of Stripe's."""
    _check_form(value, name, _STRIPE_ID, "1 to 64 of A-Z a-z 0-9 _")


def check_action(value: object) -> None:
    """Raises :class:`InvalidUsage` unless it may be an action type."""
    _check_form(value, "action", _ACTION_TYPE, "1 to 64 of A-Z a-z 0-9 _ . : -")


def check_reservation_id(value: object) -> None:
    """Raises :class:`InvalidUsage` unless it may be the id of a reservation."""
    form = "1 to 128 of A-Z a-z 0-9 _ . : ~ -, not . or .."
    _check_form(value, "reservation_id", _RESERVATION_ID, form)


def checked_whole(
    value: object,
    name: str,
    most: int,
    *,
    event_id: str | None = None,
    reservation_id: str | None = None,
) -> int:
    """A whole number from 1 to ``most``. The error carries the ids that had been chosen."""
    # True is an int, and 1.0 may have been 0.9999999999999999.
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
        return value
    message = f"{name} must be a whole number from 1 to {most:,}, not {value!r}"
    raise InvalidUsage(message, event_id=event_id, reservation_id=reservation_id)


def _check_form(value: object, name: str, pattern: re.Pattern[str], form: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidUsage(f"{name} must be {form}, not {value!r}")
