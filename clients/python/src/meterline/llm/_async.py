"""SDK clients that are awaited: :mod:`._sync` with ``await``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from .._async_client import AsyncMeterline, EmitMany
from .._outcomes import Recorded
from ..errors import MeterlineError
from ._metering import (
    REPORT_BYTES_MAX,
    REPORT_WAIT_S,
    Metering,
    StreamState,
    asked_body,
    bytes_read,
    raw_response,
    refuse_unread,
    with_body,
)
from ._takeover import take_over
from ._tokens import Report

_Task: TypeAlias = "asyncio.Task[None]"
#: What a stream ends with.
_END = object()


def install(client: Any, meterline: AsyncMeterline, metering: Metering) -> Any:
    """Meters a fresh copy of an SDK's client, and the copies that are made of it."""
    biller = _Biller(meterline, metering)
    original_post, original_copy = client.post, client.copy

    async def post(path: str, **request: Any) -> Any:
        return await biller.post(original_post, path, request)

    def copy(**options: Any) -> Any:
        return install(original_copy(**options), meterline, metering)

    return take_over(client, post, copy, metering.provider.answering)


class _Biller:
    def __init__(self, meterline: AsyncMeterline, metering: Metering) -> None:
        self._meterline = meterline
        self.metering = metering

    async def post(self, original: Any, path: str, request: dict[str, Any]) -> Any:
        metering = self.metering
        if not metering.is_metered(path):
            return await original(path, **request)
        raw = raw_response(request.get("options") or {})
        is_stream = bool(request.get("stream"))
        refuse_unread(path, raw, is_stream)
        asked = asked_body(request)
        sent = metering.provider.prepare(path, asked)
        if sent is not asked:
            request = with_body(request, sent)
        self._meterline._require_open()
        if metering.check_access:
            await self._meterline.require_access(metering.customer)
        answer = await original(path, **request)
        if is_stream:
            reader = metering.provider.read_stream(path, asked, sent)
            return await _meter_stream(answer, StreamState(reader), self)
        parsed = answer.parse() if raw else answer
        if inspect.isawaitable(parsed):
            parsed = await parsed
        await self.bill(metering.provider.read_answer(parsed), answer)
        return answer

    async def bill(self, report: Report | None, response: Any = None) -> None:
        """Bills in a task of its own: the model has answered, whatever becomes of the caller."""
        recording = self.in_background(partial(self._record, report, response), report)
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            # Nobody else hears of it.
            recording.add_done_callback(self._tell_failure)
            raise

    async def bill_quietly(self, report: Report | None, emit_many: EmitMany) -> None:
        """Where nobody can be told by an exception."""
        try:
            await self._record(report, None, emit_many)
        except MeterlineError as error:
            self.metering.tell(error)

    def in_background(
        self,
        work: Callable[[EmitMany], Coroutine[Any, Any, None]],
        report: Report | None,
        is_billed: bool = False,
    ) -> _Task:
        """Does what bills ``report``, or more, in a task that a flush and the client's end wait
        for. Once begun, it tells by itself of what interrupts it. ``is_billed``: nothing of it
        is left to bill."""
        has_begun = False

        async def begin(emit_many: EmitMany) -> None:
            nonlocal has_begun
            has_begun = True
            await work(emit_many)

        def tell_unless_begun(task: _Task) -> None:
            if not has_begun and not is_billed:
                self.metering.tell_interrupted(report, asyncio.CancelledError())

        task = self._meterline._in_background(begin)
        task.add_done_callback(tell_unless_begun)
        return task

    async def _record(self, report: Report | None, response: Any, emit_many: EmitMany) -> None:
        named = self.metering.events(report)
        outcomes: Sequence[Recorded | MeterlineError]
        try:
            outcomes = await emit_many(named.events) if named.events else []
        except MeterlineError as error:
            outcomes = [error] * len(named.events)
        except BaseException as error:
            self.metering.tell_interrupted(report, error)
            raise
        self.metering.check(report, named, outcomes, response)

    def _tell_failure(self, recording: _Task) -> None:
        if recording.cancelled():
            # It has told of that itself.
            return
        error = recording.exception()
        if isinstance(error, MeterlineError):
            self.metering.tell(error)


async def _meter_stream(stream: Any, state: StreamState, biller: _Biller) -> Any:
    metered = _MeteredStream(stream, state, biller)
    events = metered.events()
    await events.__anext__()
    stream._iterator = events
    stream.close = metered.close
    # What an SDK wraps around its stream closes the response alone.
    stream.response.aclose = metered.close_response
    return stream


class _MeteredStream:
    def __init__(self, stream: Any, state: StreamState, biller: _Biller) -> None:
        self._source: AsyncIterator[Any] = stream._iterator
        self._close = stream.close
        self._response = stream.response
        self._close_response: Callable[[], Coroutine[Any, Any, None]] = stream.response.aclose
        self._state = state
        self._biller = biller
        #: Who is just reading an event, at the end of which the SDK closes the response.
        self._reader: asyncio.Task[Any] | None = None
        #: A read that its reader may have left.
        self._reading: asyncio.Task[Any] | None = None
        self._leaving: _Task | None = None

    async def events(self) -> AsyncGenerator[Any, None]:
        held: list[Any] = []
        try:
            # One that has not begun is unknown to the loop, and would not hear that it is dropped.
            yield None
            while (event := await self._next()) is not _END:
                step = self._state.reader.take(event)
                if step is step.HIDE:
                    continue
                for each in held:
                    yield each
                held = [event] if step is step.HOLD else []
                if step is step.END:
                    await self._settle(event)
                if not held:
                    yield event
            if self._state.reader.has_failed:
                await asyncio.shield(self._leave())
            await self._settle(*held)
            for each in held:
                yield each
        except asyncio.CancelledError:
            # The caller is to end now, and what is to be billed goes on without it.
            self._leave()
            raise
        except BaseException:
            # The SDK's error is for the caller. A generator that is closed may be so by the end
            # of the loop, which waits for nothing else.
            await asyncio.shield(self._leave())
            raise

    async def close(self) -> None:
        await asyncio.shield(self._leave())
        await self._close()

    async def close_response(self) -> None:
        if asyncio.current_task() not in (self._reader, self._leaving):
            await asyncio.shield(self._leave())
        await self._close_response()

    async def _next(self) -> Any:
        if not self._state.wants_report():
            return await self._read()
        # A caller that is cancelled now would take the report with it.
        self._reading = self._reading or asyncio.ensure_future(self._read())
        event = await asyncio.shield(self._reading)
        self._reading = None
        return event

    async def _read(self) -> Any:
        self._reader = asyncio.current_task()
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            return _END
        finally:
            self._reader = None

    def _leave(self) -> _Task:
        """The reader has left. What was reported is billed; a report that is about to come
        is waited for."""
        if self._leaving is None:
            report = self._state.reader.report()
            self._leaving = self._biller.in_background(
                self._finish, report, is_billed=self._state.is_settled
            )
        return self._leaving

    async def _finish(self, emit_many: EmitMany) -> None:
        if self._state.wants_report():
            try:
                # Without a report, what is billed says so.
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(self._drain(), REPORT_WAIT_S)
            except BaseException as error:
                self._biller.metering.tell_interrupted(self._state.reader.report(), error)
                raise
        if not self._state.is_settled:
            self._state.is_settled = True
            await self._biller.bill_quietly(self._state.reader.report(), emit_many)
        with contextlib.suppress(Exception):
            await self._close()

    async def _drain(self) -> None:
        end = bytes_read(self._response) + REPORT_BYTES_MAX
        while self._state.wants_report() and bytes_read(self._response) < end:
            event = await (self._reading or self._read())
            self._reading = None
            if event is _END:
                return
            self._state.reader.take(event)

    async def _settle(self, last: Any = None) -> None:
        if not self._state.is_settled:
            self._state.is_settled = True
            await self._biller.bill(self._state.reader.report(), last)
