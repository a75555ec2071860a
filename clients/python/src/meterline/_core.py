"""What emitting is: deliver, settle, spool, drain; and what is asked of a limit before. Flows only;
no I/O."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from . import _flow
from ._events import BATCH_EVENTS_MAX, UsageEvent
from ._flow import Flow
from ._outcomes import Access, Recorded, Refusal, Reservation, SpoolState, Unsure, Verdict
from ._protocol import (
    Answer,
    Attempt,
    Request,
    access_request,
    read_access,
    read_released,
    read_reserved,
    read_usage,
    release_request,
    reserve_request,
    usage_request,
)
from ._reservations import Question, Wanted
from ._spool import Spool, name_of
from .errors import (
    LIMIT_REACHED,
    AccessDenied,
    LimitReached,
    MeterlineError,
    PerhapsRecorded,
    Refused,
    SpoolFailed,
    Unavailable,
)

T = TypeVar("T")
_LOG = logging.getLogger("meterline")

#: Bounds of the wait before the second attempt, and before any.
_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 2.0
#: The same between looks at a spool that cannot be emptied.
_DRAIN_FIRST_S = 0.5
_DRAIN_MAX_S = 30.0
#: What waits in the background is not put off for longer than this, whoever asks for it.
_DRAIN_RETRY_AFTER_S_MAX = 300
#: How long who has failed is kept waiting to give back what it had held, which expires anyway.
_GIVE_BACK_TIMEOUT_S = 2.0
#: Refusals that speak of the event itself: they hold whatever an earlier attempt did.
_OF_THE_EVENT = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
#: Refusals of a batch, which may be for the sake of one event or of its size.
_OF_THE_BATCH = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
#: The same of a reservation: what is held already is never too much.
_OF_THE_RESERVATION = (HTTPStatus.PAYMENT_REQUIRED, *_OF_THE_EVENT)
#: The same of a release: what was released is known for a week.
_OF_THE_RELEASE = (HTTPStatus.NOT_FOUND,)
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
    #: Whether the client closes: what waits in the spool is left to the next one.
    is_closing: bool = False
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
        # Not all of them at the very moment that they were told.
        return wait_s + (retry_after_s or 0)


def emit(core: Core, event: UsageEvent) -> Flow[Recorded]:
    """Records one event. Raises what the outcome is if it is not recorded."""
    if core.spool is None:
        verdict = yield from _settle(core, event, core.deadline())
        return _concluded(event, verdict)
    outcomes = yield from _emit_spooled(core, core.spool, [event], core.deadline())
    return _or_raise(outcomes[0])


def emit_many(core: Core, events: Sequence[UsageEvent]) -> Flow[list[Recorded | MeterlineError]]:
    """Records events, a hundred a request, and answers an outcome for each, in order. The time
    is that of one call, however many requests it is: after it each is tried once."""
    outcomes: list[Recorded | MeterlineError] = []
    deadline = core.deadline()
    for start in range(0, len(events), BATCH_EVENTS_MAX):
        chunk = events[start : start + BATCH_EVENTS_MAX]
        if core.spool is not None:
            outcomes += yield from _emit_spooled(core, core.spool, chunk, deadline)
            continue
        verdicts = yield from deliver(core, chunk, deadline)
        outcomes += [
            _outcome(event, verdict) for event, verdict in zip(chunk, verdicts, strict=True)
        ]
    return outcomes


def check_access(core: Core, question: Question) -> Flow[Access]:
    """Asks whether a customer may act."""
    customer_id = question.customer_id
    answer = yield from _ask(core, access_request(question), read_access)
    if isinstance(answer, Refusal):
        raise Refused(f"access of {customer_id}: {answer.problem}", problem=answer.problem)
    if isinstance(answer, Unsure):
        message = f"nobody says whether {customer_id} may act: {answer.reason}"
        raise Unavailable(message, problem=answer.problem)
    return answer


def require_access(core: Core, question: Question) -> Flow[None]:
    """Raises :class:`AccessDenied` if a customer may not act."""
    access = yield from check_access(core, question)
    if not access.allowed:
        why = access.reason or f"it is {access.status}"
        raise AccessDenied(
            f"{question.customer_id} may not act: {why}",
            customer_status=access.status,
            reason=access.reason,
        )


def reserve(core: Core, wanted: Wanted) -> Flow[Reservation]:
    """Holds units. The same request again holds nothing twice."""
    read = partial(read_reserved, wanted)
    answer = yield from _ask(core, reserve_request(wanted), read, _OF_THE_RESERVATION)
    if isinstance(answer, Refusal) and answer.problem.type == LIMIT_REACHED:
        raise LimitReached(
            f"{wanted.quantity} units of {wanted.customer_id}: {answer.problem}",
            reservation_id=wanted.reservation_id,
            problem=answer.problem,
        )
    return _reservation(wanted.reservation_id, answer)


def release(core: Core, customer_id: str, reservation_id: str) -> Flow[Reservation]:
    """Gives back what is held; what has ended stays as it is."""
    request = release_request(customer_id, reservation_id)
    read = partial(read_released, customer_id, reservation_id)
    answer = yield from _ask(core, request, read, _OF_THE_RELEASE)
    return _reservation(reservation_id, answer)


def give_back(wanted: Wanted) -> Flow[None]:
    """Releases in one short attempt what an action had held that failed, or was recorded before."""
    customer_id, reservation_id = wanted.customer_id, wanted.reservation_id
    request = release_request(customer_id, reservation_id, _GIVE_BACK_TIMEOUT_S)
    attempt = yield from _flow.send(request)
    answer = read_released(customer_id, reservation_id, attempt)
    if not isinstance(answer, Reservation):
        why = answer.problem if isinstance(answer, Refusal) else answer.reason
        _LOG.warning("reservation %r is not released, and expires: %s", reservation_id, why)


def is_for_good(refused: Refused) -> bool:
    """Whether no event will settle what was held for it. After a refused key it may be recorded
    yet."""
    return refused.problem is None or refused.problem.status not in _OF_THE_KEY


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
        attempted = yield from _attempt(sent)
        again: list[int] = []
        retry_after_s = 0
        for index, verdict in zip(unsettled, attempted, strict=True):
            verdicts[index] = _in_doubt(verdict, _OF_THE_EVENT) if doubtful[index] else verdict
            if isinstance(verdict, Unsure):
                again.append(index)
                doubtful[index] |= verdict.perhaps_recorded
                retry_after_s = max(retry_after_s, verdict.retry_after_s or 0)
        unsettled = again
        wait_s = backoff.next_wait_s(retry_after_s)
        if not unsettled or core.clock() + wait_s > deadline:
            return verdicts
        yield from _flow.sleep(wait_s)


def _attempt(events: Sequence[UsageEvent]) -> Flow[list[Verdict]]:
    """One attempt at events together. Where the batch itself is refused, for the sake of one of
    them or of its size, one at each alone: what is wrong with one is no matter of the others."""
    attempt = yield from _flow.send(usage_request(events))
    is_refused = isinstance(attempt, Answer) and attempt.status in _OF_THE_BATCH
    if len(events) == 1 or not is_refused:
        return read_usage(events, attempt)
    verdicts: list[Verdict] = [Unsure("not sent", perhaps_recorded=False)] * len(events)
    for index, event in enumerate(events):
        attempt = yield from _flow.send(usage_request([event]))
        (verdicts[index],) = read_usage([event], attempt)
        if isinstance(verdicts[index], Unsure):
            # Those behind it would fare no better now.
            break
    return verdicts


def flush_spool(core: Core) -> Flow[SpoolState]:
    """Tries all that waits in the spool, for the retry budget, and says what is left. Raises
    :class:`SpoolFailed` where nobody can say."""
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
        except (OSError, SpoolFailed) as error:
            _LOG.error("nothing of the spool is sent now: %s", error)
            drained = _Drained(is_empty=False)
        if drained.is_empty:
            backoff = _Backoff(core, _DRAIN_FIRST_S, _DRAIN_MAX_S)
            closing = yield from _flow.await_work()
        else:
            closing = yield from _flow.sleep(backoff.next_wait_s(drained.retry_after_s))
        if closing:
            return


def _ask(
    core: Core,
    request: Request,
    read: Callable[[Attempt], T | Refusal | Unsure],
    certain: Sequence[int] = (),
) -> Flow[T | Refusal | Unsure]:
    """Asks until there is a clear answer, or the time is over. ``certain`` are the refusals that
    hold whatever an earlier attempt did."""
    deadline = core.deadline()
    backoff = _Backoff(core)
    doubtful = False
    while True:
        attempt = yield from _flow.send(request)
        answer = read(attempt)
        if not isinstance(answer, Unsure):
            return _in_doubt(answer, certain) if doubtful else answer
        doubtful |= answer.perhaps_recorded
        wait_s = backoff.next_wait_s(answer.retry_after_s)
        if core.clock() + wait_s > deadline:
            return answer
        yield from _flow.sleep(wait_s)


def _settle(core: Core, event: UsageEvent, deadline: float) -> Flow[Verdict]:
    """Delivers one event, alone or in a batch with others."""
    if core.buffered:
        verdict = yield from _flow.buffered(event, deadline)
        return verdict
    verdicts = yield from deliver(core, [event], deadline)
    return verdicts[0]


def _emit_spooled(
    core: Core, spool: Spool, events: Sequence[UsageEvent], deadline: float
) -> Flow[list[Recorded | MeterlineError]]:
    """Writes events down, then sends those that the disk took."""
    names = [name_of(event) for event in events]
    # The background does not send what a call is sending.
    core.in_flight.hold(names)
    is_left = True
    try:
        outcomes = yield from _write_and_send(core, spool, events, deadline)
        is_left = any(isinstance(it, Recorded) and it.status == "spooled" for it in outcomes)
    finally:
        core.in_flight.release(names)
        if is_left:
            core.wake()
    return outcomes


def _write_and_send(
    core: Core, spool: Spool, events: Sequence[UsageEvent], deadline: float
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
        verdicts = [(yield from _settle(core, events[0], deadline))]
    elif written:
        sent = [events[index] for index in written]
        verdicts = yield from deliver(core, sent, deadline)
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
) -> Flow[bool]:
    """Ends an event's stay in the spool, and says whether it has. The API has spoken: what the disk
    says cannot change that, and at worst the event is sent again, as the duplicate that it is."""
    try:
        if isinstance(verdict, Refusal):
            yield from _flow.blocking(partial(spool.set_aside, name, event, verdict.problem))
            _LOG.error("event %r is refused and set aside: %s", event.event_id, verdict.problem)
        else:
            yield from _flow.blocking(partial(spool.remove, name))
    except OSError as error:
        _LOG.error("event %r stays in the spool: %s", event.event_id, error)
        return False
    return True


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
        chunk, unread = yield from _flow.blocking(partial(spool.read, some))
        left += unread
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
            is_out = yield from _take_out(spool, name, event, verdict)
            left += not is_out
        if _concerns_all(verdicts) or core.is_closing:
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


def _in_doubt(answer: T, certain: Sequence[int]) -> T | Unsure:
    """An answer after an attempt that may have recorded the event, or held the units: a key that
    was revoked in between says nothing of what happened before."""
    if isinstance(answer, Refusal) and answer.problem.status not in certain:
        return Unsure(str(answer.problem), perhaps_recorded=True, problem=answer.problem)
    return answer


def _reservation(reservation_id: str, answer: Reservation | Refusal | Unsure) -> Reservation:
    if isinstance(answer, Refusal):
        raise Refused(
            f"reservation {reservation_id!r}: {answer.problem}",
            reservation_id=reservation_id,
            problem=answer.problem,
        )
    if isinstance(answer, Unsure):
        raise Unavailable(
            f"nobody says what became of reservation {reservation_id!r}: ask again under the same "
            f"id, or let it expire ({answer.reason})",
            reservation_id=reservation_id,
            problem=answer.problem,
        )
    return answer


def _outcome(event: UsageEvent, verdict: Verdict) -> Recorded | MeterlineError:
    event_id = event.event_id
    if isinstance(verdict, Refusal):
        return Refused(
            f"event {event_id!r}: {verdict.problem}",
            event_id=event_id,
            reservation_id=event.reservation_id,
            problem=verdict.problem,
        )
    if isinstance(verdict, Unsure):
        message = (
            f"event {event_id!r} is perhaps recorded: "
            f"emit it again with the same event id, or void it ({verdict.reason})"
        )
        return PerhapsRecorded(
            message,
            event_id=event_id,
            reservation_id=event.reservation_id,
            problem=verdict.problem,
        )
    return verdict


def _concluded(event: UsageEvent, verdict: Verdict) -> Recorded:
    return _or_raise(_outcome(event, verdict))


def _or_raise(outcome: Recorded | MeterlineError) -> Recorded:
    if isinstance(outcome, MeterlineError):
        raise outcome
    return outcome
