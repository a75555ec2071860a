"""Both clients, on the package's own test double: a real client, and an API in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from meterline import (
    AccessDenied,
    AsyncMeterline,
    Buffer,
    Closed,
    InvalidUsage,
    Meterline,
    MeterlineError,
    PerhapsRecorded,
    Recorded,
    Refused,
    UsageEvent,
)
from meterline.testing import FakeMeterline


class Calls(Protocol):
    """Either client, called from a test."""

    def call(self, method: str, *arguments: Any, **options: Any) -> Any: ...

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]: ...


class SyncCalls:
    def __init__(self, fake: FakeMeterline, **settings: Any) -> None:
        self._client = fake.client(**settings)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._client, method)(*arguments, **options)

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]:
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda call: self.call(method, **call), calls))


class AsyncCalls:
    """The async client, on a loop that runs in a thread of its own."""

    def __init__(self, fake: FakeMeterline, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._client = fake.async_client(**settings)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        arguments = tuple(_awaitable(it) if callable(it) else it for it in arguments)
        call = getattr(self._client, method)(*arguments, **options)
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(30)

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]:
        async def gathered() -> list[Any]:
            return await asyncio.gather(*(getattr(self._client, method)(**call) for call in calls))

        return asyncio.run_coroutine_threadsafe(gathered(), self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def _awaitable(run: Any) -> Any:
    async def awaited() -> Any:
        return run()

    return awaited


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest, fake: FakeMeterline) -> Iterator[Any]:
    """Opens a client of either kind."""
    clients: list[Any] = []

    def open_client(**settings: Any) -> Calls:
        kind = SyncCalls if request.param == "sync" else AsyncCalls
        clients.append(kind(fake, **settings))
        return clients[-1]  # type: ignore[no-any-return]

    yield open_client
    for client in clients:
        client.call("close")
        if isinstance(client, AsyncCalls):
            client.stop()


def test_an_event_is_recorded_once(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    first = client.call("emit", "cus_1", "read", 3, job_id="a")
    again = client.call("emit", "cus_1", "read", 3, job_id="a")
    assert (first.status, first.duplicate, again.duplicate) == ("delivered", False, True)
    assert fake.units("cus_1") == 3


def test_a_retry_keeps_the_id_that_was_made(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    fake.drop()
    fake.fail(503)
    client.call("emit", "cus_1", "read")
    assert fake.units("cus_1") == 1


def test_an_error_carries_the_id_to_go_on_with(opened: Any, fake: FakeMeterline) -> None:
    client = opened(retry_budget_s=0)
    fake.drop()
    with pytest.raises(PerhapsRecorded) as perhaps:
        client.call("emit", "cus_1", "read")
    assert client.call("emit", "cus_1", "read", event_id=perhaps.value.event_id).duplicate is False


def test_a_result_is_handed_out_once_its_usage_is_recorded(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened(retry_budget_s=0)
    done = client.call("metered", lambda: "summary", "cus_1", "read", job_id="a")
    assert (done.result, done.usage.quantity) == ("summary", 1)
    fake.drop()
    with pytest.raises(PerhapsRecorded):
        client.call("metered", lambda: "summary", "cus_1", "read", job_id="b")


def test_an_action_that_raises_is_not_billed(opened: Any, fake: FakeMeterline) -> None:
    def fails() -> str:
        raise LookupError("no summary")

    with pytest.raises(LookupError, match="no summary"):
        opened().call("metered", fails, "cus_1", "read", job_id="a")
    assert fake.events == []


def test_a_quantity_may_be_known_only_afterwards(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    done = client.call("metered", lambda: "summary", "cus_1", "read", quantity=len, job_id="a")
    assert done.usage.quantity == len("summary")
    with pytest.raises(InvalidUsage):
        client.call("metered", lambda: "", "cus_1", "read", quantity=len, job_id="b")
    assert fake.units("cus_1") == len("summary")


def test_who_may_not_act_does_not(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    fake.deny("cus_1", "payments have failed for too long")
    ran: list[bool] = []
    with pytest.raises(AccessDenied) as denied:
        client.call("metered", lambda: ran.append(True), "cus_1", "read", check_access=True)
    assert (denied.value.reason, denied.value.customer_status) == (
        "payments have failed for too long",
        "suspended",
    )
    assert (ran, fake.events) == ([], [])
    assert client.call("check_access", "cus_2").allowed


def test_many_events_have_an_outcome_each(opened: Any, fake: FakeMeterline) -> None:
    client = opened()
    client.call("emit", "cus_1", "read", event_id="7")
    events = [UsageEvent.new("cus_1", "read", 2, event_id=str(number)) for number in range(250)]
    outcomes: list[Recorded | MeterlineError] = client.call("emit_many", events)
    assert [outcome.event_id for outcome in outcomes] == [event.event_id for event in events]
    assert isinstance(outcomes[7], Refused)
    assert fake.units("cus_1") == 1 + 249 * 2


def test_a_buffer_sends_together_and_answers_each(opened: Any, fake: FakeMeterline) -> None:
    client = opened(buffer=Buffer(events_max=40, wait_ms=2000))
    client.call("flush")
    calls = [{"customer": "cus_1", "action": "read", "quantity": n + 1} for n in range(80)]
    outcomes = client.together("emit", calls)
    assert [outcome.quantity for outcome in outcomes] == [n + 1 for n in range(80)]
    assert fake.units("cus_1") == sum(range(81))


def test_a_buffer_raises_to_each_what_is_its_own(opened: Any, fake: FakeMeterline) -> None:
    client = opened(buffer=Buffer(events_max=2, wait_ms=2000))
    fake.refuse("forbidden", 403)
    with pytest.raises(Refused):
        client.together("emit", [{"customer": "cus_1", "action": "read"}] * 2)


def test_with_a_spool_an_agent_goes_on(opened: Any, fake: FakeMeterline, tmp_path: Path) -> None:
    client = opened(spool_dir=tmp_path, retry_budget_s=0)
    fake.drop(times=3)
    assert client.call("emit", "cus_1", "read", job_id="a").status == "spooled"
    while client.call("flush").waiting:
        pass
    assert fake.units("cus_1") == 1
    assert client.call("emit", "cus_1", "read", job_id="a").duplicate


def test_many_events_go_through_the_spool(opened: Any, fake: FakeMeterline, tmp_path: Path) -> None:
    client = opened(spool_dir=tmp_path, retry_budget_s=0)
    fake.refuse("unauthorized", 401)
    events = [UsageEvent.new("cus_1", "read") for _ in range(3)]
    outcomes = client.call("emit_many", events)
    assert [type(outcome) for outcome in outcomes] == [Refused] * 3
    assert client.call("flush").set_aside == 3


def test_a_repeat_under_a_key_that_ended_takes_nothing_from_what_was_promised(
    opened: Any, fake: FakeMeterline, tmp_path: Path
) -> None:
    client = opened(spool_dir=tmp_path, retry_budget_s=0)
    fake.drop()
    fake.refuse("unauthorized", 401, times=1000)
    assert client.call("emit", "cus_1", "read", job_id="a").status == "spooled"
    assert client.call("flush").waiting == 1
    assert client.call("emit", "cus_1", "read", job_id="a").status == "spooled"
    fake.behave()
    assert client.call("flush").waiting == 0
    assert fake.units("cus_1") == 1


def test_of_two_calls_with_one_event_none_takes_from_the_other(
    opened: Any, fake: FakeMeterline, tmp_path: Path
) -> None:
    client = opened(spool_dir=tmp_path, buffer=Buffer(events_max=2, wait_ms=60_000))
    fake.refuse("unauthorized", 401, times=1000)
    calls = [{"customer": "cus_1", "action": "read", "job_id": "a"}] * 2
    assert [outcome.status for outcome in client.together("emit", calls)] == ["spooled"] * 2
    fake.behave()
    assert client.call("flush").waiting == 0
    assert fake.units("cus_1") == 1


def test_a_closed_client_says_so(opened: Any) -> None:
    client = opened()
    client.call("close")
    client.call("close")
    with pytest.raises(Closed):
        client.call("emit", "cus_1", "read")


def test_a_caller_that_is_cancelled_takes_no_other_with_it(fake: FakeMeterline) -> None:
    async def story() -> None:
        async with fake.async_client(buffer=Buffer(events_max=3, wait_ms=60_000)) as client:
            callers = [asyncio.ensure_future(client.emit("cus_1", "read")) for _ in range(2)]
            await asyncio.sleep(0)
            callers[0].cancel()
            last = await client.emit("cus_1", "read")
            assert (await callers[1]).status == last.status == "delivered"

    asyncio.run(story())
    assert fake.units("cus_1") == 3


@pytest.mark.parametrize("kind", [Meterline, AsyncMeterline])
@pytest.mark.parametrize(
    "settings",
    [
        {"url": "meter.example"},
        {"url": "ftp://meter.example"},
        {"api_key": "mk_\n"},
        {"api_key": "mk_ä"},
        {"retry_budget_s": -1},
        {"request_timeout_s": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_without_showing_the_key(
    kind: Any, settings: Any
) -> None:
    with pytest.raises(InvalidUsage) as refused:
        kind(**{"url": "https://meter.example", "api_key": "mk_secret", **settings})
    assert "secret" not in str(refused.value)


def test_the_environment_names_address_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERLINE_URL", "https://meter.example")
    monkeypatch.delenv("METERLINE_API_KEY", raising=False)
    with pytest.raises(InvalidUsage, match="METERLINE_API_KEY"):
        Meterline()
    monkeypatch.setenv("METERLINE_API_KEY", "mk_1")
    Meterline().close()


@pytest.mark.parametrize(
    "settings", [{"events_max": 0}, {"events_max": 101}, {"wait_ms": -1}], ids=str
)
def test_a_buffer_that_cannot_be_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InvalidUsage):
        Buffer(**settings)
