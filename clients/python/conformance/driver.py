"""Does with the Python client what lines of JSON say: clients/conformance/README.md.

``driver.py sync`` drives :class:`Meterline`, ``driver.py async`` :class:`AsyncMeterline`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from meterline import AsyncMeterline, Buffer, Meterline, MeterlineError, Recorded

JsonObject = dict[str, Any]


class ActionFailed(Exception):
    """What a case's action throws."""


def settings_of(request: JsonObject) -> JsonObject:
    given = request["settings"]
    return {
        "url": given["url"],
        "api_key": given["api_key"],
        "retry_budget_s": given["retry_budget_ms"] / 1000,
        "request_timeout_s": given["request_timeout_ms"] / 1000,
        "buffer": Buffer(**given["buffer"]) if given["buffer"] else None,
        "spool_dir": given["spool_dir"],
    }


def event_of(request: JsonObject) -> JsonObject:
    names = {"customer_id": "customer", "action_type": "action"}
    fields = [
        "customer_id",
        "action_type",
        "quantity",
        "event_id",
        "job_id",
        "occurred_at",
        "reservation_id",
    ]
    return {names.get(it, it): request[it] for it in fields if it in request}


def question_of(request: JsonObject) -> JsonObject:
    names = {"customer_id": "customer", "units": "units", "action_type": "action"}
    return {name: request[it] for it, name in names.items() if it in request}


def wanted_of(request: JsonObject) -> JsonObject:
    return {
        "customer": request["customer_id"],
        "action": request["action_type"],
        "quantity": request["quantity"],
        "reservation_id": request.get("reservation_id"),
        "expires_in_s": request.get("expires_in_s"),
    }


def act(action: JsonObject) -> Any:
    if "throws" in action:
        raise ActionFailed(action["throws"])
    return action["result"]


def act_slowly(action: JsonObject) -> Any:
    time.sleep(action.get("takes_ms", 0) / 1000)
    return act(action)


def outcome(usage: Recorded) -> JsonObject:
    return {
        "event_id": usage.event_id,
        "status": usage.status,
        "duplicate": usage.duplicate,
        "quantity": usage.quantity,
        "customer_status": usage.customer_status,
        "reservation": usage.reservation,
    }


def error_of(error: Exception) -> JsonObject:
    if isinstance(error, MeterlineError):
        document = {"kind": error.kind, "retryable": error.retryable, "message": str(error)}
        optional = {
            "type": error.type,
            "event_id": error.event_id,
            "reservation_id": error.reservation_id,
        }
        return document | {name: value for name, value in optional.items() if value is not None}
    if isinstance(error, ActionFailed):
        return {"kind": "action_failed", "retryable": False, "message": str(error)}
    # Not one of the protocol's: the case fails, and says why.
    return {"kind": type(error).__name__, "retryable": False, "message": str(error)}


class Output:
    """Whole lines, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def write(self, document: JsonObject) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()


class SyncDriver:
    """A thread for each request."""

    def __init__(self) -> None:
        self._output = Output()
        self._client: Meterline | None = None

    def run(self) -> None:
        threads = []
        for line in sys.stdin:
            thread = threading.Thread(target=self._answer, args=(json.loads(line),))
            thread.start()
            threads.append(thread)
        if self._client:
            self._client.close()
        for thread in threads:
            thread.join()

    def _answer(self, request: JsonObject) -> None:
        try:
            self._output.write({"id": request["id"], "ok": self._do(request)})
        except Exception as error:
            self._output.write({"id": request["id"], "error": error_of(error)})

    def _do(self, request: JsonObject) -> JsonObject:
        op = request["op"]
        if op == "open":
            self._client = Meterline(**settings_of(request))
            return {}
        client = self._client
        assert client, "open comes first"
        if op == "emit":
            return outcome(client.emit(**event_of(request)))
        if op == "metered":
            done = client.metered(
                lambda: act_slowly(request["action"]),
                check_access=request["check_access"],
                reserve=request.get("reserve"),
                **event_of(request),
            )
            return outcome(done.usage) | {"result": done.result}
        if op == "check_access":
            return dataclasses.asdict(client.check_access(**question_of(request)))
        if op == "reserve":
            return vars(client.reserve(**wanted_of(request)))
        if op == "release":
            return {"status": client.release(request["customer_id"], request["reservation_id"])}
        if op == "flush":
            return vars(client.flush())
        if op == "close":
            client.close()
            return {}
        raise ValueError(f"no such op: {op}")


class AsyncDriver:
    """A task for each request."""

    def __init__(self) -> None:
        self._output = Output()
        self._client: AsyncMeterline | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = []
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            tasks.append(loop.create_task(self._answer(json.loads(line))))
        if self._client:
            await self._client.close()
        await asyncio.gather(*tasks)

    async def _answer(self, request: JsonObject) -> None:
        try:
            self._output.write({"id": request["id"], "ok": await self._do(request)})
        except Exception as error:
            self._output.write({"id": request["id"], "error": error_of(error)})

    async def _do(self, request: JsonObject) -> JsonObject:
        op = request["op"]
        if op == "open":
            self._client = AsyncMeterline(**settings_of(request))
            await self._client.__aenter__()
            return {}
        client = self._client
        assert client, "open comes first"
        if op == "emit":
            return outcome(await client.emit(**event_of(request)))
        if op == "metered":

            async def action() -> Any:
                await asyncio.sleep(request["action"].get("takes_ms", 0) / 1000)
                return act(request["action"])

            done = await client.metered(
                action,
                check_access=request["check_access"],
                reserve=request.get("reserve"),
                **event_of(request),
            )
            return outcome(done.usage) | {"result": done.result}
        if op == "check_access":
            return dataclasses.asdict(await client.check_access(**question_of(request)))
        if op == "reserve":
            return vars(await client.reserve(**wanted_of(request)))
        if op == "release":
            status = await client.release(request["customer_id"], request["reservation_id"])
            return {"status": status}
        if op == "flush":
            return vars(await client.flush())
        if op == "close":
            await client.close()
            return {}
        raise ValueError(f"no such op: {op}")


def main() -> None:
    drivers: dict[str, Callable[[], None]] = {
        "sync": lambda: SyncDriver().run(),
        "async": lambda: asyncio.run(AsyncDriver().run()),
    }
    drivers[sys.argv[1]]()


if __name__ == "__main__":
    main()
