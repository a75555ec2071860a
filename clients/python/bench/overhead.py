"""What the client costs, beside raw httpx in the same run: by turns, so that both meet the same
machine.

Against a server that answers at once, or, with METERLINE_URL, METERLINE_API_KEY and CUSTOMER_ID,
against the API, where it records real usage. ``--quick`` only shows that it works.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from meterline import AsyncMeterline, Buffer, Meterline

QUICK = "--quick" in sys.argv
# Events of one block.
BLOCK = 50 if QUICK else 1_000
# How often the ways take turns, after one that warms up and does not count.
ROUNDS = 5
CALLERS = 128
EVENTS_AT_ONCE = 500 if QUICK else 2_000
RUN = f"bench-{time.time_ns()}"
ACTION = "document_processed"


@dataclass(frozen=True)
class Target:
    """Where events go."""

    url: str
    api_key: str
    customer: str

    def event(self, event_id: str) -> dict[str, object]:
        return {
            "event_id": event_id,
            "customer_id": self.customer,
            "action_type": ACTION,
            "quantity": 1,
        }


@contextmanager
def target() -> Iterator[Target]:
    names = ("METERLINE_URL", "METERLINE_API_KEY", "CUSTOMER_ID")
    given = [os.environ.get(name) for name in names]
    if all(given):
        yield Target(*map(str, given))
        return
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        port = server.stdout.readline().strip() if server.stdout else ""
        yield Target(f"http://127.0.0.1:{port}", "mk_bench", "cus_bench")
        server.terminate()


def one_by_one(emit: Callable[[str], object], way: str, block: int) -> list[float]:
    """The milliseconds that each event took, one after the other."""
    took = []
    for number in range(BLOCK):
        started_s = time.perf_counter()
        emit(f"{RUN}-{way}-{block}-{number}")
        took.append((time.perf_counter() - started_s) * 1000)
    return took


def overhead(to: Target) -> dict[str, list[float]]:
    """The milliseconds of each way's events, block by block by turns."""
    headers = {"authorization": f"Bearer {to.api_key}"}
    took: dict[str, list[float]] = {"raw httpx": [], "client": []}
    with (
        httpx.Client(base_url=to.url, headers=headers, trust_env=False) as raw,
        Meterline(to.url, to.api_key) as client,
    ):

        def emit_raw(event_id: str) -> object:
            # What somebody writes who has no client: no retries, no look at the answer.
            return raw.post("/v1/usage", json=to.event(event_id)).raise_for_status().json()

        def emit(event_id: str) -> object:
            return client.emit(to.customer, ACTION, event_id=event_id)

        for block in range(ROUNDS + 1):
            times = {
                "raw httpx": one_by_one(emit_raw, "raw", block),
                "client": one_by_one(emit, "client", block),
            }
            if block > 0:
                for way, each in times.items():
                    took[way] += each
    return took


async def at_once(emit: Callable[[str], Awaitable[object]], way: str) -> float:
    """Events a second, with many callers at once."""
    numbers = iter(range(EVENTS_AT_ONCE))

    async def caller() -> None:
        for number in numbers:
            await emit(f"{RUN}-{way}-{number}")

    started_s = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return EVENTS_AT_ONCE / (time.perf_counter() - started_s)


async def throughput(to: Target) -> dict[str, list[float]]:
    """The events a second of each way, round by round by turns."""
    headers = {"authorization": f"Bearer {to.api_key}"}
    async with (
        httpx.AsyncClient(base_url=to.url, headers=headers, trust_env=False, timeout=60) as raw,
        AsyncMeterline(to.url, to.api_key, request_timeout_s=60) as single,
        AsyncMeterline(to.url, to.api_key, buffer=Buffer()) as buffered,
    ):

        async def emit_raw(event_id: str) -> object:
            return (await raw.post("/v1/usage", json=to.event(event_id))).raise_for_status().json()

        async def emit(event_id: str) -> object:
            return await single.emit(to.customer, ACTION, event_id=event_id)

        async def emit_buffered(event_id: str) -> object:
            return await buffered.emit(to.customer, ACTION, event_id=event_id)

        ways: dict[str, Callable[[str], Awaitable[object]]] = {
            "raw httpx": emit_raw,
            "client": emit,
            "client, with its buffer": emit_buffered,
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for round_ in range(ROUNDS + 1):
            for way, emit_one in ways.items():
                rate = await at_once(emit_one, f"{way}-at-once-{round_}")
                if round_ > 0:
                    rates[way].append(rate)
        return rates


def quantile(ordered: list[float], part: float) -> str:
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * part))]:.3f}"


def main() -> None:
    with target() as to:
        took = overhead(to)
        rates = asyncio.run(throughput(to))
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors\n")
    print("| one event after the other, ms | events | p50 | p99 |\n| --- | ---: | ---: | ---: |")
    for way, times in took.items():
        ordered = sorted(times)
        print(f"| {way} | {len(times)} | {quantile(ordered, 0.5)} | {quantile(ordered, 0.99)} |")
    print(f"\n| {CALLERS} callers at once, median of {ROUNDS} | events | events a second |")
    print("| --- | ---: | ---: |")
    for way, each_round in rates.items():
        print(f"| {way} | {EVENTS_AT_ONCE} | {statistics.median(each_round):.0f} |")


if __name__ == "__main__":
    main()
