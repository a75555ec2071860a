"""What emitting is: deliver, settle, spool, drain. Flows only; no I/O."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from . import _flow
from ._events import BATCH_EVENTS_MAX, UsageEvent
from ._flow import Flow
from ._outcomes import Access, Recorded, Refusal, SpoolState, Unsure, Verdict
from ._protocol import access_request, read_access, read_usage, usage_request
from ._spool import Spool, name_of
from .errors import (
    AccessDenied,
    MeterlineError,
    PerhapsRecorded,
    Refused,
    SpoolFailed,
    Unavailable,
)

_LOG = logging.getLogger("meterline")

#: Bounds of the wait before the second attempt, and before any.
_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 2.0
#: The same between looks at a spool that cannot be emptied.
_DRAIN_FIRST_S = 0.5
_DRAIN_MAX_S = 30.0
#: What waits in the background is not put off for longer than this, whoever asks for it.
_DRAIN_RETRY_AFTER_S_MAX = 300
#: Refusals that speak of the event itself: they hold whatever an earlier attempt did.
_OF_THE_EVENT = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
#: Refusals of the key, which can be mended: what is in the spool outlasts them.
_OF_THE_KEY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class InFlight:
    """Which events calls have in their hands, by name, and whether more than one had it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, int] = {}
        self._shared: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    def hold(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                calls = self._calls.get(name, 0) + 1
                self._calls[name] = calls
                if calls > 1:
                    self._shared.add(name)

    def release(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._calls[name] -= 1
                if self._calls[name] == 0:
                    del self._calls[name]
                    self._shared.discard(name)

    def is_shared(self, name: str) -> bool:
        return name in self._shared


@dataclass
class Core:
    """What the flows of one client share."""

    retry_budget_s: float
    buffered: bool = False
    spool: Spool | None = None
    #: Monotonic seconds.
    clock: Callable[[], float] = time.monotonic
    #: A random number from 0 to 1.
    jitter: Callable[[], float] = random.random
    #: Tells whoever drains the spool that there is something in it.
    wake: Callable[[], None] = lambda: None
    #: Whether the API has been silent for a whole retry budget.
    outage: bool = False
    #: The events of the spool that calls are just sending.
    in_flight: InFlight = field(default_factory=InFlight)

    def deadline(self) -> float:
        """When a call that begins now gives up."""
        return self.clock() + self.retry_budget_s


@dataclass
class _Backoff:
    """Waits that grow twofold, each a random part of its bound: callers whose connections
    broke together do not come back together."""

    core: Core
    bound_s: float = _BACKOFF_FIRST_S
    bound_s_max: float = _BACKOFF_MAX_S

    def next_wait_s(self, retry_after_s: int | None = None) -> float:
        wait_s = self.bound_s * self.core.jitter()
        self.bound_s = min(self.bound_s * 2, self.bound_s_max)
        return max(wait_s, retry_after_s or 0)


def emit(core: Core, event: UsageEvent) -> Flow[Recorded]:
    """Records one event. Raises what the outcome is if it is not recorded."""
    if core.spool is None:
        verdict = yield from _settle(core, event)
        return _concluded(event, verdict)
    outcomes = yield from _emit_spooled(core, core.spool, [event])
    return _or_raise(outcomes[0])


def emit_many(core: Core, events: Sequence[UsageEvent]) -> Flow[list[Recorded | MeterlineError]]:
    """Records events, a hundred a request, and answers an outcome for each, in order."""
    outcomes: list[Recorded | MeterlineError] = []
    for start in range(0, len(events), BATCH_EVENTS_MAX):
        chunk = events[start : start + BATCH_EVENTS_MAX]
        if core.spool is not None:
            outcomes += yield from _emit_spooled(core, core.spool, chunk)
            continue
        verdicts = yield from deliver(core, chunk, core.deadline())
        outcomes += [
            _outcome(event, verdict) for event, verdict in zip(chunk, verdicts, strict=True)
        ]
    return outcomes


def check_access(core: Core, customer_id: str) -> Flow[Access]:
    """Asks whether a customer may act."""
    deadline = core.deadline()
    backoff = _Backoff(core)
    while True:
        attempt = yield from _flow.send(access_request(customer_id))
        answer = read_access(attempt)
        if isinstance(answer, Access):
            return answer
        if isinstance(answer, Refusal):
            raise Refused(f"access of {customer_id}: {answer.problem}", problem=answer.problem)
        wait_s = backoff.next_wait_s(answer.retry_after_s)
        if core.clock() + wait_s > deadline:
            message = f"nobody says whether {customer_id} may act: {answer.reason}"
            raise Unavailable(message, problem=answer.problem)
        yield from _flow.sleep(wait_s)


def require_access(core: Core, customer_id: str) -> Flow[None]:
    """Raises :class:`AccessDenied` if a customer may not act."""
    access = yield from check_access(core, customer_id)
    if not access.allowed:
        why = access.reason or f"it is {access.status}"
        raise AccessDenied(
            f"{customer_id} may not act: {why}",
            customer_status=access.status,
            reason=access.reason,
        )


def deliver(core: Core, events: Sequence[UsageEvent], deadline: float) -> Flow[list[Verdict]]:
    """Sends events together until each has an outcome, or the time is over.

    At least one attempt is made. What ends as :class:`Unsure` may be recorded.
    """
    verdicts: list[Verdict] = [Unsure("not sent", perhaps_recorded=False)] * len(events)
    doubtful = [False] * len(events)
    unsettled = list(range(len(events)))
    backoff = _Backoff(core)
    while True:
        sent = [events[index] for index in unsettled]
        attempt = yield from _flow.send(usage_request(sent))
        again: list[int] = []
        retry_after_s = 0
        for index, verdict in zip(unsettled, read_usage(sent, attempt), strict=True):
            verdicts[index] = _in_doubt(verdict) if doubtful[index] else verdict
            if isinstance(verdict, Unsure):
                again.append(index)
                doubtful[index] |= verdict.perhaps_recorded
                retry_after_s = max(retry_after_s, verdict.retry_after_s or 0)
        unsettled = again
        wait_s = backoff.next_wait_s(retry_after_s)
        if not unsettled or core.clock() + wait_s > deadline:
            return verdicts
        yield from _flow.sleep(wait_s)


def flush_spool(core: Core) -> Flow[SpoolState]:
    """Tries all that waits in the spool, for the retry budget, and says what is left."""
    if core.spool is None:
        return SpoolState()
    yield from _drain(core, core.spool, core.deadline())
    state = yield from _flow.blocking(core.spool.state)
    return state


def drain_forever(core: Core, spool: Spool) -> Flow[None]:
    """Sends what waits in the spool whenever there is something, until the client closes."""
    backoff = _Backoff(core, _DRAIN_FIRST_S, _DRAIN_MAX_S)
    while True:
        try:
            drained = yield from _drain(core, spool, core.clock())
        except OSError as error:
            _LOG.error("the spool cannot be read: %s", error)
            drained = _Drained(is_empty=False)
        if drained.is_empty:
            backoff = _Backoff(core, _DRAIN_FIRST_S, _DRAIN_MAX_S)
            closing = yield from _flow.await_work()
        else:
            closing = yield from _flow.sleep(backoff.next_wait_s(drained.retry_after_s))
        if closing:
            return


def _settle(core: Core, event: UsageEvent) -> Flow[Verdict]:
    """Delivers one event, alone or in a batch with others."""
    if core.buffered:
        verdict = yield from _flow.buffered(event, core.deadline())
        return verdict
    verdicts = yield from deliver(core, [event], core.deadline())
    return verdicts[0]


def _emit_spooled(
    core: Core, spool: Spool, events: Sequence[UsageEvent]
) -> Flow[list[Recorded | MeterlineError]]:
    """Writes events down, then sends those that the disk took."""
    names = [name_of(event) for event in events]
    # The background does not send what a call is sending.
    core.in_flight.hold(names)
    is_left = True
    try:
        outcomes = yield from _write_and_send(core, spool, events)
        is_left = any(isinstance(it, Recorded) and it.status == "spooled" for it in outcomes)
    finally:
        core.in_flight.release(names)
        if is_left:
            core.wake()
    return outcomes


def _write_and_send(
    core: Core, spool: Spool, events: Sequence[UsageEvent]
) -> Flow[list[Recorded | MeterlineError]]:
    outcomes: dict[int, Recorded | MeterlineError] = {}
    is_new: dict[int, bool] = {}
    for index, event in enumerate(events):
        try:
            is_new[index] = yield from _flow.blocking(partial(spool.put, event))
        except (Refused, SpoolFailed) as error:
            outcomes[index] = error
    written = list(is_new)
    if core.outage:
        verdicts: list[Verdict] = [Unsure("an outage", perhaps_recorded=False)] * len(written)
    elif len(events) == 1 and written:
        verdicts = [(yield from _settle(core, events[0]))]
    elif written:
        sent = [events[index] for index in written]
        verdicts = yield from deliver(core, sent, core.deadline())
    else:
        verdicts = []
    for index, verdict in zip(written, verdicts, strict=True):
        is_promised = not is_new[index] or core.in_flight.is_shared(name_of(events[index]))
        outcomes[index] = yield from _settled_in_spool(
            core, spool, events[index], verdict, is_promised
        )
    return [outcomes[index] for index in range(len(events))]


def _settled_in_spool(
    core: Core, spool: Spool, event: UsageEvent, verdict: Verdict, is_promised: bool
) -> Flow[Recorded | MeterlineError]:
    spooled = Recorded(event.event_id, "spooled", False, event.quantity)
    if isinstance(verdict, Unsure):
        core.outage = True
        return spooled
    if is_promised and isinstance(verdict, Refusal) and verdict.problem.status in _OF_THE_KEY:
        # Another caller was told that the event is safe, or is about to be.
        return spooled
    yield from _take_out(spool, name_of(event), event, verdict)
    return _outcome(event, verdict)


def _take_out(
    spool: Spool, name: str, event: UsageEvent, verdict: Recorded | Refusal
) -> Flow[None]:
    """Ends an event's stay in the spool. The API has spoken: what the disk says cannot
    change that, and at worst the event is sent again, as the duplicate that it is."""
    try:
        if isinstance(verdict, Refusal):
            yield from _flow.blocking(partial(spool.set_aside, name, event, verdict.problem))
            _LOG.error("event %r is refused and set aside: %s", event.event_id, verdict.problem)
        else:
            yield from _flow.blocking(partial(spool.remove, name))
    except OSError as error:
        _LOG.error("event %r stays in the spool: %s", event.event_id, error)


@dataclass(frozen=True)
class _Drained:
    """What a look at the spool came to."""

    is_empty: bool
    #: How long the API asks to wait.
    retry_after_s: int = 0


def _drain(core: Core, spool: Spool, deadline: float) -> Flow[_Drained]:
    """Sends what waits, oldest first, until the rest would fare no better."""
    found = yield from _flow.blocking(spool.names)
    names = [name for name in found if name not in core.in_flight]
    left = 0
    retry_after_s = 0
    held_up: dict[str, int] = {}
    for start in range(0, len(names), BATCH_EVENTS_MAX):
        some = names[start : start + BATCH_EVENTS_MAX]
        chunk = yield from _flow.blocking(partial(spool.read, some))
        if not chunk:
            continue
        verdicts = yield from deliver(core, list(chunk.values()), deadline)
        for (name, event), verdict in zip(chunk.items(), verdicts, strict=True):
            if isinstance(verdict, Unsure):
                retry_after_s = max(retry_after_s, verdict.retry_after_s or 0)
                left += 1
                continue
            core.outage = False
            if isinstance(verdict, Refusal) and verdict.problem.status in _OF_THE_KEY:
                held_up[str(verdict.problem)] = held_up.get(str(verdict.problem), 0) + 1
                left += 1
                continue
            yield from _take_out(spool, name, event, verdict)
        if _concerns_all(verdicts):
            break
    for problem, number in held_up.items():
        _LOG.warning("the key keeps %d events in the spool: %s", number, problem)
    return _Drained(left == 0, min(retry_after_s, _DRAIN_RETRY_AFTER_S_MAX))


def _concerns_all(verdicts: Sequence[Verdict]) -> bool:
    """Whether what waits behind would fare no better: the API is silent, or does not know the
    key. One that it knows may be of other customers: what a 403 holds up lets the rest by."""
    return all(isinstance(verdict, Unsure) for verdict in verdicts) or any(
        isinstance(verdict, Refusal) and verdict.problem.status == HTTPStatus.UNAUTHORIZED
        for verdict in verdicts
    )


def _in_doubt(verdict: Verdict) -> Verdict:
    """A verdict after an attempt that may have recorded the event: a key that was revoked
    in between says nothing of what happened before."""
    if isinstance(verdict, Refusal) and verdict.problem.status not in _OF_THE_EVENT:
        return Unsure(str(verdict.problem), perhaps_recorded=True, problem=verdict.problem)
    return verdict


def _outcome(event: UsageEvent, verdict: Verdict) -> Recorded | MeterlineError:
    event_id = event.event_id
    if isinstance(verdict, Refusal):
        problem = verdict.problem
        return Refused(f"event {event_id!r}: {problem}", event_id=event_id, problem=problem)
    if isinstance(verdict, Unsure):
        message = (
            f"event {event_id!r} is perhaps recorded: "
            f"emit it again with the same event id, or void it ({verdict.reason})"
        )
        return PerhapsRecorded(message, event_id=event_id, problem=verdict.problem)
    return verdict


def _concluded(event: UsageEvent, verdict: Verdict) -> Recorded:
    return _or_raise(_outcome(event, verdict))


def _or_raise(outcome: Recorded | MeterlineError) -> Recorded:
    if isinstance(outcome, MeterlineError):
        raise outcome
    return outcome
