"""Ids, and what is refused before anything is sent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from meterline import InvalidUsage, UsageEvent, event_id_of_job


def test_a_jobs_event_id_is_the_documented_one() -> None:
    # printf 'meterline job 1\nnightly-7\ndocument_processed' | sha256sum
    expected = "job-eb32d319a4b1c99165d1c0fdd3153a06eaaf98d7"
    assert event_id_of_job("nightly-7", "document_processed") == expected
    assert UsageEvent.new("cus_1", "document_processed", job_id="nightly-7").event_id == expected


def test_a_jobs_event_id_is_of_job_and_action() -> None:
    ids = {event_id_of_job(job, action) for job in ("a", "b") for action in ("read", "write")}
    assert len(ids) == 4


def test_without_an_id_each_event_has_its_own() -> None:
    ids = {UsageEvent.new("cus_1", "read").event_id for _ in range(100)}
    assert len(ids) == 100


@pytest.mark.parametrize(
    "fields",
    [
        {"customer": ""},
        {"customer": "cus/1"},
        {"customer": "cus_1\n"},
        {"customer": "c" * 65},
        {"customer": None},
        {"action": "two words"},
        {"action": "a" * 65},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 1.0},
        {"quantity": True},
        {"quantity": "3"},
        {"quantity": 1_000_000_001},
        {"event_id": ""},
        {"event_id": "ä" * 128},
        {"event_id": "\ud800"},
        {"event_id": 7},
        {"job_id": ""},
        {"job_id": "\ud800"},
        {"job_id": 7},
        {"event_id": "a", "job_id": "b"},
        {"occurred_at": datetime(2026, 1, 31)},
        {"occurred_at": 1.5},
        {"occurred_at": True},
        *(
            {"occurred_at": at}
            for at in (
                "",
                "noon",
                "2026-01-31",
                "2026-01-31T12:00:00",
                "2026-13-31T12:00:00Z",
                "2026-02-29T12:00:00Z",
                "2026-01-31T12:00:60Z",
                "9999-12-31T23:59:60Z",
                "2026-01-31T12:00:00+24:00",
                "2026-01-31T12:00:00.Z",
                "2026-01-31T12:00:00Z\n",
                "0000-01-31T12:00:00Z",
                # Before 2000, and after 2100.
                "1999-12-31T23:59:59.999Z",
                "2000-01-01T00:00:00+00:01",
                "2100-01-01T00:00:00.001Z",
                946_684_799,
                4_102_444_801,
                -1,
                # Milliseconds.
                1_769_860_800_000,
                datetime(1999, 12, 31, 23, 59, 59, tzinfo=timezone.utc),
                datetime(2100, 1, 1, 0, 0, 1, tzinfo=timezone.utc),
                datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
                datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            )
        ),
        {"subscription_item": "si 1"},
        {"reservation_id": ""},
        {"reservation_id": "."},
        {"reservation_id": ".."},
        {"reservation_id": "nobody's"},
        {"reservation_id": "a/b"},
        {"reservation_id": "a\n"},
        {"reservation_id": "r" * 129},
        {"reservation_id": 7},
    ],
    ids=str,
)
def test_what_the_api_would_refuse_is_refused_before(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidUsage) as refused:
        UsageEvent.new(**{"customer": "cus_1", "action": "read", **fields})
    assert not refused.value.retryable


@pytest.mark.parametrize("at", ["noon", 1, 1.5, datetime(2026, 1, 31), datetime.max], ids=str)
def test_an_error_about_a_time_names_it_and_the_event(at: Any) -> None:
    with pytest.raises(InvalidUsage, match="occurred_at") as refused:
        UsageEvent.new("cus_1", "read", event_id="a", occurred_at=at)
    assert refused.value.event_id == "a"


@pytest.mark.parametrize(
    "at",
    [
        946_684_800,
        4_102_444_800,
        "2000-01-01T00:00:00Z",
        "1999-12-31T23:59:00-00:01",
        "2100-01-01T00:00:00.000999Z",
        "2026-01-31_12:00:00z",
        "2016-12-31T23:59:60Z",
        "2017-01-01T05:29:60.5+05:30",
        "2026-01-31T12:00:00.123456789123+23:59",
    ],
)
def test_every_time_that_the_api_takes_is_taken(at: Any) -> None:
    event = UsageEvent.new("cus_1", "read", occurred_at=at)
    assert event.to_json()["occurred_at"] == at


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        (1_769_860_800, 1_769_860_800),
        ("2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00+01:00"),
        (
            datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
            "2026-01-31T12:00:00.000Z",
        ),
    ],
)
def test_a_time_is_sent_as_it_was_given(given: Any, sent: Any) -> None:
    event = UsageEvent.new("cus_1", "read", event_id="a", occurred_at=given)
    assert event.to_json().get("occurred_at") == sent


@pytest.mark.parametrize(
    "at",
    [
        1_769_860_800,
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00.0009z",
        "2026-01-31 13:00:00.000+01:00",
        datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
    ],
    ids=str,
)
def test_one_time_is_one_content_however_it_is_written(at: Any) -> None:
    def event(occurred_at: Any, quantity: int = 1) -> UsageEvent:
        return UsageEvent.new("cus_1", "read", quantity, event_id="a", occurred_at=occurred_at)

    assert event(at).has_content_of(event("2026-01-31T12:00:00+00:00"))
    for other in (None, "2026-01-31T12:00:00.001Z", 1_769_860_801, "2016-12-31T23:59:60Z"):
        assert not event(at).has_content_of(event(other))
        assert event(other).has_content_of(event(other))
    assert not event(at).has_content_of(event(at, quantity=2))


def test_a_leap_second_is_the_end_of_the_one_before() -> None:
    leap, before = (
        UsageEvent.new("cus_1", "read", event_id="a", occurred_at=at)
        for at in ("2016-12-31T23:59:60Z", "2017-01-01T00:59:59.999+01:00")
    )
    assert leap.has_content_of(before)


@pytest.mark.parametrize("reservation_id", ["run-7", "...", "~", "Run_7.a:b", "r" * 128])
def test_an_event_is_the_same_with_and_without_its_reservation(reservation_id: str) -> None:
    plain = UsageEvent.new("cus_1", "read", event_id="a")
    reserved = UsageEvent.new("cus_1", "read", event_id="a", reservation_id=reservation_id)
    other = UsageEvent.new("cus_1", "read", event_id="a", reservation_id="other")
    assert reserved.to_json() == {**plain.to_json(), "reservation_id": reservation_id}
    assert plain.has_content_of(reserved)
    assert reserved.has_content_of(plain)
    assert reserved.has_content_of(other)
    assert not reserved.has_content_of(reserved.with_quantity(2))


def test_what_is_written_is_what_is_read() -> None:
    event = UsageEvent.new(
        "cus_1",
        "read",
        3,
        event_id="ä\n🚲",
        occurred_at=1_769_860_800,
        subscription_item="si_1",
        reservation_id="run-7",
    )
    assert UsageEvent.from_json(event.to_json()) == event
    with pytest.raises(InvalidUsage):
        UsageEvent.from_json({"event_id": "a"})
