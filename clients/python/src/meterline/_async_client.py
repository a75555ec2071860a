"""The client that is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import httpx

from . import _core, _flow
from ._batching import Batch, Batcher, Entry
from ._client import BATCHES_IN_FLIGHT_MAX
from ._core import Core
from ._events import UsageEvent
from ._http import AsyncTransport
from ._outcomes import Access, Metered, Recorded, SpoolState, Verdict
from ._settings import Buffer, Settings
from ._spool import Spool
from ._telemetry import access_span, emit_span
from .errors import Closed, MeterlineError

T = TypeVar("T")
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
    ) -> Recorded:
        """See :meth:`Meterline.emit`. A call that is cancelled may have recorded the event."""
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
            return await self._emit(event)

    async def emit_many(self, events: Iterable[UsageEvent]) -> list[Recorded | MeterlineError]:
        """See :meth:`Meterline.emit_many`."""
        with self._calls.one():
            return await self._emit_many(events)

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
        occurred_at: datetime | str | int | None = None,
        subscription_item: str | None = None,
    ) -> Metered[T]:
        """See :meth:`Meterline.metered`; what ``run`` returns is awaited."""
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
                await self._require_access(customer)
            result = await run()
            if callable(quantity):
                event = event.with_quantity(quantity(result))
            return Metered(result, await self._emit(event))

    async def check_access(self, customer: str) -> Access:
        """See :meth:`Meterline.check_access`."""
        with self._calls.one(), access_span(customer):
            return await self._run(_core.check_access(self._core, customer))

    async def require_access(self, customer: str) -> None:
        """See :meth:`Meterline.require_access`."""
        with self._calls.one():
            await self._require_access(customer)

    async def flush(self) -> SpoolState:
        """See :meth:`Meterline.flush`."""
        with self._calls.one():
            await self._wait_for_background()
            if self._buffer:
                await self._buffer.flush()
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
        emit_many = self.emit_many if self._calls.is_closed else self._emit_many
        task = asyncio.get_running_loop().create_task(work(emit_many), name="meterline-background")
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

    async def _require_access(self, customer: str) -> None:
        with access_span(customer):
            await self._run(_core.require_access(self._core, customer))

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
        self._hurried = False

    async def submit(self, event: UsageEvent, deadline: float) -> Verdict:
        loop = asyncio.get_running_loop()
        promise: asyncio.Future[Verdict] = loop.create_future()
        self._batcher.add(Entry(event, deadline, promise))
        if self._batcher.is_full() or self._hurried:
            self._start_batch()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._start_batch)
        return await promise

    async def flush(self) -> None:
        """Returns once all that is there now is answered."""
        self._start_batch()
        if self._sending:
            await asyncio.wait(set(self._sending))

    def hurry(self) -> None:
        """Lets nothing wait for others from now on."""
        self._hurried = True
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
        self._perform_else = perform
        self._work = asyncio.Event()
        self._closing = asyncio.Event()
        core.wake = self._work.set
        flow = _core.drain_forever(core, spool)
        self._task = asyncio.get_running_loop().create_task(
            _flow.run_async(flow, self._perform), name="meterline-spool"
        )

    async def close(self) -> None:
        self._closing.set()
        self._work.set()
        await self._task

    async def _perform(self, effect: _flow.Effect) -> Any:
        if isinstance(effect, _flow.Sleep):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), effect.seconds)
            return self._closing.is_set()
        if isinstance(effect, _flow.AwaitWork):
            await self._work.wait()
            self._work.clear()
            return self._closing.is_set()
        return await self._perform_else(effect)
