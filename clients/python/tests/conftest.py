"""What several tests need."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from meterline.testing import FakeMeterline


@pytest.fixture
def fake() -> FakeMeterline:
    return FakeMeterline()


class Calls(Protocol):
    """Either client, called from a test."""

    def call(self, method: str, *arguments: Any, **options: Any) -> Any: ...

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]: ...


class SyncCalls:
    def __init__(self, fake: FakeMeterline, **settings: Any) -> None:
        self._client = fake.client(**settings)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._client, method)(*arguments, **options)

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]:
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda call: self.call(method, **call), calls))


class AsyncCalls:
    """The async client, on a loop that runs in a thread of its own."""

    def __init__(self, fake: FakeMeterline, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._client = fake.async_client(**settings)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        arguments = tuple(_awaitable(it) if callable(it) else it for it in arguments)
        call = getattr(self._client, method)(*arguments, **options)
        return asyncio.run_coroutine_threadsafe(call, self.loop).result(30)

    def together(self, method: str, calls: list[dict[str, Any]]) -> list[Any]:
        async def gathered() -> list[Any]:
            return await asyncio.gather(*(getattr(self._client, method)(**call) for call in calls))

        return asyncio.run_coroutine_threadsafe(gathered(), self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def _awaitable(run: Any) -> Any:
    async def awaited() -> Any:
        return run()

    return awaited


@pytest.fixture(params=["sync", "async"])
def opened(request: pytest.FixtureRequest, fake: FakeMeterline) -> Iterator[Any]:
    """Opens a client of either kind."""
    clients: list[Any] = []

    def open_client(**settings: Any) -> Calls:
        kind = SyncCalls if request.param == "sync" else AsyncCalls
        clients.append(kind(fake, **settings))
        return clients[-1]  # type: ignore[no-any-return]

    yield open_client
    for client in clients:
        client.call("close")
        if isinstance(client, AsyncCalls):
            client.stop()
