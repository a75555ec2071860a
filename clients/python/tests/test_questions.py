"""What becomes of a reservation, a release or a question, by each answer."""

from __future__ import annotations

from typing import Any

import pytest
from flows import LOST, NOT_HEARD, PROBLEM, World, access, gateway, refused, reservation, wanted

from meterline import (
    LimitReached,
    MeterlineError,
    Refused,
    Reservation,
    SpendingLimit,
    SpendingLimitAlert,
    Unavailable,
    _core,
    _flow,
)
from meterline._protocol import Answer, Attempt


@pytest.mark.parametrize("code", [200, 201])
def test_units_are_held_by_this_call_or_an_earlier_one(code: int) -> None:
    world = World(reservation(code=code))
    assert world.reserve(wanted()) == Reservation("r", "held", 3, "2026-01-31T12:05:00Z")
    assert world.sent == [wanted().to_json()]


@pytest.mark.parametrize(
    "unsure",
    [
        LOST,
        NOT_HEARD,
        gateway(302),
        gateway(408),
        gateway(429),
        gateway(500),
        gateway(503),
        Answer(201, b""),
        Answer(201, b"{}"),
        reservation("another"),
        reservation(customer_id="cus_2"),
        reservation(quantity="3"),
        reservation(status="released"),
    ],
    ids=lambda attempt: str(attempt)[:60],
)
def test_what_is_perhaps_held_is_asked_for_again_as_it_was(unsure: Attempt) -> None:
    world = World(unsure, reservation(code=200))
    assert world.reserve(wanted()).status == "held"
    assert world.sent == [wanted().to_json()] * 2


def test_a_reservation_waits_as_an_event_does() -> None:
    world = World(LOST, gateway(429, "7"), gateway(503), reservation())
    world.reserve(wanted())
    assert world.waits_s == [0.05, 7.1, 0.2]


def test_without_a_clear_answer_units_are_perhaps_held() -> None:
    world = World(gateway(429, "60"), budget_s=30)
    with pytest.raises(Unavailable) as unavailable:
        world.reserve(wanted())
    assert (unavailable.value.reservation_id, unavailable.value.retryable) == ("r", True)
    assert world.waits_s == []


@pytest.mark.parametrize("before", [[], [LOST], [gateway(503)]], ids=str)
@pytest.mark.parametrize(
    "left", [{"left_units": 2, "left_amount": None}, {"left_units": None, "left_amount": "0.40"}]
)
def test_more_than_what_is_left_is_not_asked_for_again(
    before: list[Attempt], left: dict[str, Any]
) -> None:
    world = World(*before, refused(402, "limit-reached", **left))
    with pytest.raises(LimitReached) as reached:
        world.reserve(wanted())
    error = reached.value
    assert {"left_units": error.left_units, "left_amount": error.left_amount} == left
    assert (error.reservation_id, error.retryable) == ("r", False)
    assert error.type == PROBLEM + "limit-reached"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409])
def test_a_refused_reservation_is_not_asked_for_again(status: int) -> None:
    with pytest.raises(Refused) as error:
        World(refused(status, "forbidden")).reserve(wanted())
    assert (error.value.reservation_id, error.value.retryable) == ("r", False)


def test_after_a_lost_answer_only_what_speaks_of_the_reservation_itself_is_a_refusal() -> None:
    for status in (400, 401, 403, 404):
        with pytest.raises(Unavailable) as unavailable:
            World(LOST, refused(status, "forbidden")).reserve(wanted())
        assert unavailable.value.reservation_id == "r"
    for status in (409, 422):
        with pytest.raises(Refused):
            World(LOST, refused(status, "conflict")).reserve(wanted())
    with pytest.raises(Refused):
        World(NOT_HEARD, refused(403, "forbidden")).reserve(wanted())


@pytest.mark.parametrize("status", ["released", "settled", "expired", "a later one"])
def test_what_is_released_says_what_it_has_come_to(status: str) -> None:
    world = World(LOST, reservation(code=200, status=status))
    assert world.release("r").status == status
    assert [(it.method, it.path) for it in world.requests] == [
        ("DELETE", "/v1/usage/reservations/r?customer_id=cus_1")
    ] * 2


@pytest.mark.parametrize(
    ("attempts", "error"),
    [
        ([LOST, gateway(429, "60")], Unavailable),
        ([LOST, refused(403, "forbidden")], Unavailable),
        ([refused(403, "forbidden")], Refused),
        # What was released is known still.
        ([LOST, refused(404, "not-found")], Refused),
    ],
    ids=["no answer", "in doubt", "forbidden", "unknown"],
)
def test_a_release_that_fails_names_the_reservation(
    attempts: list[Attempt], error: type[MeterlineError]
) -> None:
    with pytest.raises(error) as raised:
        World(*attempts).release("r")
    assert raised.value.reservation_id == "r"


@pytest.mark.parametrize("attempt", [LOST, gateway(503), refused(403, "forbidden"), reservation()])
def test_who_has_failed_gives_back_in_one_short_attempt(attempt: Attempt) -> None:
    world = World(attempt)
    _flow.run(_core.give_back(wanted()), world.perform)
    (request,) = world.requests
    assert (request.method, request.timeout_s) == ("DELETE", 2)


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ({}, ""),
        ({"units": 40}, "?units=40"),
        ({"units": 40, "action": "a:b"}, "?units=40&action_type=a%3Ab"),
    ],
    ids=str,
)
def test_access_may_be_asked_for_so_many_units(question: dict[str, Any], query: str) -> None:
    world = World(access())
    assert world.check_access(**question).units == 7
    assert world.requests[0].path == f"/v1/customers/cus_1/access{query}"


def test_a_limit_is_read_as_far_as_it_is_told() -> None:
    told: dict[str, Any] = {
        "units": None,
        "amount": "20.00",
        "currency": "usd",
        "enforcement": "hard",
        "thresholds_percent": [50, 100],
        "set_at": "2026-01-02T09:00:00Z",
        "used_units": 700,
        "used_amount": "14.00",
        "used_currency": "usd",
        "held_units": 40,
        "used_percent": 70,
        "left_units": None,
        "left_amount": "5.20",
        "alerts": [{"threshold_percent": 50, "raised_at": "2026-01-31T12:00:01Z", "mail": "sent"}],
        "what_a_later_version_adds": {},
    }
    limit = World(access(spending_limit=told)).check_access().spending_limit
    assert limit == SpendingLimit(
        amount="20.00",
        currency="usd",
        enforcement="hard",
        thresholds_percent=(50, 100),
        set_at="2026-01-02T09:00:00Z",
        used_units=700,
        used_amount="14.00",
        used_currency="usd",
        held_units=40,
        used_percent=70,
        left_amount="5.20",
        alerts=(SpendingLimitAlert(50, "2026-01-31T12:00:01Z"),),
    )
    earlier = World(access(spending_limit={"units": 10, "enforcement": "soft"})).check_access()
    assert earlier.spending_limit == SpendingLimit(units=10, enforcement="soft")
    assert World(access()).check_access().spending_limit is None
    assert World(access(spending_limit=None)).check_access().spending_limit is None


def test_a_lost_answer_to_a_question_leaves_no_doubt() -> None:
    with pytest.raises(Refused):
        World(LOST, refused(403, "forbidden")).check_access()
    with pytest.raises(Unavailable):
        World(access(spending_limit=7), budget_s=0).check_access()
