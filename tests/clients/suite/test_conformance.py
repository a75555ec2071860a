"""Every case of clients/conformance, with every client's driver."""

import asyncio
import json
import sys
from itertools import permutations
from pathlib import Path

import pytest
from count import count
from drivers import CLIENTS, chosen
from play import Play

CASES = [
    (path.stem, case)
    for path in sorted((CLIENTS / "conformance/cases").glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]


CARELESS = Path(__file__).with_name("careless_driver.py")


def play_and_count(play):
    asyncio.run(play.run())
    count(play)


def named(argument):
    return f"{argument[0]}: {argument[1]['name']}" if isinstance(argument, tuple) else argument


@pytest.mark.parametrize("client", chosen())
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_number_billed_is_the_number_acknowledged(case, client, system, tmp_path):
    play = Play(case[1], system, chosen()[client], tmp_path)
    try:
        play_and_count(play)
    except BaseException:
        print((tmp_path / "driver.log").read_text(encoding="utf-8", errors="replace"))
        raise


# With every field, and an id that no file could have for its name.
STRANGE = {"event_id": 'a/b\n"Ä 🚲', "quantity": 7, "occurred_at": "$now"}
CONFLICT = {"kind": "refused", "type": "urn:meterline:problem:conflict"}
LEFT_IN_THE_SPOOL = {
    "settings": {"spool_dir": True, "retry_budget_ms": 300},
    "steps": [
        {"op": "open"},
        {"api": "down"},
        {"op": "emit", "repeat": 5, "job_id": "ä-$i", "expect": {"ok": {"status": "spooled"}}},
        {"op": "emit", **STRANGE, "expect": {"ok": {"status": "spooled"}}},
        {"op": "close"},
        # The other knows them again, field by field, however each writes them.
        {"op": "open", "process": "second"},
        {"op": "emit", "process": "second", "job_id": "ä-1", "expect": {"ok": {"status": "spooled"}}},
        {"op": "emit", "process": "second", **STRANGE, "expect": {"ok": {"status": "spooled"}}},
        {"op": "emit", "process": "second", **STRANGE, "quantity": 8, "expect": {"error": CONFLICT}},
        {"spool": {"waiting": 6, "set_aside": 0}},
        {"api": "up"},
        {"op": "flush", "process": "second", "expect": {"ok": {"waiting": 0, "set_aside": 0}}},
        {
            "op": "emit",
            "repeat": 5,
            "job_id": "ä-$i",
            "process": "second",
            "expect": {"ok": {"status": "delivered", "duplicate": True}},
        },
    ],
    "expect": {"billed_units": 12, "events": 6},
}


@pytest.mark.parametrize(("client", "other"), list(permutations(chosen(), 2)))
def test_what_one_client_left_in_the_spool_another_sends(client, other, system, tmp_path):
    commands = chosen()
    play_and_count(Play(LEFT_IN_THE_SPOOL, system, commands[client], tmp_path, commands[other]))


@pytest.mark.parametrize(
    ("mistake", "name", "found"),
    [
        ("acknowledges without sending", "an event is delivered", "billed are 0 units"),
        ("takes every answer for a success", "a wrong key is refused at once", "expected {'error'"),
        ("gives up at once", "a lost answer is asked for again", "expected {'ok'"),
        ("makes a new id for each attempt", "three lost answers in a row are asked for again", "expected {'ok'"),
        ("makes a new id for each attempt", "half an answer is no answer", "expected {'ok'"),
        ("does not wait as long as it is told", "a 429 is waited for as long as it says", "ms, not 990"),
    ],
)
def test_a_careless_client_is_found_out(mistake, name, found, system, tmp_path):
    """A suite that passes everybody would pass these."""
    case = next(case for _, case in CASES if case["name"] == name)
    play = Play(case, system, [sys.executable, CARELESS, mistake], tmp_path)
    with pytest.raises(AssertionError, match=found):
        play_and_count(play)


def test_what_a_careless_client_bills_twice_is_counted_twice(system, tmp_path):
    """Without the answers to expect, the count alone must find it."""
    case = next(case for _, case in CASES if case["name"] == "a lost answer is asked for again")
    steps = [{**step, "expect": {"ok": {}}} for step in case["steps"]]
    mistake = "makes a new id for each attempt"
    play = Play({**case, "steps": steps}, system, [sys.executable, CARELESS, mistake], tmp_path)
    with pytest.raises(AssertionError, match="billed are 2 units in 2 events"):
        play_and_count(play)


def test_no_two_cases_have_one_name():
    names = [case["name"] for _, case in CASES]
    assert len(names) == len(set(names))
