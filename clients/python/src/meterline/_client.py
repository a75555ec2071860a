"""The client that blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import httpx

from . import _core, _flow
from ._batching import Batch, Batcher, Entry
from ._calls import Background, Calls, Sending, carrying, used_by, without_reservation
from ._checks import check_reservation_id, check_stripe_id
from ._core import Core
from ._events import UsageEvent
from ._http import SyncTransport
from ._outcomes import (
    Access,
    Metered,
    Recorded,
    Reservation,
    ReservationStatus,
    SpoolState,
    Verdict,
)
from ._reservations import Question, Wanted
from ._settings import Buffer, Settings
from ._spool import Spool
from ._telemetry import access_span, emit_span, release_span, reserve_span
from .errors import MeterlineError, Refused

T = TypeVar("T")
#: What :meth:`Meterline.emit_many` does.
EmitMany: TypeAlias = Callable[[Iterable[UsageEvent]], list[Recorded | MeterlineError]]

#: Batches under way at once. A batch is one request: more would wait for each other.
BATCHES_IN_FLIGHT_MAX = 8
#: How often an empty spool is looked at.
LOOK_AGAIN_S = 30.0


class Meterline:
    """Records usage, exactly once. Made once, and used by as many threads as there are.

    ``url`` and ``api_key`` are ``METERLINE_URL`` and ``METERLINE_API_KEY`` of the environment
    unless given. An event without a clear answer is sent again, under the same id, for
    ``retry_budget_s``; an attempt is given up after ``request_timeout_s``. With a ``buffer``
    events that come together are sent together. With ``spool_dir`` an event is on the disk before
    it is sent, and an agent goes on while the API is unreachable; a budget of a second or two is
    right then. ``transport`` replaces the network, for tests.

    Raises :class:`InvalidUsage` for settings that cannot be, :class:`SpoolFailed` for a spool.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry_budget_s: float = 30.0,
        request_timeout_s: float = 10.0,
        buffer: Buffer | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        settings = Settings.checked(
            url, api_key, retry_budget_s, request_timeout_s, buffer, spool_dir
        )
        self._core = settings.core()
        self._transport = SyncTransport(settings, transport)
        self._calls = Calls()
        self._sending = Sending()
        self._closed = threading.Event()
        self._background = Background()
        self._buffer = _Buffer(settings.buffer, self._deliver) if settings.buffer else None
        spool = self._core.spool
        self._drainer = _Drainer(self._core, spool, self._perform) if spool else None

    def emit(
        self,
        customer: str,
        action: str,
        quantity: int = 1,
        *,
        event_id: str | None = None,
        job_id: str | None = None,
        occurred_at: datetime | str | int | None = None,
        subscription_item: str | None = None,
        reservation_id: str | None = None,
    ) -> Recorded:
        """Records one billable action, and returns once it will not be lost.

        The event counts once for its id: ``event_id``, or one derived from ``job_id``, or a new
        one. ``occurred_at`` is part of its content; left out, the time of the recording is billed.
        ``reservation_id`` names what :meth:`reserve` held for it; it is recorded in any case.

        Raises :class:`InvalidUsage`, :class:`Refused`, or :class:`PerhapsRecorded`, whose
        ``event_id`` is the one to go on with; with a spool :class:`SpoolFailed`.
        """
        event = UsageEvent.new(
            customer,
            action,
            quantity,
            event_id=event_id,
            job_id=job_id,
            occurred_at=occurred_at,
            subscription_item=subscription_item,
            reservation_id=reservation_id,
        )
        with self._calls.one():
            return self._emit(event)

    def emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        """Records events, up to a hundred with one request, and returns an outcome for each,
        in order: what :meth:`emit` would return or raise. One bad event spoils no other. The
        retry budget is for all of them; each request is tried once even after it."""
        with self._calls.one():
            return self._emit_many(events)

    def metered(
        self,
        run: Callable[[], T],
        customer: str,
        action: str,
        quantity: int | Callable[[T], int] = 1,
        *,
        event_id: str | None = None,
        job_id: str | None = None,
        check_access: bool = False,
        reserve: int | None = None,
        occurred_at: datetime | str | int | None = None,
        subscription_item: str | None = None,
        reservation_id: str | None = None,
    ) -> Metered[T]:
        """Runs an action, records its usage, and only then hands out its result.

        If ``run`` raises, nothing is recorded and the exception passes. With the same ``job_id``, a
        re-run is billed once. ``quantity`` may be a function of the result. With ``check_access``
        a customer that may not act is :class:`AccessDenied` before ``run``, and
        :class:`Unavailable` means that nobody could say. With ``reserve`` so many units are held
        before ``run``, or it is :class:`LimitReached`, :class:`Unavailable` or :class:`Refused`;
        they are released if ``run`` or ``quantity`` raises, or the event was recorded before or is
        refused for good, and else settled by its event.

        Raises what :meth:`emit` raises. The result is not handed out then, but the error has it
        (``error.result``) with the event: ``emit_many([error.event])`` records it later. Where
        ``quantity`` raises, it is :class:`InvalidUsage` with the result and without an event.
        """
        wanted = Wanted.before(customer, action, reserve, reservation_id)
        event = UsageEvent.new(
            customer,
            action,
            1 if callable(quantity) else quantity,
            event_id=event_id,
            job_id=job_id,
            occurred_at=occurred_at,
            subscription_item=subscription_item,
            reservation_id=wanted.reservation_id if wanted else reservation_id,
        )
        # All of it is one call: a client that closes lets it end.
        with self._calls.one():
            if check_access:
                self._require_access(Question.new(customer))
            with self._holding(wanted):
                result = run()
                if callable(quantity):
                    event = used_by(event, quantity, result)
            return Metered(result, self._conclude(event, result, wanted))

    def check_access(
        self, customer: str, *, units: int | None = None, action: str | None = None
    ) -> Access:
        """Asks whether a customer may act: before work, not after it. With ``units``, whether so
        many more fit into its limit; where that is in money and there are several prices,
        ``action`` says at which. Nothing is held: agents that ask at once are all told yes.

        The key needs the scope ``read``. Raises :class:`InvalidUsage`, :class:`Refused`,
        :class:`Unavailable`.
        """
        question = Question.new(customer, units, action)
        with self._calls.one(), access_span(question):
            return self._run(_core.check_access(self._core, question))

    def require_access(
        self, customer: str, *, units: int | None = None, action: str | None = None
    ) -> None:
        """Asks as :meth:`check_access` does. Raises :class:`AccessDenied` if a customer may not
        act, :class:`Unavailable` if nobody can say, :class:`Refused` if the key may not ask."""
        question = Question.new(customer, units, action)
        with self._calls.one():
            self._require_access(question)

    def reserve(
        self,
        customer: str,
        action: str,
        quantity: int,
        *,
        reservation_id: str | None = None,
        expires_in_s: int | None = None,
    ) -> Reservation:
        """Holds units of a customer's limit, so that agents that act at once do not overrun it
        together. An event that names the reservation settles it, whatever its quantity; else
        :meth:`release` gives it back, or it expires: after ``expires_in_s``, 300 unless given.

        The same request under the same ``reservation_id`` holds nothing twice. Left out, it is a
        new one.

        Raises :class:`LimitReached`, :class:`InvalidUsage`, :class:`Refused`; and
        :class:`Unavailable`, whose ``reservation_id``, perhaps held, is the one to go on with.
        """
        wanted = Wanted.new(
            customer, action, quantity, reservation_id=reservation_id, expires_in_s=expires_in_s
        )
        with self._calls.one():
            return self._reserve(wanted)

    def release(self, customer: str, reservation_id: str) -> ReservationStatus:
        """Gives back what :meth:`reserve` held, and returns what it has come to: ``released``, or
        ``settled`` or ``expired`` where it had ended before.

        Raises :class:`InvalidUsage`, :class:`Refused`, :class:`Unavailable`.
        """
        check_stripe_id(customer, "customer")
        check_reservation_id(reservation_id)
        with self._calls.one(), release_span(customer, reservation_id) as tracing:
            released = self._run(_core.release(self._core, customer, reservation_id))
            tracing.note_reservation(released)
            return released.status

    def flush(self) -> SpoolState:
        """Sends what waits in the buffer and in the spool, and returns once that and every event
        that other calls are sending is settled, or the retry budget is over; says what is left in
        the spool. Raises :class:`SpoolFailed` if the spool cannot be read."""
        with self._calls.one():
            self._background.wait_for_none()
            # What is on its way may come into the buffer only now, from the spool.
            with self._buffer.hurried() if self._buffer else nullcontext():
                self._sending.wait_for_all_there()
                if self._buffer:
                    self._buffer.wait_for_all_there()
            return self._run(_core.flush_spool(self._core))

    def close(self) -> None:
        """Refuses new calls, sends what waits in the buffer, and ends once every call under way
        is answered, with the actions that run: so never within one. What waits in the spool
        stays there for the next client."""
        if not self._calls.refuse():
            self._closed.wait()
            return
        try:
            if self._buffer:
                self._buffer.hurry()
            self._calls.wait_for_none()
            self._background.wait_for_none()
            if self._buffer:
                self._buffer.close()
            if self._drainer:
                self._drainer.close()
            self._transport.close()
        finally:
            self._closed.set()

    def __enter__(self) -> Meterline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        """Raises :class:`Closed` where a call would."""
        with self._calls.one():
            pass

    def _in_background(self, work: Callable[[EmitMany], None]) -> None:
        """Works in a thread of its own, which a flush and the end wait for. What it records by the
        function that it is given is taken also while the client closes. The garbage collector may
        call this."""
        emit_many = self.emit_many if self._calls.is_closed else self._emit_many
        self._background.start(partial(work, emit_many))

    def _emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        chosen = list(events)
        with self._sending.one(), emit_span(chosen) as tracing:
            outcomes = self._run(_core.emit_many(self._core, chosen))
            tracing.note(outcomes)
            return outcomes

    def _require_access(self, question: Question) -> None:
        with access_span(question):
            self._run(_core.require_access(self._core, question))

    def _reserve(self, wanted: Wanted) -> Reservation:
        with reserve_span(wanted) as tracing:
            reservation = self._run(_core.reserve(self._core, wanted))
            tracing.note_reservation(reservation)
            return reservation

    @contextmanager
    def _holding(self, wanted: Wanted | None) -> Iterator[None]:
        """Holds units while an action runs, and gives them back if it fails."""
        if wanted is None:
            yield
            return
        self._reserve(wanted)
        try:
            yield
        except BaseException:
            self._give_back(wanted)
            raise

    def _give_back(self, wanted: Wanted) -> None:
        # Whatever comes of it: what the caller is told of is the action.
        with suppress(Exception):
            self._run(_core.give_back(wanted))

    def _conclude(self, event: UsageEvent, result: object, wanted: Wanted | None) -> Recorded:
        """Records what an action has used; what its event does not settle is given back."""
        try:
            with carrying(result, event):
                recorded = self._emit(event)
        except Refused as refused:
            if wanted and _core.is_for_good(refused):
                self._give_back(wanted)
                without_reservation(refused)
            raise
        if wanted and recorded.duplicate:
            self._give_back(wanted)
        return recorded

    def _emit(self, event: UsageEvent) -> Recorded:
        with self._sending.one(), emit_span([event]) as tracing:
            recorded = self._run(_core.emit(self._core, event))
            tracing.note([recorded])
            return recorded

    def _run(self, flow: _flow.Flow[T]) -> T:
        return _flow.run(flow, self._perform)

    def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Send):
            return self._transport.attempt(effect.request)
        if isinstance(effect, _flow.Blocking):
            return effect.call()
        if isinstance(effect, _flow.Buffered) and self._buffer:
            return self._buffer.submit(effect.event, effect.deadline)
        if isinstance(effect, _flow.Sleep):
            # close() waits for its callers: none is cut short.
            threading.Event().wait(effect.seconds)
            return False
        raise AssertionError(f"nobody does {effect!r} here")

    def _deliver(self, batch: Batch[_Promise]) -> list[Verdict]:
        return self._run(_core.deliver(self._core, batch.events, batch.deadline))


_Promise: TypeAlias = "Future[Verdict]"


class _Buffer:
    """Events of many threads, sent together."""

    def __init__(
        self, settings: Buffer, deliver: Callable[[Batch[_Promise]], list[Verdict]]
    ) -> None:
        self._wait_s = settings.wait_ms / 1000
        self._deliver = deliver
        self._changed = threading.Condition()
        self._batcher: Batcher[_Promise] = Batcher(settings.events_max)
        self._unanswered: set[_Promise] = set()
        #: How many want that nothing waits for others.
        self._hurrying = 0
        self._closing = False
        #: Batches that may be under way besides.
        self._slots = threading.Semaphore(BATCHES_IN_FLIGHT_MAX)
        self._collector = threading.Thread(
            target=self._collect, name="meterline-buffer", daemon=True
        )
        self._collector.start()

    def submit(self, event: UsageEvent, deadline: float) -> Verdict:
        promise: Future[Verdict] = Future()
        with self._changed:
            self._batcher.add(Entry(event, deadline, promise))
            self._unanswered.add(promise)
            self._changed.notify_all()
        return promise.result()

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Lets nothing wait for others meanwhile."""
        self.hurry()
        try:
            yield
        finally:
            with self._changed:
                self._hurrying -= 1

    def wait_for_all_there(self) -> None:
        """Returns once all that is there now is answered."""
        with self._changed:
            unanswered = list(self._unanswered)
        wait(unanswered)

    def hurry(self) -> None:
        """Lets nothing wait for others from now on."""
        with self._changed:
            self._hurrying += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Ends its threads; nobody waits for an answer any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._collector.join()
        for _ in range(BATCHES_IN_FLIGHT_MAX):
            self._slots.acquire()

    def _collect(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._batcher) > 0 or self._closing)
                self._changed.wait_for(
                    lambda: self._batcher.is_full() or self._hurrying > 0 or self._closing,
                    self._wait_s,
                )
                batch = self._batcher.take()
            if batch is None:
                return
            self._slots.acquire()
            try:
                # A pool would take nothing more once the main thread has ended, while others
                # still emit.
                sender = threading.Thread(target=self._send, args=(batch,), name="meterline-batch")
                sender.start()
            except RuntimeError:
                # The interpreter ends, and starts no thread any more.
                self._send(batch)

    def _send(self, batch: Batch[_Promise]) -> None:
        try:
            for entry, verdict in zip(batch.entries, self._deliver(batch), strict=True):
                entry.promise.set_result(verdict)
        except BaseException as error:  # noqa: BLE001 (its callers are told)
            for entry in batch.entries:
                if not entry.promise.done():
                    entry.promise.set_exception(error)
        finally:
            with self._changed:
                self._unanswered.difference_update(entry.promise for entry in batch.entries)
            self._slots.release()


class _Drainer:
    """A thread that sends what waits in the spool."""

    def __init__(self, core: Core, spool: Spool, perform: Callable[[_flow.Effect], Any]) -> None:
        self._core = core
        self._flow = _core.drain_forever(core, spool)
        self._perform_else = perform
        self._work = threading.Event()
        self._closing = threading.Event()
        core.wake = self._work.set
        self._thread = threading.Thread(target=self._drain, name="meterline-spool", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._core.is_closing = True
        self._closing.set()
        self._work.set()
        self._thread.join()

    def _drain(self) -> None:
        _flow.run(self._flow, self._perform)

    def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Sleep):
            return self._closing.wait(effect.seconds)
        if isinstance(effect, _flow.AwaitWork):
            # Another process may have left something, or somebody moved it back.
            self._work.wait(LOOK_AGAIN_S)
            self._work.clear()
            return self._closing.is_set()
        return self._perform_else(effect)
