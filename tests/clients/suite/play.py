"""Plays a case: its steps, one after the other, through a proxy with its faults."""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone

from driver import Driver
from local_system import ACTION_TYPE
from proxy import Fault, Proxy
from system import PATIENCE_S, UNKNOWN_CUSTOMER

# A machine that does other things besides must not look like a fault.
SETTINGS = {
    "retry_budget_ms": 30_000,
    "request_timeout_ms": 15_000,
    "buffer": None,
    "spool_dir": None,
}
# Of a step, and not of the request to the driver.
OF_THE_STEP = {"expect", "repeat", "after_ms", "keep_event_id", "process", "will_be"}
PLACEHOLDER = re.compile(r"\$[a-z_]+")


@dataclass
class Told:
    """What a driver was asked about an event, and said of it."""

    request: dict
    answer: dict | None
    will_be: str | None

    @property
    def event_id(self):
        said = (self.answer or {}).get("ok") or (self.answer or {}).get("error") or {}
        if "event_id" in said:
            return said["event_id"]
        if "job_id" in self.request:
            return event_id_of_job(self.request["job_id"], self.request["action_type"])
        return self.request.get("event_id")

    @property
    def outcome(self):
        return (self.answer or {}).get("ok")

    @property
    def error_kind(self):
        return ((self.answer or {}).get("error") or {}).get("kind")


class Play:
    """One case, with one client's driver; its second process may be another client's."""

    def __init__(self, case, system, command, folder, second_command=None):
        self.case = case
        self.system = system
        self.commands = {"first": command, "second": second_command or command}
        self.spool_dir = folder / "spool"
        self.log = open(folder / "driver.log", "wb")
        self.drivers = {}
        self.told = []

    async def run(self):
        self.customer = await asyncio.to_thread(self.system.new_customer)
        host, port = self.system.url.removeprefix("http://").split(":")
        faults = [Fault(**fault) for fault in self.case.get("faults", [])]
        self.proxy = Proxy((host, int(port)), faults)
        await self.proxy.listen()
        self.names = {
            "$customer": self.customer,
            "$suspended": self.system.suspended,
            "$other": self.system.other,
            "$unknown": UNKNOWN_CUSTOMER,
            "$now": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            # Its own in each language, since the customer is.
            "$case": f"case-{self.customer}",
            **self.system.keys,
        }
        try:
            for step in self.case["steps"]:
                await self.step(step)
            for driver in self.drivers.values():
                assert await driver.end() == 0, "the driver's exit status"
            await self.proxy.settle()
        finally:
            for driver in self.drivers.values():
                await driver.kill()
            self.proxy.vanish()
            await asyncio.to_thread(self.system.set_stripe, "up")
            self.log.close()

    async def step(self, step):
        if "parallel" in step:
            await together(self.step(each) for each in step["parallel"])
        elif "series" in step:
            for each in step["series"]:
                await self.step(each)
        elif "repeat" in step:
            copies = [substituted(step, {"$i": str(i + 1)}) for i in range(step["repeat"])]
            await together(self.step(without(copy, {"repeat"})) for copy in copies)
        else:
            await self.single_step(step)

    async def single_step(self, step):
        await asyncio.sleep(step.get("after_ms", 0) / 1000)
        match step:
            case {"op": _}:
                await self.ask(step)
            case {"api": "down"}:
                self.proxy.vanish()
            case {"api": "up"}:
                await self.proxy.listen()
            case {"faults": "end"}:
                self.proxy.faults.clear()
            case {"stripe": state}:
                await asyncio.to_thread(self.system.set_stripe, state)
            case {"kill": True}:
                await self.kill(step.get("when_requests", 0))
            case {"limit": limit}:
                await asyncio.to_thread(self.system.set_limit, self.customer, limit)
            case {"held_units": units}:
                await asyncio.to_thread(self.system.await_held_units, self.customer, units)
            case {"spoil": text}:
                for path in (self.spool_dir / "waiting").glob("*.json"):
                    path.write_text(text, encoding="utf-8")
            case {"spool": expected}:
                await self.await_spool(expected, step.get("within_ms", 0))
            case _:
                raise AssertionError(f"no such step: {step}")

    async def ask(self, step):
        step = substituted(step, self.names)
        request = without(step, OF_THE_STEP)
        name = step.get("process", "first")
        if request["op"] == "open":
            request["settings"] = self.settings(request.get("settings", {}))
            if name not in self.drivers:
                self.drivers[name] = await Driver.start(self.commands[name], self.log)
        if request["op"] in ("emit", "metered", "check_access", "reserve", "release"):
            request = {"customer_id": self.customer, **request}
        if request["op"] in ("emit", "metered", "reserve"):
            request = {"action_type": ACTION_TYPE, **request}
        driver = self.drivers[name]
        answer = await driver.ask(request)
        if request["op"] in ("emit", "metered"):
            self.told.append(Told(request, answer, step.get("will_be")))
        if answer is None:
            assert driver.is_killed, f"the driver ended without an answer to {request}"
            return
        check(step, answer)
        if "keep_event_id" in step:
            self.names[f"${step['keep_event_id']}"] = self.told[-1].event_id

    def settings(self, of_the_step):
        settings = {**SETTINGS, "api_key": "$key", **self.case.get("settings", {}), **of_the_step}
        if settings["spool_dir"]:
            settings["spool_dir"] = str(self.spool_dir)
        settings["url"] = f"http://127.0.0.1:{self.proxy.port}"
        return substituted(settings, self.names)

    async def kill(self, when_requests):
        await until(lambda: len(self.proxy.requests) >= when_requests, "requests came")
        drivers, self.drivers = self.drivers, {}
        for driver in drivers.values():
            await driver.kill()

    async def await_spool(self, expected, within_ms):
        def state():
            folders = {"waiting": "waiting", "set_aside": "refused"}
            return {
                name: len(list((self.spool_dir / folder).glob("*.json")))
                for name, folder in folders.items()
            }

        if within_ms:
            await until(lambda: state() == expected, f"the spool is {expected}", within_ms / 1000)
        assert state() == expected, "the files of the spool"


def event_id_of_job(job_id, action_type):
    """By the README's words."""
    text = f"meterline job 1\n{job_id}\n{action_type}"
    return f"job-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def check(step, answer):
    """Whether an answer is as the step expects it."""
    expected = step.get("expect", {"ok": {}})
    shown = f"{without(step, {'expect'})}\nanswered {answer}\nexpected {expected}"
    for part, fields in expected.items():
        assert part in answer, shown
        for name, value in fields.items():
            said = answer[part].get(name)
            if value == "$any":
                assert said is not None, shown
            elif isinstance(value, list):
                assert said in value, shown
            else:
                assert said == value, shown


def substituted(value, names):
    """With what the placeholders stand for."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: names.get(found[0], found[0]), value)
    if isinstance(value, list):
        return [substituted(each, names) for each in value]
    if isinstance(value, dict):
        return {name: substituted(each, names) for name, each in value.items()}
    return value


def without(fields, names):
    return {name: value for name, value in fields.items() if name not in names}


async def together(steps):
    """Runs steps at the same time, to the end of all, and fails as the first that failed."""
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def until(condition, what, within_s=PATIENCE_S):
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what}") from None
