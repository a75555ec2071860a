"""One attempt at a request, over httpx: sync and async."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping

import httpx

from ._protocol import Answer, Attempt, NoAnswer, Request
from ._settings import Settings
from ._telemetry import trace_headers
from ._version import VERSION

#: No answer of the API's is nearly as long: a batch's has a hundred results.
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
#: How long a connection may take to come about.
_CONNECT_TIMEOUT_S = 3.0
#: Connections at once; as many are kept alive. Who comes when all are in use waits in a line
#: here: httpx looks through all of its own line whenever a connection becomes free.
_CONNECTIONS_MAX = 64

#: The request was surely not sent. Not so of an error while it is sent: a part is enough
#: for a gateway to make something of it.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class _Reading:
    """An answer as it comes in, within its time and its size."""

    def __init__(self, response: httpx.Response, give_up_at: float) -> None:
        self._response = response
        self._give_up_at = give_up_at
        self._body = bytearray()

    def take(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > _ANSWER_BYTES_MAX:
            raise httpx.ReadError("the answer is too long")
        # A time-out of httpx is one of each read: this is one of all of them.
        if time.monotonic() > self._give_up_at:
            raise httpx.ReadTimeout("the answer took too long")

    def answer(self) -> Answer:
        headers = self._response.headers
        return Answer(
            self._response.status_code,
            bytes(self._body),
            retry_after=headers.get("retry-after"),
            date=headers.get("date"),
        )


def _options(settings: Settings) -> dict[str, object]:
    return {
        "base_url": settings.url,
        "headers": {
            "authorization": f"Bearer {settings.api_key}",
            "user-agent": f"meterline-python/{VERSION}",
        },
        "limits": httpx.Limits(
            max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX
        ),
        # Following one would take the key, and perhaps the event, elsewhere.
        "follow_redirects": False,
        "trust_env": not settings.is_this_machine(),
    }


def _timeout(timeout_s: float) -> httpx.Timeout:
    return httpx.Timeout(timeout_s, connect=min(_CONNECT_TIMEOUT_S, timeout_s))


def _headers(request: Request) -> Mapping[str, str]:
    headers = trace_headers()
    if request.body is not None:
        headers["content-type"] = "application/json"
    return headers


def _no_answer(error: Exception) -> NoAnswer:
    reason = str(error) or type(error).__name__
    return NoAnswer(f"no answer: {reason}", perhaps_heard=not isinstance(error, _NOT_SENT))


class SyncTransport:
    """Attempts that block."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self._timeout_s = settings.request_timeout_s
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._client = httpx.Client(**_options(settings), transport=transport)  # type: ignore[arg-type]

    def attempt(self, request: Request) -> Attempt:
        """Never raises for what the network does."""
        with self._free:
            return self._attempt(request)

    def _attempt(self, request: Request) -> Attempt:
        timeout_s = min(self._timeout_s, request.timeout_s or self._timeout_s)
        give_up_at = time.monotonic() + timeout_s
        try:
            with self._client.stream(
                request.method,
                request.path,
                content=request.body,
                headers=_headers(request),
                timeout=_timeout(timeout_s),
            ) as response:
                reading = _Reading(response, give_up_at)
                for chunk in response.iter_bytes():
                    reading.take(chunk)
                return reading.answer()
        except (httpx.HTTPError, httpx.StreamError) as error:
            return _no_answer(error)

    def close(self) -> None:
        self._client.close()


class AsyncTransport:
    """Attempts that are awaited."""

    def __init__(
        self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._timeout_s = settings.request_timeout_s
        self._free = asyncio.BoundedSemaphore(_CONNECTIONS_MAX)
        self._client = httpx.AsyncClient(**_options(settings), transport=transport)  # type: ignore[arg-type]

    async def attempt(self, request: Request) -> Attempt:
        """Never raises for what the network does."""
        async with self._free:
            return await self._attempt(request)

    async def _attempt(self, request: Request) -> Attempt:
        timeout_s = min(self._timeout_s, request.timeout_s or self._timeout_s)
        give_up_at = time.monotonic() + timeout_s
        try:
            async with self._client.stream(
                request.method,
                request.path,
                content=request.body,
                headers=_headers(request),
                timeout=_timeout(timeout_s),
            ) as response:
                reading = _Reading(response, give_up_at)
                async for chunk in response.aiter_bytes():
                    reading.take(chunk)
                return reading.answer()
        except (httpx.HTTPError, httpx.StreamError) as error:
            return _no_answer(error)

    async def close(self) -> None:
        await self._client.aclose()
