"""The client that is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import httpx

from . import _core, _flow
from ._batching import Batch, Batcher, Entry
from ._calls import carrying, used_by, without_reservation
from ._checks import check_reservation_id, check_stripe_id
from ._client import BATCHES_IN_FLIGHT_MAX, LOOK_AGAIN_S
from ._core import Core
from ._events import UsageEvent
from ._http import AsyncTransport
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
from .errors import Closed, MeterlineError, Refused

T = TypeVar("T")
_LOG = logging.getLogger("meterline")
#: What :meth:`AsyncMeterline.emit_many` does.
EmitMany: TypeAlias = Callable[
    [Iterable[UsageEvent]], Coroutine[Any, Any, list[Recorded | MeterlineError]]
]


class AsyncMeterline:
    """:class:`Meterline` for asyncio: the same settings, methods and errors. It belongs to the
    event loop that first uses it."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry_budget_s: float = 30.0,
        request_timeout_s: float = 10.0,
        buffer: Buffer | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        settings = Settings.checked(
            url, api_key, retry_budget_s, request_timeout_s, buffer, spool_dir
        )
        self._core = settings.core()
        self._transport = AsyncTransport(settings, transport)
        self._calls = _Calls()
        #: Held here, since the loop itself holds its tasks only weakly.
        self._background: set[asyncio.Task[None]] = set()
        #: Events on their way.
        self._sending: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._buffer = _Buffer(settings.buffer, self._deliver) if settings.buffer else None
        self._drainer: _Drainer | None = None

    async def emit(
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
        """See :meth:`Meterline.emit`. A call that is cancelled takes no event back: it is recorded
        in a task of its own, for which :meth:`flush` and :meth:`close` wait."""
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
            return await self._uncancelled(self._emit(event))

    async def emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        """See :meth:`Meterline.emit_many`."""
        with self._calls.one():
            return await self._uncancelled(self._emit_many(events))

    async def metered(
        self,
        run: Callable[[], Awaitable[T]],
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
        """See :meth:`Meterline.metered`; what ``run`` returns is awaited."""
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
                await self._require_access(Question.new(customer))
            async with self._holding(wanted):
                result = await run()
                if callable(quantity):
                    event = used_by(event, quantity, result)
            recorded = await self._uncancelled(self._conclude(event, result, wanted))
            return Metered(result, recorded)

    async def check_access(
        self, customer: str, *, units: int | None = None, action: str | None = None
    ) -> Access:
        """See :meth:`Meterline.check_access`."""
        question = Question.new(customer, units, action)
        with self._calls.one(), access_span(question):
            return await self._run(_core.check_access(self._core, question))

    async def require_access(
        self, customer: str, *, units: int | None = None, action: str | None = None
    ) -> None:
        """See :meth:`Meterline.require_access`."""
        question = Question.new(customer, units, action)
        with self._calls.one():
            await self._require_access(question)

    async def reserve(
        self,
        customer: str,
        action: str,
        quantity: int,
        *,
        reservation_id: str | None = None,
        expires_in_s: int | None = None,
    ) -> Reservation:
        """See :meth:`Meterline.reserve`. A call that is cancelled may hold the units."""
        wanted = Wanted.new(
            customer, action, quantity, reservation_id=reservation_id, expires_in_s=expires_in_s
        )
        with self._calls.one():
            return await self._reserve(wanted)

    async def release(self, customer: str, reservation_id: str) -> ReservationStatus:
        """See :meth:`Meterline.release`."""
        check_stripe_id(customer, "customer")
        check_reservation_id(reservation_id)
        with self._calls.one(), release_span(customer, reservation_id) as tracing:
            released = await self._run(_core.release(self._core, customer, reservation_id))
            tracing.note_reservation(released)
            return released.status

    async def flush(self) -> SpoolState:
        """See :meth:`Meterline.flush`."""
        with self._calls.one():
            await self._wait_for_background()
            # What is on its way may come into the buffer only now.
            with self._buffer.hurried() if self._buffer else contextlib.nullcontext():
                if self._sending:
                    await asyncio.wait(set(self._sending))
            return await self._run(_core.flush_spool(self._core))

    async def close(self) -> None:
        """See :meth:`Meterline.close`. It goes on, if who awaits it is cancelled."""
        self._calls.refuse()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> AsyncMeterline:
        self._start_draining()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _close(self) -> None:
        if self._buffer:
            self._buffer.hurry()
        await self._calls.wait_for_none()
        while self._sending:
            await asyncio.wait(set(self._sending))
        await self._wait_for_background()
        if self._drainer:
            await self._drainer.close()
        await self._transport.close()

    def _require_open(self) -> None:
        """Raises :class:`Closed` where a call would."""
        with self._calls.one():
            pass

    def _in_background(
        self, work: Callable[[EmitMany], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Works in a task of its own, which a flush and the end wait for. What it records by the
        function that it is given is taken also while the client closes."""
        return self._start(work(self.emit_many if self._calls.is_closed else self._emit_many))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="meterline-background")
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _wait_for_background(self) -> None:
        while self._background:
            await asyncio.wait(set(self._background))

    async def _emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        chosen = list(events)
        with emit_span(chosen) as tracing:
            outcomes = await self._run(_core.emit_many(self._core, chosen))
            tracing.note(outcomes)
            return outcomes

    async def _require_access(self, question: Question) -> None:
        with access_span(question):
            await self._run(_core.require_access(self._core, question))

    async def _reserve(self, wanted: Wanted) -> Reservation:
        with reserve_span(wanted) as tracing:
            reservation = await self._run(_core.reserve(self._core, wanted))
            tracing.note_reservation(reservation)
            return reservation

    @contextlib.asynccontextmanager
    async def _holding(self, wanted: Wanted | None) -> AsyncIterator[None]:
        """Holds units while an action runs, and gives them back if it fails, in a task of its
        own: who is cancelled is not kept waiting for that, and does not end it."""
        if wanted is None:
            yield
            return
        await self._reserve(wanted)
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            giving_back = self._start(self._give_back(wanted))
            if isinstance(error, Exception):
                await asyncio.shield(giving_back)
            raise

    async def _give_back(self, wanted: Wanted) -> None:
        # Whatever comes of it: what the caller is told of is the action.
        with contextlib.suppress(Exception):
            await self._run(_core.give_back(wanted))

    async def _uncancelled(self, sending: Coroutine[Any, Any, T]) -> T:
        """What has happened is recorded, though its caller is cancelled: in a task of its own."""
        task = asyncio.get_running_loop().create_task(sending, name="meterline-emit")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_unheard)
            raise

    async def _conclude(self, event: UsageEvent, result: object, wanted: Wanted | None) -> Recorded:
        """See :meth:`Meterline._conclude`."""
        try:
            with carrying(result, event):
                recorded = await self._emit(event)
        except Refused as refused:
            if wanted and _core.is_for_good(refused):
                await self._give_back(wanted)
                without_reservation(refused)
            raise
        if wanted and recorded.duplicate:
            await self._give_back(wanted)
        return recorded

    async def _emit(self, event: UsageEvent) -> Recorded:
        with emit_span([event]) as tracing:
            recorded = await self._run(_core.emit(self._core, event))
            tracing.note([recorded])
            return recorded

    async def _run(self, flow: _flow.Flow[T]) -> T:
        self._start_draining()
        return await _flow.run_async(flow, self._perform)

    def _start_draining(self) -> None:
        if self._core.spool and self._drainer is None:
            self._drainer = _Drainer(self._core, self._core.spool, self._perform)

    async def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Send):
            return await self._transport.attempt(effect.request)
        if isinstance(effect, _flow.Blocking):
            return await asyncio.to_thread(effect.call)
        if isinstance(effect, _flow.Buffered) and self._buffer:
            return await self._buffer.submit(effect.event, effect.deadline)
        if isinstance(effect, _flow.Sleep):
            await asyncio.sleep(effect.seconds)
            return False
        raise AssertionError(f"nobody does {effect!r} here")

    async def _deliver(self, batch: Batch[_Promise]) -> list[Verdict]:
        return await self._run(_core.deliver(self._core, batch.events, batch.deadline))


def _log_unheard(task: asyncio.Task[Any]) -> None:
    """Its caller was cancelled, and hears nothing any more."""
    if task.cancelled():
        _LOG.error("usage of a call that was cancelled is perhaps not recorded: its loop ended")
    elif error := task.exception():
        _LOG.error("usage of a call that was cancelled is not recorded: %s", error)


class _Calls:
    """Counts calls under way, so that closing can wait for them."""

    def __init__(self) -> None:
        self._under_way = 0
        self._refused = False
        self._none = asyncio.Event()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        if self._refused:
            raise Closed("the client is closed")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._none.set()

    @property
    def is_closed(self) -> bool:
        return self._refused

    def refuse(self) -> None:
        """Lets no further call in."""
        self._refused = True

    async def wait_for_none(self) -> None:
        while self._under_way:
            self._none.clear()
            await self._none.wait()


_Promise: TypeAlias = "asyncio.Future[Verdict]"


class _Buffer:
    """Events of many tasks, sent together."""

    def __init__(
        self, settings: Buffer, deliver: Callable[[Batch[_Promise]], Awaitable[list[Verdict]]]
    ) -> None:
        self._wait_s = settings.wait_ms / 1000
        self._deliver = deliver
        self._batcher: Batcher[_Promise] = Batcher(settings.events_max)
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(BATCHES_IN_FLIGHT_MAX)
        #: How many want that nothing waits for others.
        self._hurrying = 0

    async def submit(self, event: UsageEvent, deadline: float) -> Verdict:
        loop = asyncio.get_running_loop()
        promise: asyncio.Future[Verdict] = loop.create_future()
        self._batcher.add(Entry(event, deadline, promise))
        if self._batcher.is_full() or self._hurrying:
            self._start_batch()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._start_batch)
        return await promise

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Lets nothing wait for others meanwhile."""
        self.hurry()
        try:
            yield
        finally:
            self._hurrying -= 1

    def hurry(self) -> None:
        """Lets nothing wait for others from now on."""
        self._hurrying += 1
        self._start_batch()

    def _start_batch(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        batch = self._batcher.take()
        if batch:
            # A task of its own: a caller that is cancelled takes no other's event with it.
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, batch: Batch[_Promise]) -> None:
        try:
            async with self._slots:
                verdicts = await self._deliver(batch)
        except BaseException as error:
            for entry in batch.entries:
                if not entry.promise.done():
                    entry.promise.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for entry, verdict in zip(batch.entries, verdicts, strict=True):
            # Its caller may have been cancelled.
            if not entry.promise.done():
                entry.promise.set_result(verdict)


class _Drainer:
    """A task that sends what waits in the spool."""

    def __init__(
        self, core: Core, spool: Spool, perform: Callable[[_flow.Effect], Awaitable[Any]]
    ) -> None:
        self._core = core
        self._perform_else = perform
        self._work = asyncio.Event()
        self._closing = asyncio.Event()
        core.wake = self._work.set
        flow = _core.drain_forever(core, spool)
        self._task = asyncio.get_running_loop().create_task(
            _flow.run_async(flow, self._perform), name="meterline-spool"
        )

    async def close(self) -> None:
        self._core.is_closing = True
        self._closing.set()
        self._work.set()
        await self._task

    async def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Sleep):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), effect.seconds)
            return self._closing.is_set()
        if isinstance(effect, _flow.AwaitWork):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._work.wait(), LOOK_AGAIN_S)
            self._work.clear()
            return self._closing.is_set()
        return await self._perform_else(effect)
