"""Both clients, on the package's own test double: a real client, and an API in memory."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
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
    MeterlineError,
    PerhapsRecorded,
    Problem,
    Recorded,
    Refused,
    SpoolFailed,
    Unavailable,
    UsageEvent,
)
from meterline._calls import Sending
from meterline._spool import Spool
from meterline.llm import UnreportedUsage, UsageNotRecorded
from meterline.testing import FakeMeterline

URL = "http://meterline.test"


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


def test_an_error_after_the_action_has_its_result_and_its_event(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened(retry_budget_s=0)
    fake.drop()
    with pytest.raises(PerhapsRecorded) as perhaps:
        client.call("metered", lambda: "abc", "cus_1", "token", quantity=len, job_id="a")
    assert perhaps.value.result == "abc"
    [recorded] = client.call("emit_many", [perhaps.value.event])
    assert recorded.quantity == fake.units("cus_1") == 3


def test_a_quantity_that_cannot_be_does_not_lose_the_result(
    opened: Any, fake: FakeMeterline
) -> None:
    with pytest.raises(InvalidUsage) as invalid:
        opened().call("metered", lambda: "", "cus_1", "token", quantity=len)
    assert (invalid.value.result, invalid.value.event) == ("", None)
    with pytest.raises(InvalidUsage, match="cannot be reckoned: TypeError") as invalid:
        opened().call("metered", lambda: 7, "cus_1", "token", quantity=len)
    assert (invalid.value.result, invalid.value.event) == (7, None)
    assert isinstance(invalid.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "error",
    [
        Refused("no", event_id="a", problem=Problem("about:blank", "No", "not so", 409)),
        AccessDenied("no", customer_status="suspended", reason="it owes"),
        UsageNotRecorded([(UsageEvent.new("cus_1", "read"), Refused("no"))], [], None),
        UnreportedUsage("no", {"id": "msg_1"}),
        *(
            kind("no", event_id="a", reservation_id="r")
            for kind in (
                Closed,
                InvalidUsage,
                LimitReached,
                MeterlineError,
                PerhapsRecorded,
                SpoolFailed,
                Unavailable,
            )
        ),
    ],
    ids=lambda error: error.kind,
)
def test_errors_pass_between_processes(error: MeterlineError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (its own)
    assert (type(copy), str(copy), copy.kind) == (type(error), str(error), error.kind)
    assert copy.problem == error.problem
    assert vars(copy).keys() == vars(error).keys()


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


def test_many_events_that_nobody_answers_are_emitted_again_and_count_once(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened(retry_budget_s=0)
    fake.drop(times=2)
    events = [UsageEvent.new("cus_1", "read") for _ in range(250)]
    outcomes = client.call("emit_many", events)
    assert [type(it) for it in outcomes] == [PerhapsRecorded] * 200 + [Recorded] * 50
    again = client.call("emit_many", events)
    assert [it.duplicate for it in again] == [False] * 200 + [True] * 50
    assert fake.units("cus_1") == 250


def test_of_many_events_a_hundred_that_are_refused_spoil_no_other(
    opened: Any, fake: FakeMeterline
) -> None:
    client = opened()
    fake.refuse("forbidden", 403)
    events = [UsageEvent.new("cus_1", "read") for _ in range(150)]
    outcomes = client.call("emit_many", events)
    assert [type(it) for it in outcomes] == [Refused] * 100 + [Recorded] * 50
    assert fake.units("cus_1") == 50


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


def test_who_is_told_that_the_spool_failed_is_not_billed_later(
    opened: Any, fake: FakeMeterline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = opened(spool_dir=tmp_path)

    def fail(folder: Path) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as disk:
        disk.setattr("meterline._spool._sync_folder", fail)
        with pytest.raises(SpoolFailed):
            client.call("emit", "cus_1", "read")
    assert client.call("flush").waiting == 0
    assert fake.events == []


def test_a_flush_does_not_take_a_spool_that_is_gone_for_an_empty_one(
    opened: Any, tmp_path: Path
) -> None:
    client = opened(spool_dir=tmp_path)
    assert client.call("flush").waiting == 0
    (tmp_path / "waiting").rmdir()
    with pytest.raises(SpoolFailed, match="waiting"):
        client.call("flush")


def test_a_time_that_the_api_never_takes_is_not_promised_to_be_sent(
    opened: Any, fake: FakeMeterline, tmp_path: Path
) -> None:
    client = opened(spool_dir=tmp_path, retry_budget_s=0)
    ran: list[bool] = []
    with pytest.raises(InvalidUsage, match="occurred_at"):
        client.call("emit", "cus_1", "read", occurred_at="noon")
    with pytest.raises(InvalidUsage, match="occurred_at"):
        client.call("metered", lambda: ran.append(True), "cus_1", "read", occurred_at=0)
    assert client.call("flush").waiting == 0
    assert (ran, fake.headers) == ([], [])


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


def test_what_threads_emit_after_the_main_one_has_ended_is_recorded() -> None:
    story = """
import threading
from meterline import Buffer
from meterline.testing import FakeMeterline

fake = FakeMeterline()
client = fake.client(buffer=Buffer(wait_ms=1))
main = threading.main_thread()

def work():
    main.join()
    print(client.emit("cus_1", "read").status, fake.units("cus_1"))

threading.Thread(target=work).start()
"""
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", story]
    done = subprocess.run(program, capture_output=True, timeout=60, text=True, env=path)
    assert (done.stdout, done.stderr) == ("delivered 1\n", "")


def test_a_flush_waits_for_what_another_call_sends(fake: FakeMeterline) -> None:
    asked, answer = threading.Event(), threading.Event()

    def answered(request: httpx.Request) -> httpx.Response:
        asked.set()
        answer.wait()
        return fake._answer(request)

    flushing = threading.Event()

    def flush() -> int:
        flushing.set()
        meterline.flush()
        return fake.units("cus_1")

    meterline = Meterline(URL, "mk_1", transport=httpx.MockTransport(answered))
    with meterline, ThreadPoolExecutor(2) as threads:
        emitting = threads.submit(meterline.emit, "cus_1", "read")
        asked.wait()
        flushed = threads.submit(flush)
        flushing.wait()
        answer.set()
        assert flushed.result() == 1
        emitting.result()


def test_a_flush_hurries_what_comes_into_the_buffer_while_it_waits(
    fake: FakeMeterline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, goes_on = threading.Event(), threading.Event()
    put, wait_for_all_there = Spool.put, Sending.wait_for_all_there

    def put_slowly(spool: Spool, event: UsageEvent) -> bool:
        writing.set()
        goes_on.wait()
        return put(spool, event)

    def go_on_and_wait(sending: Sending) -> None:
        goes_on.set()
        wait_for_all_there(sending)

    monkeypatch.setattr(Spool, "put", put_slowly)
    monkeypatch.setattr(Sending, "wait_for_all_there", go_on_and_wait)
    buffer = Buffer(wait_ms=3_600_000)
    meterline = fake.client(buffer=buffer, spool_dir=tmp_path)
    with ThreadPoolExecutor(2) as threads, meterline:
        emitting = threads.submit(meterline.emit, "cus_1", "read")
        writing.wait()
        threads.submit(meterline.flush).result(30)
        assert emitting.result().status == "delivered"


def test_a_flush_hurries_a_call_that_has_just_begun(fake: FakeMeterline) -> None:
    async def story() -> None:
        async with fake.async_client(buffer=Buffer(wait_ms=3_600_000)) as client:
            emitting = asyncio.ensure_future(client.emit("cus_1", "read"))
            await asyncio.sleep(0)
            await client.flush()
            assert (await emitting).status == "delivered"

    asyncio.run(asyncio.wait_for(story(), 30))


def test_who_closes_second_waits_for_who_closed_first(fake: FakeMeterline) -> None:
    class Closing(httpx.MockTransport):
        began, goes_on = threading.Event(), threading.Event()
        is_closed = False

        def close(self) -> None:
            self.began.set()
            self.goes_on.wait()
            self.is_closed = True

    transport, second = Closing(fake._answer), threading.Event()
    meterline = Meterline(URL, "mk_1", transport=transport)

    def close_second() -> bool:
        second.set()
        meterline.close()
        return transport.is_closed

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(meterline.close)
        transport.began.wait()
        closed = threads.submit(close_second)
        second.wait()
        transport.goes_on.set()
        assert closed.result()
        first.result()


def test_what_another_process_spooled_is_sent_though_this_one_spools_nothing(
    opened: Any, fake: FakeMeterline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in ("_client", "_async_client"):
        monkeypatch.setattr(f"meterline.{client}.LOOK_AGAIN_S", 0.01)
    recorded, answer = threading.Event(), fake._answer

    def answered(request: httpx.Request) -> httpx.Response:
        response = answer(request)
        recorded.set()
        return response

    monkeypatch.setattr(fake, "_answer", answered)
    opened(spool_dir=tmp_path).call("flush")
    Spool(tmp_path).put(UsageEvent.new("cus_1", "read"))
    assert recorded.wait(30)
    assert fake.units("cus_1") == 1


def test_usage_is_recorded_though_its_caller_is_cancelled(fake: FakeMeterline) -> None:
    async def story() -> None:
        async with fake.async_client() as client:
            has_run = asyncio.Event()

            async def work() -> str:
                has_run.set()
                return "summary"

            calling = asyncio.ensure_future(client.metered(work, "cus_1", "read"))
            await has_run.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling

    asyncio.run(story())
    assert fake.units("cus_1") == 1


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
        {"url": "mk_secret", "api_key": "https://meter.example"},
        {"url": "https://[mk_secret"},
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
