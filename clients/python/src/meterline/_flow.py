"""Logic that waits for I/O without doing any, so that the sync and the async client share it.

A flow is a generator. It yields what is to be done and is sent what came of it; who runs it
does the I/O in its own way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from ._events import UsageEvent
from ._outcomes import Verdict
from ._protocol import Attempt, Request

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Make one attempt at a request; comes to an :data:`Attempt`."""

    request: Request


@dataclass(frozen=True)
class Sleep:
    """Wait; comes to whether the wait was cut short because the client closes."""

    seconds: float


@dataclass(frozen=True)
class Blocking:
    """Call what waits for the disk; comes to its value."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Buffered:
    """Deliver an event with others; comes to its :data:`Verdict`."""

    event: UsageEvent
    deadline: float


@dataclass(frozen=True)
class AwaitWork:
    """Wait until there may be something in the spool; comes to whether the client closes."""


Effect = Send | Sleep | Blocking | Buffered | AwaitWork
Flow = Generator[Effect, Any, T]


def send(request: Request) -> Flow[Attempt]:
    """:class:`Send`, typed."""
    attempt: Attempt = yield Send(request)
    return attempt


def sleep(seconds: float) -> Flow[bool]:
    """:class:`Sleep`, typed."""
    closing: bool = yield Sleep(seconds)
    return closing


def blocking(call: Callable[[], T]) -> Flow[T]:
    """:class:`Blocking`, typed."""
    value: T = yield Blocking(call)
    return value


def buffered(event: UsageEvent, deadline: float) -> Flow[Verdict]:
    """:class:`Buffered`, typed."""
    verdict: Verdict = yield Buffered(event, deadline)
    return verdict


def await_work() -> Flow[bool]:
    """:class:`AwaitWork`, typed."""
    closing: bool = yield AwaitWork()
    return closing


def run(flow: Flow[T], perform: Callable[[Effect], Any]) -> T:
    """Runs a flow to its end; ``perform`` does what it yields."""
    resume: Callable[[], Effect] = lambda: next(flow)  # noqa: E731
    while True:
        try:
            effect = resume()
        except StopIteration as end:
            value: T = end.value
            return value
        try:
            outcome = perform(effect)
        except BaseException as error:  # noqa: BLE001 (the flow is told)
            resume = _thrown(flow, error)
        else:
            resume = _sent(flow, outcome)


async def run_async(flow: Flow[T], perform: Callable[[Effect], Awaitable[Any]]) -> T:
    """:func:`run`, where ``perform`` is to be awaited."""
    resume: Callable[[], Effect] = lambda: next(flow)  # noqa: E731
    while True:
        try:
            effect = resume()
        except StopIteration as end:
            value: T = end.value
            return value
        try:
            outcome = await perform(effect)
        except BaseException as error:  # noqa: BLE001 (the flow is told)
            resume = _thrown(flow, error)
        else:
            resume = _sent(flow, outcome)


def _thrown(flow: Flow[T], error: BaseException) -> Callable[[], Effect]:
    return lambda: flow.throw(error)


def _sent(flow: Flow[T], outcome: object) -> Callable[[], Effect]:
    return lambda: flow.send(outcome)
