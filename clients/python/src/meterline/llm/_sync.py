"""SDK clients that block."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._client import EmitMany, Meterline
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


def install(client: Any, meterline: Meterline, metering: Metering) -> Any:
    """Meters a fresh copy of an SDK's client, and the copies that are made of it.

    Every method of an SDK that makes a model answer goes through the client's public ``post``.
    Raises :class:`meterline.InvalidUsage` for a client of which one would not.
    """
    biller = _Biller(meterline, metering)
    original_post, original_copy = client.post, client.copy

    def post(path: str, **request: Any) -> Any:
        return biller.post(original_post, path, request)

    def copy(**options: Any) -> Any:
        return install(original_copy(**options), meterline, metering)

    return take_over(client, post, copy, metering.provider.answering)


#: What comes after the last event.
_END = object()


class _Biller:
    def __init__(self, meterline: Meterline, metering: Metering) -> None:
        self._meterline = meterline
        self._metering = metering

    def post(self, original: Any, path: str, request: dict[str, Any]) -> Any:
        metering = self._metering
        if not metering.is_metered(path):
            return original(path, **request)
        raw = raw_response(request.get("options") or {})
        is_stream = bool(request.get("stream"))
        refuse_unread(path, raw, is_stream)
        asked = asked_body(request)
        sent = metering.provider.prepare(path, asked)
        if sent is not asked:
            request = with_body(request, sent)
        self._meterline._require_open()
        if metering.check_access:
            self._meterline.require_access(metering.customer)
        answer = original(path, **request)
        if is_stream:
            reader = metering.provider.read_stream(path, asked, sent)
            return _meter_stream(answer, StreamState(reader), self)
        parsed = answer.parse() if raw else answer
        self.bill(metering.provider.read_answer(parsed), answer)
        return answer

    def bill(
        self, report: Report | None, response: Any = None, emit_many: EmitMany | None = None
    ) -> None:
        metering = self._metering
        emit_many = emit_many or self._meterline.emit_many
        named = metering.events(report)
        outcomes: Sequence[Recorded | MeterlineError]
        try:
            outcomes = emit_many(named.events) if named.events else []
        except MeterlineError as error:
            outcomes = [error] * len(named.events)
        except BaseException as error:
            metering.tell_interrupted(report, error)
            raise
        metering.check(report, named, outcomes, response)

    def bill_quietly(self, report: Report | None, emit_many: EmitMany | None = None) -> None:
        """Where nobody can be told by an exception."""
        try:
            self.bill(report, emit_many=emit_many)
        except MeterlineError as error:
            self._metering.tell(error)

    def in_background(self, work: Callable[[EmitMany], None], report: Report | None) -> None:
        """Does what bills ``report``, or more, in a thread that the client's end waits for."""
        try:
            self._meterline._in_background(work)
        except RuntimeError as error:
            # The interpreter ends, and starts no thread any more.
            self._metering.tell_interrupted(report, error)


def _meter_stream(stream: Any, state: StreamState, biller: _Biller) -> Any:
    """Puts metering between an SDK's stream and its reader."""
    metered = _MeteredStream(stream, state, biller)
    events = metered.events()
    next(events)
    stream._iterator = events
    stream.close = metered.close
    # What an SDK wraps around its stream closes the response alone.
    stream.response.close = metered.close_response
    return stream


class _MeteredStream:
    def __init__(self, stream: Any, state: StreamState, biller: _Biller) -> None:
        self._source: Iterator[Any] = stream._iterator
        self._close = stream.close
        self._response = stream.response
        self._close_response: Callable[[], None] = stream.response.close
        self._state = state
        self._biller = biller
        #: Whether an event is being read, at the end of which the SDK closes the response.
        self._is_reading = False
        self._has_left = False
        self._is_dropped = False

    def events(self) -> Iterator[Any]:
        """Nothing, then the events, the last of them only once the usage is recorded."""
        held: list[Any] = []
        try:
            # One that has not begun would not hear that it is dropped.
            yield None
            while (event := self._next()) is not _END:
                step = self._state.reader.take(event)
                if step is step.HIDE:
                    continue
                yield from held
                held = [event] if step is step.HOLD else []
                if step is step.END:
                    self._settle(event)
                if not held:
                    yield event
            if self._state.reader.has_failed:
                self._settle_quietly()
            self._settle(*held)
            yield from held
        except GeneratorExit:
            self._drop()
            raise
        except BaseException:
            # The caller is to see the SDK's error, not one about its usage.
            self._settle_quietly()
            raise

    def close(self) -> None:
        self._leave()
        self._close()

    def close_response(self) -> None:
        if isinstance(sys.exc_info()[1], GeneratorExit) and not self._is_over():
            self._drop()
            return
        if not self._is_reading:
            self._leave()
        self._close_response()

    def _next(self) -> Any:
        self._is_reading = True
        try:
            return next(self._source, _END)
        finally:
            self._is_reading = False

    def _is_over(self) -> bool:
        return self._state.is_settled or self._is_reading or self._has_left

    def _drop(self) -> None:
        """Left by a generator that ends, of the SDK's or the caller's: this may be the garbage
        collector, at a moment when the thread holds a lock of the connections that billing needs.
        """
        if not self._state.is_settled and not self._is_dropped:
            self._is_dropped = True
            self._biller.in_background(self._leave_and_close, self._state.reader.report())

    def _leave_and_close(self, emit_many: EmitMany) -> None:
        self._leave(emit_many)
        with contextlib.suppress(Exception):
            self._close()

    def _leave(self, emit_many: EmitMany | None = None) -> None:
        """The reader has left. What was reported is billed; a report that is about to come
        is waited for."""
        if self._has_left:
            return
        self._has_left = True
        if self._state.wants_report():
            # A thread of its own, since nothing ends a read from outside for certain.
            reading = threading.Thread(target=self._drain, name="meterline-report", daemon=True)
            reading.start()
            reading.join(REPORT_WAIT_S)
            if reading.is_alive():
                _break_off(self._response)
        self._settle_quietly(emit_many)

    def _drain(self) -> None:
        # Without a report, what is billed says so.
        with contextlib.suppress(Exception):
            end = bytes_read(self._response) + REPORT_BYTES_MAX
            while self._state.wants_report() and bytes_read(self._response) < end:
                self._state.reader.take(next(self._source))

    def _settle(self, last: Any = None) -> None:
        if not self._state.is_settled:
            self._state.is_settled = True
            self._biller.bill(self._state.reader.report(), last)

    def _settle_quietly(self, emit_many: EmitMany | None = None) -> None:
        if not self._state.is_settled:
            self._state.is_settled = True
            self._biller.bill_quietly(self._state.reader.report(), emit_many)


def _break_off(response: Any) -> None:
    """Ends a read of the connection that another thread waits for, where it can be reached."""
    with contextlib.suppress(Exception):
        connection = response.extensions["network_stream"].get_extra_info("socket")
        connection.shutdown(socket.SHUT_RDWR)
