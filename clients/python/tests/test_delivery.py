"""What a call does with each answer, and how long it waits: the flows, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flows import LOST, NOT_HEARD, PROBLEM, World, batch, event, gateway, recorded, refused, result

from meterline import PerhapsRecorded, Recorded, Refused, UsageEvent, _core, _flow
from meterline._outcomes import Refusal, Unsure
from meterline._protocol import Answer, Attempt
from meterline._spool import Spool


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (200, "delivered"),
        (202, "pending"),
        (202, "held"),
        (202, "quarantined"),
        (202, "a later one"),
    ],
)
def test_durable_is_recorded(code: int, status: str) -> None:
    world = World(recorded(code=code, status=status))
    assert world.emit(event()).status == status
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    "unsure",
    [
        LOST,
        NOT_HEARD,
        gateway(429),
        gateway(302),
        gateway(404),
        gateway(407),
        gateway(408),
        gateway(500),
        gateway(502),
        gateway(503),
        gateway(504),
        Answer(200, b""),
        Answer(200, b"<html>"),
        Answer(200, b"[" * 100_000),
        Answer(200, b"[]"),
        Answer(200, b"{}"),
        recorded("another"),
        recorded(quantity="1"),
    ],
    ids=lambda attempt: str(attempt)[:60],
)
def test_what_is_unclear_is_sent_again_as_it_was(unsure: Attempt) -> None:
    world = World(unsure, recorded(duplicate=True))
    assert world.emit(event()).duplicate
    assert world.sent == [event().to_json()] * 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 418, 422, 499])
def test_a_refusal_is_not_sent_again(status: int) -> None:
    world = World(refused(status, "forbidden"))
    with pytest.raises(Refused) as error:
        world.emit(event())
    assert (error.value.type, error.value.detail) == (PROBLEM + "forbidden", "because")
    assert (error.value.event_id, error.value.retryable) == ("a", False)
    assert len(world.sent) == 1


def test_waits_grow_to_a_bound_and_are_a_random_part_of_it() -> None:
    world = World(*[LOST] * 9, recorded(), jitter=1.0)
    world.emit(event())
    assert world.waits_s == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    world = World(*[LOST] * 3, recorded(), jitter=0.5)
    world.emit(event())
    assert world.waits_s == [0.025, 0.05, 0.1]


def test_retry_after_is_waited_for() -> None:
    world = World(gateway(429, "7"), gateway(503, "1"), recorded())
    world.emit(event())
    assert world.waits_s == [7.05, 1.1]


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", "", "9" * 30, "٣"])
def test_a_retry_after_that_is_no_number_of_seconds_is_as_none(date: str) -> None:
    world = World(gateway(429, date), recorded())
    world.emit(event())
    assert world.waits_s == [0.05]


SENT = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("until", "waited_s"),
    [
        ("Wed, 21 Oct 2026 07:28:07 GMT", 7.05),
        ("Wednesday, 21-Oct-26 07:28:07 GMT", 7.05),
        ("Wed Oct 21 07:28:07 2026", 7.05),
        # It is over, and nothing is to be waited for.
        (SENT, 0.05),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.05),
    ],
)
def test_a_retry_after_that_is_a_date_is_held_against_the_answers_own(
    until: str, waited_s: float
) -> None:
    world = World(gateway(503, until, SENT), recorded())
    world.emit(event())
    assert world.waits_s == [waited_s]


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Oct 2026 07:28:00 GMT", "9" * 30])
def test_a_date_without_another_to_hold_it_against_is_as_none(date: str | None) -> None:
    world = World(gateway(503, "Wed, 21 Oct 2026 07:28:07 GMT", date), recorded())
    world.emit(event())
    assert world.waits_s == [0.05]


def test_a_date_of_another_time_is_as_so_many_seconds_are() -> None:
    for until, asked in (("Wed, 21 Oct 9999 07:28:00 GMT", "9" * 12), (f"Wed, {9**30}", "x")):
        for retry_after in (until, asked):
            world = World(gateway(503, retry_after, SENT), recorded())
            world.emit(event())
            assert world.waits_s == [0.05]
    with pytest.raises(PerhapsRecorded):
        World(gateway(503, "Wed, 21 Oct 2027 07:28:00 GMT", SENT)).emit(event())


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    world = World(gateway(429, "60"), budget_s=30)
    with pytest.raises(PerhapsRecorded) as error:
        world.emit(event())
    assert (error.value.event_id, error.value.retryable) == ("a", True)
    assert world.waits_s == []


def test_without_a_budget_there_is_one_attempt() -> None:
    with pytest.raises(PerhapsRecorded):
        World(LOST, budget_s=0).emit(event())


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_of_something_else_after_a_lost_answer_is_perhaps(status: int) -> None:
    for doubt in (LOST, gateway(500), gateway(408), Answer(200, b"?")):
        with pytest.raises(PerhapsRecorded):
            World(doubt, refused(status, "forbidden")).emit(event())


@pytest.mark.parametrize("doubt", [NOT_HEARD, gateway(429)], ids=["not heard", "429"])
def test_what_was_surely_not_recorded_raises_no_doubt(doubt: Attempt) -> None:
    with pytest.raises(Refused):
        World(doubt, refused(403, "forbidden")).emit(event())


@pytest.mark.parametrize("status", [409, 422])
def test_a_refusal_of_the_event_itself_holds_after_a_lost_answer(status: int) -> None:
    with pytest.raises(Refused):
        World(LOST, refused(status, "conflict")).emit(event())


def many(number: int) -> list[UsageEvent]:
    return [event(f"e{each}") for each in range(number)]


def all_recorded(events: Sequence[UsageEvent]) -> Answer:
    return batch(*(result(it.event_id) for it in events))


def test_the_budget_of_many_events_is_one_though_they_are_several_requests() -> None:
    world = World(*[LOST] * 7, budget_s=0.76)
    outcomes = world.emit_many(many(250))
    assert [type(outcome) for outcome in outcomes] == [PerhapsRecorded] * 250
    # All of it goes to the first hundred; the others are tried once, and none is passed over.
    assert world.waits_s == [0.05, 0.1, 0.2, 0.4]
    assert [len(body["events"]) for body in world.sent] == [100] * 6 + [50]


def test_of_many_events_those_are_recorded_that_come_after_the_outage() -> None:
    events = many(150)
    world = World(LOST, all_recorded(events[100:]), budget_s=0)
    outcomes = world.emit_many(events)
    assert [type(it) for it in outcomes] == [PerhapsRecorded] * 100 + [Recorded] * 50


def test_of_many_events_a_hundred_that_are_refused_spoil_no_other() -> None:
    events = many(250)
    world = World(all_recorded(events[:100]), refused(403, "forbidden"), all_recorded(events[200:]))
    outcomes = world.emit_many(events)
    assert [type(it) for it in outcomes] == [Recorded] * 100 + [Refused] * 100 + [Recorded] * 50
    assert [it.event_id for it in outcomes] == [it.event_id for it in events]


def test_many_events_with_a_spool_share_the_budget_and_wait_in_it(tmp_path: Path) -> None:
    world = World(*[LOST] * 5, budget_s=0.76)
    world.core.spool = Spool(tmp_path)
    outcomes = world.emit_many(many(250))
    assert {it.status for it in outcomes if isinstance(it, Recorded)} == {"spooled"}
    assert (len(outcomes), len(world.core.spool.names())) == (250, 250)
    # Once there is an outage, the others need not find it out, too.
    assert (len(world.sent), world.waits_s) == (5, [0.05, 0.1, 0.2, 0.4])


def test_many_events_that_a_spool_takes_are_refused_a_hundred_at_a_time(tmp_path: Path) -> None:
    events = many(150)
    world = World(refused(401, "unauthorized"), all_recorded(events[100:]))
    world.core.spool = Spool(tmp_path)
    outcomes = world.emit_many(events)
    assert [type(it) for it in outcomes] == [Refused] * 100 + [Recorded] * 50
    state = world.core.spool.state()
    assert (state.waiting, state.set_aside) == (0, 100)


def test_each_event_of_a_batch_has_its_own_fate() -> None:
    invalid = {
        "event_id": "b",
        "status": "invalid",
        "error": {"type": PROBLEM + "forbidden", "status": 403},
    }
    unknown = {
        "event_id": "c",
        "status": "unknown",
        "error": {"type": PROBLEM + "unavailable", "status": 503},
    }
    world = World(
        batch(result("a"), invalid, unknown, {"event_id": "?"}),
        batch(result("c", duplicate=True), unknown),
        recorded("d", code=202),
    )
    verdicts = world.deliver([event(name) for name in "abcd"])
    assert [type(verdict) for verdict in verdicts] == [Recorded, Refusal, Recorded, Recorded]
    sent = [[each["event_id"] for each in body.get("events", [body])] for body in world.sent]
    assert sent == [["a", "b", "c", "d"], ["c", "d"], ["d"]]


@pytest.mark.parametrize(
    "answer", [batch(), batch(result("a")), Answer(200, b"{}"), Answer(200, b'{"results":1}')]
)
def test_a_batch_without_a_result_for_each_event_proves_nothing(answer: Answer) -> None:
    world = World(answer, batch(result("a"), result("b")))
    assert all(isinstance(it, Recorded) for it in world.deliver([event("a"), event("b")]))


def test_a_refused_batch_refuses_each_event() -> None:
    verdicts = World(refused(401, "unauthorized")).deliver([event("a"), event("b")])
    assert [isinstance(verdict, Refusal) for verdict in verdicts] == [True, True]


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_batch_that_is_refused_for_one_of_its_events_is_sent_one_by_one(status: int) -> None:
    world = World(refused(status, "body-too-large"), refused(400, "invalid-field"), recorded("b"))
    bad, good = world.deliver([event("a"), event("b")])
    assert isinstance(bad, Refusal)
    assert isinstance(good, Recorded)
    assert world.sent[1:] == [event("a").to_json(), event("b").to_json()]


def test_of_a_refused_batch_no_more_is_sent_once_nobody_answers() -> None:
    world = World(refused(400, "invalid-field"), recorded("a"), LOST, budget_s=0)
    verdicts = world.deliver([event("a"), event("b"), event("c")])
    assert [type(verdict) for verdict in verdicts] == [Recorded, Unsure, Unsure]
    assert len(world.sent) == 3


def test_a_file_that_cannot_be_read_is_looked_at_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    in_the_way = tmp_path / "waiting" / "folder.json"
    in_the_way.mkdir()

    class Mended(World):
        def perform(self, effect: _flow.Effect) -> Any:
            if isinstance(effect, _flow.Sleep):
                in_the_way.rmdir()
            return super().perform(effect)

    world = Mended()
    _flow.run(_core.drain_forever(world.core, spool), world.perform)
    assert world.waits_s == [0.5]


def test_a_folder_that_cannot_be_read_is_looked_at_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "waiting").rmdir()

    class Mended(World):
        def perform(self, effect: _flow.Effect) -> Any:
            if isinstance(effect, _flow.Sleep):
                (tmp_path / "waiting").mkdir()
                spool.put(event())
            return super().perform(effect)

    world = Mended(recorded())
    _flow.run(_core.drain_forever(world.core, spool), world.perform)
    assert (world.waits_s, spool.names()) == ([0.5], [])


def test_a_file_that_cannot_be_removed_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.put(event())

    def fail(name: str) -> None:
        monkeypatch.undo()
        raise OSError("read-only")

    monkeypatch.setattr(spool, "remove", fail)
    world = World(recorded(), recorded(duplicate=True))
    _flow.run(_core.drain_forever(world.core, spool), world.perform)
    assert (world.waits_s, len(world.sent), spool.names()) == ([0.5], 2, [])


def test_what_a_gateway_refuses_stays_in_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool, 2)
    world = World(gateway(404), budget_s=0)
    world.core.spool = spool
    state = _flow.run(_core.flush_spool(world.core), world.perform)
    assert (state.waiting, state.set_aside) == (2, 0)


def test_who_closes_leaves_the_rest_of_the_spool_to_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ids = fill(spool, 101)
    world = World(batch(*[result(it) for it in ids[:100]]))
    world.core.is_closing = True
    _flow.run(_core.drain_forever(world.core, spool), world.perform)
    assert len(world.sent) == len(spool.names()) == 1


def test_a_batch_that_nobody_answers_is_unsure() -> None:
    verdicts = World(LOST, budget_s=0).deliver([event("a"), event("b")])
    assert [isinstance(verdict, Unsure) for verdict in verdicts] == [True, True]


@pytest.mark.parametrize(
    ("asked", "waited_s"),
    [
        ("7", 7.5),
        ("999999", 300.5),
        ("Wed, 21 Oct 2026 07:28:07 GMT", 7.5),
        ("Wed, 21 Oct 2027 07:28:00 GMT", 300.5),
    ],
)
def test_the_spool_waits_as_it_is_told(tmp_path: Path, asked: str, waited_s: float) -> None:
    world = World(gateway(429, asked, SENT), recorded())
    spool = Spool(tmp_path)
    spool.put(event())
    _flow.run(_core.drain_forever(world.core, spool), world.perform)
    assert world.waits_s == [waited_s]
    assert spool.names() == []


def of_another_customer(event_id: str) -> dict[str, Any]:
    problem = {"type": PROBLEM + "forbidden", "title": "Not allowed", "status": 403}
    return {"event_id": event_id, "status": "invalid", "error": problem}


def fill(spool: Spool, number: int) -> list[str]:
    """Puts events in, the oldest first, and answers their ids in the order of sending."""
    for each in range(number):
        spool.put(event(f"e{each}"))
    events, _ = spool.read(spool.names())
    return [it.event_id for it in events.values()]


def test_what_a_key_may_not_emit_lets_by_what_it_may(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    *foreign, own = fill(spool, 101)
    world = World(batch(*map(of_another_customer, foreign)), recorded(own))
    world.core.spool = spool
    state = _flow.run(_core.flush_spool(world.core), world.perform)
    assert (state.waiting, len(world.sent)) == (100, 2)


@pytest.mark.parametrize("answer", [refused(401, "unauthorized"), gateway(503)])
def test_what_concerns_all_that_waits_is_asked_once(tmp_path: Path, answer: Answer) -> None:
    spool = Spool(tmp_path)
    fill(spool, 250)
    world = World(answer, budget_s=0)
    world.core.spool = spool
    state = _flow.run(_core.flush_spool(world.core), world.perform)
    assert (state.waiting, len(world.sent)) == (250, 1)


def test_an_error_of_the_flow_passes_through() -> None:
    def flow() -> _flow.Flow[str]:
        try:
            yield _flow.Sleep(1)
        except KeyError:
            return "seen"
        return "missed"

    def perform(effect: _flow.Effect) -> Any:
        raise KeyError(effect)

    assert _flow.run(flow(), perform) == "seen"
