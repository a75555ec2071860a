"""SDK clients that are awaited: :mod:`._sync` with ``await``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from .._async_client import AsyncMeterline
from ..errors import MeterlineError
from ._metering import (
    Metering,
    StreamState,
    UsageNotRecorded,
    raw_response,
    refuse_unread,
)
from ._tokens import Report


def install(client: Any, meterline: AsyncMeterline, metering: Metering) -> Any:
    """Meters a fresh copy of an SDK's client, and the copies that are made of it."""
    biller = _Biller(meterline, metering)
    original_post, original_copy = client.post, client.copy

    async def post(path: str, **request: Any) -> Any:
        return await biller.post(original_post, path, request)

    def copy(**options: Any) -> Any:
        return install(original_copy(**options), meterline, metering)

    client.post, client.copy, client.with_options = post, copy, copy
    return client


class _Biller:
    def __init__(self, meterline: AsyncMeterline, metering: Metering) -> None:
        self._meterline = meterline
        self._metering = metering

    async def post(self, original: Any, path: str, request: dict[str, Any]) -> Any:
        metering = self._metering
        if not metering.is_metered(path):
            return await original(path, **request)
        raw = raw_response(request.get("options") or {})
        is_stream = bool(request.get("stream"))
        refuse_unread(path, raw, is_stream)
        asked = request.get("body") or {}
        sent = metering.provider.prepare(path, asked)
        if sent is not asked:
            request = {**request, "body": sent}
        if metering.check_access:
            await self._meterline.require_access(metering.customer)
        answer = await original(path, **request)
        if is_stream:
            reader = metering.provider.read_stream(path, asked, sent)
            return _meter_stream(answer, StreamState(reader), self)
        parsed = answer.parse() if raw else answer
        if inspect.isawaitable(parsed):
            parsed = await parsed
        await self.bill(metering.provider.read_answer(parsed), answer)
        return answer

    async def bill(self, report: Report | None, response: Any = None) -> None:
        events = self._metering.events(report, response)
        try:
            outcomes = await self._meterline.emit_many(events) if events else []
        except MeterlineError as error:
            raise UsageNotRecorded([error] * len(events), events, response) from error
        self._metering.check(report, events, outcomes, response)

    async def bill_quietly(self, report: Report | None) -> None:
        try:
            await self.bill(report)
        except MeterlineError as error:
            self._metering.on_background_error(error)


def _meter_stream(stream: Any, state: StreamState, biller: _Biller) -> Any:
    metered = _MeteredStream(stream, state, biller)
    stream._iterator = metered.events()
    stream.close = metered.close
    return stream


class _MeteredStream:
    def __init__(self, stream: Any, state: StreamState, biller: _Biller) -> None:
        self._source: AsyncIterator[Any] = stream._iterator
        self._close = stream.close
        self._state = state
        self._biller = biller

    async def events(self) -> AsyncGenerator[Any, None]:
        try:
            async for event in self._source:
                step = self._state.reader.take(event)
                if step is step.END:
                    await self._settle()
                if step is not step.HIDE:
                    yield event
            await self._settle()
        except GeneratorExit:
            await self._abandon()
            raise
        except BaseException:
            await self._settle_quietly()
            raise

    async def close(self) -> None:
        await self._abandon()
        await self._close()

    async def _abandon(self) -> None:
        if self._state.is_settled:
            return
        with contextlib.suppress(Exception):
            while self._state.wants_report():
                self._state.reader.take(await self._source.__anext__())
        await self._settle_quietly()

    async def _settle(self) -> None:
        if not self._state.is_settled:
            self._state.is_settled = True
            await self._biller.bill(self._state.reader.report())

    async def _settle_quietly(self) -> None:
        if not self._state.is_settled:
            self._state.is_settled = True
            await self._biller.bill_quietly(self._state.reader.report())
