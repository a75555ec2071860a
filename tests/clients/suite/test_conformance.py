"""Every case of clients/conformance, with every client's driver."""

import asyncio
import json

import pytest
from count import count
from drivers import CLIENTS, chosen
from play import Play

CASES = [
    (path.stem, case)
    for path in sorted((CLIENTS / "conformance/cases").glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]


def named(argument):
    return f"{argument[0]}: {argument[1]['name']}" if isinstance(argument, tuple) else argument


@pytest.mark.parametrize("client", chosen())
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_number_billed_is_the_number_acknowledged(case, client, system, tmp_path):
    play = Play(case[1], system, chosen()[client], tmp_path)
    try:
        asyncio.run(play.run())
        count(play)
    except BaseException:
        print((tmp_path / "driver.log").read_text(encoding="utf-8", errors="replace"))
        raise


def test_no_two_cases_have_one_name():
    names = [case["name"] for _, case in CASES]
    assert len(names) == len(set(names))
