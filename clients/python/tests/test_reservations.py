"""Units that are held before an action, on the test double: what becomes of them in every end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from meterline import (
    AccessDenied,
    AsyncMeterline,
    Buffer,
    Closed,
    InvalidUsage,
    LimitReached,
    Meterline,
    PerhapsRecorded,
    Refused,
    Unavailable,
    UsageEvent,
    event_id_of_job,
)
from meterline.testing import FakeMeterline

URL = "http://meterline.test"
API_KEY = "mk_test"


def test_what_is_held_is_settled_by_its_event(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    fake.limit("cus_1", 100)
    held = client.call("reserve", "cus_1", "read", 40, reservation_id="run-1")
    assert (held.reservation_id, held.status, held.quantity) == ("run-1", "held", 40)
    assert fake.held_units("cus_1") == 40
    settles = {"job_id": "a", "reservation_id": held.reservation_id}
    assert client.call("emit", "cus_1", "read", 38, **settles).reservation == "settled"
    # A repeat that has lost the reservation is the same event.
    again = client.call("emit", "cus_1", "read", 38, job_id="a")
    assert (again.duplicate, again.reservation) == (True, "settled")
    assert client.call("emit", "cus_1", "read", 2, job_id="b").reservation is None
    assert client.call("release", "cus_1", "run-1") == "settled"
    assert (fake.held_units("cus_1"), fake.units("cus_1")) == (0, 40)


def test_what_is_not_needed_is_given_back(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    held = client.call("reserve", "cus_1", "read", 40)
    for _ in range(2):
        assert client.call("release", "cus_1", held.reservation_id) == "released"
    assert fake.held_units("cus_1") == 0
    with pytest.raises(Refused) as refused:
        client.call("release", "cus_1", "unheard-of")
    assert refused.value.reservation_id == "unheard-of"


def test_a_retry_holds_nothing_twice(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    fake.drop()
    fake.fail(503)
    client.call("reserve", "cus_1", "read", 60)
    assert fake.held_units("cus_1") == 60


def test_more_than_what_is_left_is_not_held(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    fake.limit("cus_1", 10)
    client.call("reserve", "cus_1", "read", 8)
    with pytest.raises(LimitReached) as reached:
        client.call("reserve", "cus_1", "read", 3, reservation_id="second")
    assert (reached.value.left_units, reached.value.left_amount) == (2, None)
    assert reached.value.reservation_id == "second"
    assert client.call("reserve", "cus_1", "read", 2, reservation_id="second").status == "held"


def test_an_error_carries_the_reservation_to_go_on_with(opened: Any, fake: FakeMeterline) -> None:
    client = opened(retry_budget_s=0)
    fake.drop()
    with pytest.raises(Unavailable) as unavailable:
        client.call("reserve", "cus_1", "read", 7)
    reservation_id = unavailable.value.reservation_id
    held = client.call("reserve", "cus_1", "read", 7, reservation_id=reservation_id)
    assert held.reservation_id == reservation_id
    with pytest.raises(Refused) as conflict:
        client.call("reserve", "cus_1", "read", 8, reservation_id=reservation_id)
    assert conflict.value.type == "urn:meterline:problem:conflict"


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("reserve", ("cus/1", "read", 1), {}),
        ("reserve", ("cus_1", "two words", 1), {}),
        ("reserve", ("cus_1", "read", 0), {}),
        ("reserve", ("cus_1", "read", 1.0), {}),
        ("reserve", ("cus_1", "read", 1_000_000_001), {}),
        ("reserve", ("cus_1", "read", 1), {"reservation_id": ".."}),
        ("reserve", ("cus_1", "read", 1), {"reservation_id": ""}),
        ("reserve", ("cus_1", "read", 1), {"expires_in_s": 0}),
        ("reserve", ("cus_1", "read", 1), {"expires_in_s": 3_601}),
        ("reserve", ("cus_1", "read", 1), {"expires_in_s": 1.5}),
        ("release", ("cus/1", "a"), {}),
        ("release", ("cus_1", "nobody's"), {}),
        ("release", ("cus_1", None), {}),
        ("check_access", ("cus/1",), {}),
        ("check_access", ("cus_1",), {"units": 0}),
        ("check_access", ("cus_1",), {"units": True}),
        ("check_access", ("cus_1",), {"action": "read"}),
        ("check_access", ("cus_1",), {"units": 1, "action": "two words"}),
        ("require_access", ("cus_1",), {"units": 0}),
        ("metered", (print, "cus_1", "read"), {"reserve": 0}),
        ("metered", (print, "cus_1", "read"), {"reserve": True}),
        ("metered", (print, "cus_1", "read"), {"reserve": 1, "reservation_id": "a"}),
    ],
    ids=str,
)
def test_what_the_api_would_refuse_is_not_sent(
    opened: Any, fake: FakeMeterline, method: str, arguments: Any, options: Any
) -> None:
    with pytest.raises(InvalidUsage):
        opened().call(method, *arguments, **options)
    assert fake.headers == []


def test_a_metered_action_holds_what_it_may_use_and_bills_what_it_used(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()
    fake.limit("cus_1", 10)
    held: list[int] = []

    def act() -> str:
        held.append(fake.held_units("cus_1"))
        return "text"

    done = client.call("metered", act, "cus_1", "read", quantity=len, reserve=9)
    assert (done.usage.quantity, done.usage.reservation, held) == (4, "settled", [9])
    with pytest.raises(LimitReached):
        client.call("metered", act, "cus_1", "read", reserve=9)
    assert (len(held), fake.held_units("cus_1"), fake.units("cus_1")) == (1, 0, 4)


def test_an_action_is_not_run_unless_its_units_are_held(opened: Any, fake: FakeMeterline) -> None:
    client = opened(retry_budget_s=0)
    ran: list[bool] = []
    fake.drop()
    with pytest.raises(Unavailable):
        client.call("metered", lambda: ran.append(True), "cus_1", "read", reserve=9)
    fake.refuse("forbidden", 403)
    with pytest.raises(Refused):
        client.call("metered", lambda: ran.append(True), "cus_1", "read", reserve=9)
    assert (ran, fake.events) == ([], [])


def test_who_may_not_act_holds_nothing(opened: Any, fake: FakeMeterline) -> None:
    fake.deny("cus_1")
    options = {"check_access": True, "reserve": 9}
    with pytest.raises(AccessDenied):
        opened().call("metered", lambda: None, "cus_1", "read", **options)
    # Nobody asked for more than access.
    assert len(fake.headers) == 1


def test_an_action_that_raises_gives_back_what_it_had_held(
    opened: Any, fake: FakeMeterline
) -> None:
    error = LookupError("no summary")

    def fails() -> None:
        raise error

    with pytest.raises(LookupError) as raised:
        opened().call("metered", fails, "cus_1", "read", reserve=9)
    assert raised.value is error
    assert (fake.held_units("cus_1"), fake.events) == (0, [])


@pytest.mark.parametrize("failure", ["drop", "fail", "refuse"])
def test_the_actions_error_passes_also_where_nothing_can_be_given_back(
    opened: Any, fake: FakeMeterline, failure: str
) -> None:
    error = LookupError("no summary")

    def fails() -> None:
        getattr(fake, failure)()
        raise error

    with pytest.raises(LookupError) as raised:
        opened().call("metered", fails, "cus_1", "read", reserve=9)
    assert raised.value is error
    # It expires.
    assert (fake.held_units("cus_1"), len(fake.headers)) == (9, 2)


def test_what_is_perhaps_recorded_stays_held_for_its_event(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened(retry_budget_s=0)
    with pytest.raises(PerhapsRecorded) as perhaps:
        client.call("metered", fake.drop, "cus_1", "read", reserve=9)
    assert fake.held_units("cus_1") == 9
    error = perhaps.value
    ids = {"event_id": error.event_id, "reservation_id": error.reservation_id}
    assert client.call("emit", "cus_1", "read", **ids).reservation == "settled"
    assert fake.held_units("cus_1") == 0


def test_an_action_whose_quantity_nobody_can_tell_holds_nothing_for_an_event(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()
    for result in ("", None):
        with pytest.raises(InvalidUsage):
            client.call("metered", lambda it=result: it, "cus_1", "read", quantity=len, reserve=9)
        assert fake.held_units("cus_1") == 0


def test_what_is_refused_for_good_gives_back_what_it_had_held(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()
    client.call("emit", "cus_1", "read", 2, job_id="a")
    with pytest.raises(Refused):
        client.call("metered", lambda: "summary", "cus_1", "read", 3, job_id="a", reserve=9)
    assert (fake.held_units("cus_1"), fake.units("cus_1")) == (0, 2)


def test_an_error_names_no_reservation_that_was_given_back(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()
    client.call("emit", "cus_1", "read", 2, job_id="a")
    with pytest.raises(Refused) as refused:
        client.call("metered", lambda: "summary", "cus_1", "read", 3, job_id="a", reserve=9)
    assert (refused.value.result, refused.value.reservation_id) == ("summary", None)
    event_id = event_id_of_job("a", "read")
    assert refused.value.event == UsageEvent.new("cus_1", "read", 3, event_id=event_id)


def test_a_refused_key_gives_back_nothing_that_its_event_may_settle(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()

    def work() -> str:
        fake.refuse("unauthorized", 401)
        return "summary"

    with pytest.raises(Refused) as refused:
        client.call("metered", work, "cus_1", "read", 3, reserve=9)
    assert fake.held_units("cus_1") == 9
    client.call("emit_many", [refused.value.event])
    assert (fake.held_units("cus_1"), fake.units("cus_1")) == (0, 3)


def test_an_action_may_settle_what_was_held_before(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    held = client.call("reserve", "cus_1", "read", 9)

    def fails() -> None:
        raise LookupError

    named = {"reservation_id": held.reservation_id}
    with pytest.raises(LookupError):
        client.call("metered", fails, "cus_1", "read", **named)
    # Whoever has reserved it gives it back.
    assert fake.held_units("cus_1") == 9
    done = client.call("metered", lambda: 1, "cus_1", "read", **named)
    assert done.usage.reservation == "settled"


def test_many_events_settle_each_its_own(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    for name in ("run-1", "run-2"):
        client.call("reserve", "cus_1", "read", 10, reservation_id=name)
    client.call("release", "cus_1", "run-2")
    names = ["run-1", "run-1", "run-2", "unheard-of", None]
    events = [UsageEvent.new("cus_1", "read", 7, reservation_id=name) for name in names]
    outcomes = client.call("emit_many", events)
    settled = ["settled", "settled_before", "released", "unknown", None]
    assert [outcome.reservation for outcome in outcomes] == settled
    assert fake.units("cus_1") == 35


def test_a_buffer_tells_each_of_its_own_reservation(opened: Any, fake: FakeMeterline) -> None:
    client = opened(buffer=Buffer(events_max=2, wait_ms=60_000))
    client.call("reserve", "cus_1", "read", 1, reservation_id="run-1")
    names = ["run-1", "unheard-of"]
    calls = [{"customer": "cus_1", "action": "read", "reservation_id": name} for name in names]
    outcomes = client.together("emit", calls)
    assert [outcome.reservation for outcome in outcomes] == ["settled", "unknown"]


def test_what_is_spooled_keeps_its_reservation(
    opened: Any, fake: FakeMeterline, tmp_path: Path
) -> None:
    client = opened(spool_dir=tmp_path, retry_budget_s=0)
    held = client.call("reserve", "cus_1", "read", 5)
    fake.drop(times=1000)
    event = {"job_id": "a", "reservation_id": held.reservation_id}
    spooled = client.call("emit", "cus_1", "read", 5, **event)
    assert (spooled.status, spooled.reservation) == ("spooled", None)
    assert client.call("emit", "cus_1", "read", 5, job_id="a").status == "spooled"
    fake.behave()
    while client.call("flush").waiting:
        pass
    assert (fake.units("cus_1"), fake.held_units("cus_1")) == (5, 0)


def test_access_says_what_is_left(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    assert client.call("check_access", "cus_1", units=1_000_000_001).spending_limit is None
    fake.limit("cus_1", 10)
    client.call("emit", "cus_1", "read", 2)
    client.call("reserve", "cus_1", "read", 3)
    access = client.call("check_access", "cus_1", units=5)
    assert (access.allowed, access.limit) == (True, 10)
    limit = access.spending_limit
    assert (limit.used_units, limit.held_units, limit.left_units) == (2, 3, 5)
    assert (limit.enforcement, limit.used_percent) == ("hard", 20)
    refused = client.call("check_access", "cus_1", units=6)
    assert (refused.allowed, "more than what is left" in refused.reason) == (False, True)
    with pytest.raises(AccessDenied):
        client.call("require_access", "cus_1", units=6, action="read")


def test_a_closed_client_holds_nothing(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    client.call("close")
    for call in (("reserve", "cus_1", "read", 1), ("release", "cus_1", "a")):
        with pytest.raises(Closed):
            client.call(*call)
    assert fake.headers == []


def test_the_double_ends_a_reservation_as_the_api_does(fake: FakeMeterline) -> None:
    client = fake.client()
    fake.limit("cus_1", 10)
    client.reserve("cus_1", "read", 10, reservation_id="run-1")
    fake.expire("cus_1", "run-1")
    assert client.release("cus_1", "run-1") == "expired"
    with pytest.raises(Refused) as ended:
        client.reserve("cus_1", "read", 10, reservation_id="run-1")
    assert ended.value.problem
    assert ended.value.problem.members["reservation_status"] == "expired"
    assert client.emit("cus_1", "read", 1, reservation_id="run-1").reservation == "expired"
    # What is settled is no more to expire.
    client.reserve("cus_1", "read", 9, reservation_id="run-2")
    client.emit("cus_1", "read", 9, reservation_id="run-2")
    fake.expire("cus_1", "run-2")
    assert client.release("cus_1", "run-2") == "settled"
    access = client.check_access("cus_1")
    assert (access.allowed, access.reason) == (False, "the spending limit of the period is reached")


def test_the_double_stops_nobody_at_a_soft_limit_or_without_one(fake: FakeMeterline) -> None:
    client = fake.client()
    fake.limit("cus_1", 10, "soft")
    assert client.reserve("cus_1", "read", 11).status == "held"
    assert client.check_access("cus_1", units=11).allowed
    fake.limit("cus_1", 20)
    with pytest.raises(LimitReached):
        client.reserve("cus_1", "read", 10)
    fake.limit("cus_1", None)
    assert client.reserve("cus_1", "read", 10).status == "held"
    with pytest.raises(InvalidUsage):
        fake.limit("cus_1", 0)


def test_an_interrupt_gives_back_too(fake: FakeMeterline) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.client().metered(interrupted, "cus_1", "read", reserve=9)
    assert fake.held_units("cus_1") == 0


def test_who_is_cancelled_ends_at_once_and_the_client_once_all_is_given_back(
    fake: FakeMeterline,
) -> None:
    async def story() -> None:
        running, may_release = asyncio.Event(), asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "DELETE":
                await may_release.wait()
            return fake._answer(request)

        async def endless() -> None:
            running.set()
            await asyncio.Event().wait()

        transport = httpx.MockTransport(answer)
        async with AsyncMeterline(URL, API_KEY, transport=transport) as client:
            call = asyncio.ensure_future(client.metered(endless, "cus_1", "read", reserve=9))
            await running.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert fake.held_units("cus_1") == 9
            may_release.set()
        assert fake.held_units("cus_1") == 0

    asyncio.run(story())


def test_what_no_event_settles_is_given_back_though_the_caller_is_cancelled(
    fake: FakeMeterline, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        sending, goes_on = asyncio.Event(), asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v1/usage":
                sending.set()
                await goes_on.wait()
            return fake._answer(request)

        async def act() -> str:
            return "summary"

        transport = httpx.MockTransport(answer)
        async with AsyncMeterline(URL, API_KEY, transport=transport) as client:
            metered = client.metered(act, "cus_1", "read", 3, job_id="a", reserve=9)
            call = asyncio.ensure_future(metered)
            await sending.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            goes_on.set()

    fake.client().emit("cus_1", "read", 2, job_id="a")
    asyncio.run(story())
    assert fake.held_units("cus_1") == 0
    assert "usage of a call that was cancelled is not recorded" in caplog.text


@pytest.mark.parametrize(("request_timeout_s", "timeout_s"), [(10, 2), (1, 1)])
def test_what_is_given_back_is_not_waited_for_long(
    fake: FakeMeterline, request_timeout_s: float, timeout_s: float
) -> None:
    timeouts: list[tuple[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append((request.method, request.extensions["timeout"]["read"]))
        return fake._answer(request)

    def fails() -> None:
        raise LookupError

    transport = httpx.MockTransport(answer)
    client = Meterline(URL, API_KEY, request_timeout_s=request_timeout_s, transport=transport)
    with pytest.raises(LookupError):
        client.metered(fails, "cus_1", "read", reserve=9)
    assert timeouts == [("POST", request_timeout_s), ("DELETE", timeout_s)]
