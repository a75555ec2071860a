"""Usage events: what is checked before anything is sent, and where ids come from."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from ._checks import (
    QUANTITY_MAX,
    check_action,
    check_reservation_id,
    check_stripe_id,
    checked_whole,
)
from .errors import InvalidUsage

#: The most events of one request ("What is refused for its size" in docs/limits.md).
BATCH_EVENTS_MAX = 100
#: The longest event id, in bytes of UTF-8.
EVENT_ID_BYTES_MAX = 255

#: The times that the API takes at all, 2000-01-01 to 2100-01-01.
_EARLIEST_UNIX_MS = 946_684_800_000
_LATEST_UNIX_MS = 4_102_444_800_000
#: As the API reads it, which takes any sign between day and clock.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[\x00-\x7f](\d\d:\d\d):(\d\d)(?:\.(\d+))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


@dataclass(frozen=True)
class UsageEvent:
    """A billable action, with the id that makes it count once.

    Make one with :meth:`new`, which checks every field.
    """

    event_id: str
    customer_id: str
    action_type: str
    quantity: int = 1
    #: RFC 3339 or unix seconds; part of the content, so a repeat must give the same.
    occurred_at: str | int | None = None
    #: The subscription item that the caller expects to bill; another one is refused.
    subscription_item_id: str | None = None
    #: The reservation that it settles. It says where the room was held, not what happened: a
    #: repeat that has lost it is the same event.
    reservation_id: str | None = None

    @classmethod
    def new(
        cls,
        customer: str,
        action: str,
        quantity: int = 1,
        *,
        event_id: str | None = None,
        job_id: str | None = None,
        occurred_at: datetime | str | int | None = None,
        subscription_item: str | None = None,
        reservation_id: str | None = None,
    ) -> UsageEvent:
        """An event under the id that is given, or derived from ``job_id``, or new.

        Raises :class:`InvalidUsage` for what the API would refuse.
        """
        if event_id is not None and job_id is not None:
            raise InvalidUsage("give event_id or job_id, not both")
        check_stripe_id(customer, "customer")
        check_action(action)
        if subscription_item is not None:
            check_stripe_id(subscription_item, "subscription_item")
        if reservation_id is not None:
            check_reservation_id(reservation_id)
        if event_id is not None:
            _check_event_id(event_id)
        elif job_id is not None:
            event_id = event_id_of_job(job_id, action)
        else:
            event_id = str(uuid.uuid4())
        return cls(
            event_id,
            customer,
            action,
            checked_whole(quantity, "quantity", QUANTITY_MAX, event_id=event_id),
            _wire_time(occurred_at, event_id),
            subscription_item,
            reservation_id,
        )

    def with_quantity(self, quantity: int) -> UsageEvent:
        """The same event with another quantity, which is checked."""
        checked = checked_whole(quantity, "quantity", QUANTITY_MAX, event_id=self.event_id)
        return replace(self, quantity=checked)

    def has_content_of(self, other: UsageEvent) -> bool:
        """Whether the API would take one for a repeat of the other: a time may be written in
        several ways, and the reservation is none of the content."""
        at, other_at = _unix_ms(self.occurred_at), _unix_ms(other.occurred_at)
        written_alike = replace(
            self, occurred_at=other.occurred_at, reservation_id=other.reservation_id
        )
        return at == other_at and written_alike == other

    def to_json(self) -> dict[str, Any]:
        """The event as ``POST /v1/usage`` takes it."""
        fields = {
            "event_id": self.event_id,
            "customer_id": self.customer_id,
            "action_type": self.action_type,
            "quantity": self.quantity,
            "occurred_at": self.occurred_at,
            "subscription_item_id": self.subscription_item_id,
            "reservation_id": self.reservation_id,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> UsageEvent:
        """The event that :meth:`to_json` wrote. Raises :class:`InvalidUsage`."""
        try:
            return cls.new(
                fields["customer_id"],
                fields["action_type"],
                fields["quantity"],
                event_id=fields["event_id"],
                occurred_at=fields.get("occurred_at"),
                subscription_item=fields.get("subscription_item_id"),
                reservation_id=fields.get("reservation_id"),
            )
        except KeyError as missing:
            raise InvalidUsage(f"{missing.args[0]} is missing") from None


def event_id_of_job(job_id: str, action: str) -> str:
    """The id of what ``action`` does in a job: the same in every process and every language.

    ``job-`` and the first 40 digits of the SHA-256, in lower-case hex, of the UTF-8 text
    ``"meterline job 1\\n" + job_id + "\\n" + action``.
    """
    if not isinstance(job_id, str) or not job_id:
        raise InvalidUsage("job_id must be a text that is not empty")
    digest = hashlib.sha256(_utf8(f"meterline job 1\n{job_id}\n{action}", "job_id")).hexdigest()
    return f"job-{digest[:40]}"


def _check_event_id(event_id: object) -> None:
    if isinstance(event_id, str) and 0 < len(_utf8(event_id, "event_id")) <= EVENT_ID_BYTES_MAX:
        return
    raise InvalidUsage(f"event_id must be a text of 1 to {EVENT_ID_BYTES_MAX} bytes")


def _wire_time(at: datetime | str | int | None, event_id: str) -> str | int | None:
    """A time as it is sent. One that the API never takes would pass for safe in a spool."""
    wire = _utc_text(at, event_id) if isinstance(at, datetime) else at
    if wire is None:
        return None
    if isinstance(wire, bool) or not isinstance(wire, (str, int)):
        raise _no_time("a datetime, RFC 3339 or unix seconds", at, event_id)
    unix_ms = _unix_ms(wire)
    if not isinstance(unix_ms, int):
        raise _no_time("RFC 3339, such as 2026-01-31T12:00:00Z", at, event_id)
    if not _EARLIEST_UNIX_MS <= unix_ms <= _LATEST_UNIX_MS:
        raise _no_time("between the years 2000 and 2100, in seconds if a number", at, event_id)
    return wire


def _utc_text(at: datetime, event_id: str) -> str:
    if at.utcoffset() is None:
        raise _no_time("a datetime with a time zone", at, event_id)
    try:
        text = at.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    except OverflowError:
        # Of the first or the last year that there is.
        raise _no_time("between the years 2000 and 2100", at, event_id) from None
    return text.replace("+00:00", "Z")


def _no_time(wanted: str, at: object, event_id: str) -> InvalidUsage:
    return InvalidUsage(f"occurred_at must be {wanted}, not {at!r}", event_id=event_id)


def _unix_ms(at: str | int | None) -> str | int | None:
    """A time to the API's millisecond; as it is written, where it is none."""
    if isinstance(at, int):
        return at * 1000
    found = _RFC_3339.fullmatch(at or "")
    if found is None:
        return at
    day, clock, second, fraction, offset = found.groups()
    is_leap = second == "60"
    second = "59" if is_leap else second
    try:
        time = datetime.fromisoformat(f"{day}T{clock}:{second}{_numeric(offset)}")
        unix_ms = int(time.timestamp()) * 1000
        if is_leap and not _ends_month(time):
            return at
    except (ValueError, OverflowError):
        return at
    # The API takes a leap second for the end of the one before.
    return unix_ms + (999 if is_leap else int((fraction or "").ljust(3, "0")[:3]))


def _numeric(offset: str) -> str:
    return offset.upper().replace("Z", "+00:00")


def _ends_month(time: datetime) -> bool:
    after = time.astimezone(timezone.utc) + timedelta(seconds=1)
    return (after.day, after.hour, after.minute, after.second) == (1, 0, 0, 0)


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidUsage(f"{name} has half of a surrogate pair in it") from None
