"""The client that blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import httpx

from . import _core, _flow
from ._batching import Batch, Batcher, Entry
from ._calls import Background, Calls
from ._core import Core
from ._events import UsageEvent
from ._http import SyncTransport
from ._outcomes import Access, Metered, Recorded, SpoolState, Verdict
from ._settings import Buffer, Settings
from ._spool import Spool
from ._telemetry import access_span, emit_span
from .errors import MeterlineError

T = TypeVar("T")
#: What :meth:`Meterline.emit_many` does.
EmitMany: TypeAlias = Callable[[Iterable[UsageEvent]], list[Recorded | MeterlineError]]

#: Batches under way at once. A batch is one request: more would wait for each other.
BATCHES_IN_FLIGHT_MAX = 8


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
    ) -> Recorded:
        """Records one billable action, and returns once it will not be lost.

        The event counts once for its id: ``event_id``, or one derived from ``job_id``, or a new
        one. ``occurred_at`` is part of its content; left out, the time of the recording is billed.

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
        )
        with self._calls.one():
            return self._emit(event)

    def emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        """Records events, up to a hundred with one request, and returns an outcome for each,
        in order: what :meth:`emit` would return or raise. One bad event spoils no other."""
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
        occurred_at: datetime | str | int | None = None,
        subscription_item: str | None = None,
    ) -> Metered[T]:
        """Runs an action, records its usage, and only then hands out its result.

        If ``run`` raises, nothing is recorded and the exception passes. With the same ``job_id``, a
        re-run is billed once. ``quantity`` may be a function of the result. With ``check_access``
        a customer that may not act is :class:`AccessDenied` before ``run``, and
        :class:`Unavailable` means that nobody could say.

        Raises what :meth:`emit` raises; the result is not handed out then.
        """
        event = UsageEvent.new(
            customer,
            action,
            1 if callable(quantity) else quantity,
            event_id=event_id,
            job_id=job_id,
            occurred_at=occurred_at,
            subscription_item=subscription_item,
        )
        # All of it is one call: a client that closes lets it end.
        with self._calls.one():
            if check_access:
                self._require_access(customer)
            result = run()
            if callable(quantity):
                event = event.with_quantity(quantity(result))
            return Metered(result, self._emit(event))

    def check_access(self, customer: str) -> Access:
        """Asks whether a customer may act: before work, not after it. The key needs the scope
        ``read``. Raises :class:`Refused`, :class:`Unavailable`."""
        with self._calls.one(), access_span(customer):
            return self._run(_core.check_access(self._core, customer))

    def require_access(self, customer: str) -> None:
        """Raises :class:`AccessDenied` if a customer may not act, :class:`Unavailable` if nobody
        can say, :class:`Refused` if the key may not ask."""
        with self._calls.one():
            self._require_access(customer)

    def flush(self) -> SpoolState:
        """Sends what waits in the buffer and in the spool, and returns once all of it is
        settled or the retry budget is over; says what is left in the spool."""
        with self._calls.one():
            self._background.wait_for_none()
            if self._buffer:
                self._buffer.flush()
            return self._run(_core.flush_spool(self._core))

    def close(self) -> None:
        """Refuses new calls, sends what waits in the buffer, and ends once every call under way
        is answered, with the actions that run: so never within one. What waits in the spool
        stays there for the next client."""
        if not self._calls.refuse():
            return
        if self._buffer:
            self._buffer.hurry()
        self._calls.wait_for_none()
        self._background.wait_for_none()
        if self._buffer:
            self._buffer.close()
        if self._drainer:
            self._drainer.close()
        self._transport.close()

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
        with emit_span(chosen) as tracing:
            outcomes = self._run(_core.emit_many(self._core, chosen))
            tracing.note(outcomes)
            return outcomes

    def _require_access(self, customer: str) -> None:
        with access_span(customer):
            self._run(_core.require_access(self._core, customer))

    def _emit(self, event: UsageEvent) -> Recorded:
        with emit_span([event]) as tracing:
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
        self._senders = ThreadPoolExecutor(BATCHES_IN_FLIGHT_MAX, "meterline-batch")
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

    def flush(self) -> None:
        """Returns once all that is there now is answered."""
        self.hurry()
        try:
            with self._changed:
                unanswered = list(self._unanswered)
            wait(unanswered)
        finally:
            with self._changed:
                self._hurrying -= 1

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
        self._senders.shutdown()

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
            self._senders.submit(self._send, batch)

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


class _Drainer:
    """A thread that sends what waits in the spool."""

    def __init__(self, core: Core, spool: Spool, perform: Callable[[_flow.Effect], Any]) -> None:
        self._flow = _core.drain_forever(core, spool)
        self._perform_else = perform
        self._work = threading.Event()
        self._closing = threading.Event()
        core.wake = self._work.set
        self._thread = threading.Thread(target=self._drain, name="meterline-spool", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._work.set()
        self._thread.join()

    def _drain(self) -> None:
        _flow.run(self._flow, self._perform)

    def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Sleep):
            return self._closing.wait(effect.seconds)
        if isinstance(effect, _flow.AwaitWork):
            self._work.wait()
            self._work.clear()
            return self._closing.is_set()
        return self._perform_else(effect)
