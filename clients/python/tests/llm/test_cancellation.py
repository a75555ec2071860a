"""What is billed of an answer whose caller is cancelled, with SDK clients that are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anthropic
import httpx
import openai
import pytest

from meterline import AsyncMeterline, MeterlineError
from meterline.llm import UnreportedUsage, UsageNotRecorded, meter_anthropic, meter_openai
from meterline.testing import FakeMeterline

from .model_server import ModelServer, Plain, message, message_stream, response_stream

USAGE = {"input_tokens": 10, "output_tokens": 5}
BILLED = {"msg_1:input": 10, "msg_1:output": 5}
REQUEST: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Summarise this."}],
}


class Held(httpx.AsyncBaseTransport):
    """Lets a request through to the API only once :attr:`goes_on` is set."""

    def __init__(self, fake: FakeMeterline) -> None:
        self.asked = asyncio.Event()
        self.goes_on = asyncio.Event()
        self._api = httpx.MockTransport(fake._answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        await self.goes_on.wait()
        return await self._api.handle_async_request(request)


class Setting:
    """A client of Meterline whose requests wait, and SDK clients that it meters."""

    def __init__(self, models: ModelServer, fake: FakeMeterline) -> None:
        self.told: list[MeterlineError] = []
        self.api = Held(fake)
        self.meterline = AsyncMeterline(
            "http://meterline.test", "mk_test", retry_budget_s=0, transport=self.api
        )
        self.anthropic = meter_anthropic(
            anthropic.AsyncAnthropic(base_url=models.url, api_key="any", max_retries=0),
            self.meterline,
            "cus_1",
            on_background_error=self.told.append,
        )
        self.openai = meter_openai(
            openai.AsyncOpenAI(base_url=f"{models.url}/v1", api_key="any", max_retries=0),
            self.meterline,
            "cus_1",
            on_background_error=self.told.append,
        )


def billed(fake: FakeMeterline) -> dict[str, int]:
    return {event.event_id: event.quantity for event in fake.events}


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancels a task whatever it still waits for, as a scope does that has been cancelled."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        task.result()


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)


async def read(setting: Setting, until: str = "", seen: asyncio.Event | None = None) -> None:
    """Reads a stream of Anthropic's, and stays at an event of that type."""
    async with await setting.anthropic.messages.create(**REQUEST, stream=True) as stream:
        async for event in stream:
            if event.type == until and seen:
                seen.set()
                await asyncio.Event().wait()


def test_an_answer_is_billed_whose_caller_is_cancelled(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)

        async def ask() -> None:
            await setting.anthropic.messages.create(**REQUEST)

        models.answers = [Plain(message(USAGE))]
        asking = start(ask())
        await setting.api.asked.wait()
        await cancel(asking)
        assert billed(fake) == {}
        setting.api.goes_on.set()
        await setting.meterline.close()
        assert (billed(fake), setting.told) == (BILLED, [])

    asyncio.run(story())


def test_the_end_of_a_stream_is_billed_whose_reader_is_cancelled(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        models.answers = [message_stream(USAGE, USAGE)]
        reading = start(read(setting))
        await setting.api.asked.wait()
        await cancel(reading)
        setting.api.goes_on.set()
        await setting.meterline.flush()
        assert (billed(fake), setting.told) == (BILLED, [])

    asyncio.run(story())


def test_a_failure_that_a_cancelled_caller_does_not_see_is_told(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        models.answers = [message_stream(USAGE, USAGE)]
        reading = start(read(setting))
        await setting.api.asked.wait()
        fake.refuse()
        await cancel(reading)
        setting.api.goes_on.set()
        await setting.meterline.close()
        assert isinstance(setting.told[0], UsageNotRecorded)
        assert [event.event_id for event in setting.told[0].events] == list(BILLED)

    asyncio.run(story())


def test_a_stream_that_is_cancelled_in_the_middle_is_billed_for_what_was_reported(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        models.answers = [message_stream({**USAGE, "output_tokens": 1}, USAGE)]
        seen = asyncio.Event()
        reading = start(read(setting, "content_block_delta", seen))
        await seen.wait()
        await cancel(reading)
        setting.api.goes_on.set()
        await setting.meterline.close()
        assert billed(fake) == {"msg_1:input": 10, "msg_1:output": 1}
        assert isinstance(setting.told[0], UnreportedUsage)

    asyncio.run(story())


@pytest.mark.parametrize("closes", [False, True], ids=["cancelled", "closed"])
def test_a_report_that_is_about_to_come_is_waited_for_without_its_reader(
    models: ModelServer, fake: FakeMeterline, closes: bool
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        setting.api.goes_on.set()
        answer = response_stream({"input_tokens": 10, "output_tokens": 5})
        answer.holds_before = 8
        models.answers = [answer]
        seen = asyncio.Event()

        async def read_response() -> None:
            stream = await setting.openai.responses.create(model="m", input="a", stream=True)
            async for event in stream:
                if event.type == "response.output_item.done":
                    seen.set()
                    if closes:
                        break
            await stream.close()

        reading = start(read_response())
        await seen.wait()
        await cancel(reading)
        answer.goes_on.set()
        await setting.meterline.close()
        assert billed(fake) == {"resp_1:input": 10, "resp_1:output": 5}
        assert setting.told == []

    asyncio.run(story())


def test_a_stream_helper_whose_reader_is_cancelled_waits_for_the_report(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        setting.api.goes_on.set()
        answer = response_stream({"input_tokens": 10, "output_tokens": 5})
        answer.holds_before = 8
        models.answers = [answer]
        seen = asyncio.Event()

        async def read_response() -> None:
            async with setting.openai.responses.stream(model="m", input="a") as stream:
                async for event in stream:
                    if event.type == "response.output_item.done":
                        seen.set()

        reading = start(read_response())
        await seen.wait()
        await cancel(reading)
        answer.goes_on.set()
        await setting.meterline.close()
        assert billed(fake) == {"resp_1:input": 10, "resp_1:output": 5}
        assert setting.told == []

    asyncio.run(story())


def test_an_iterator_that_is_closed_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        models.answers = [message_stream(USAGE, USAGE)]
        stream = await setting.anthropic.messages.create(**REQUEST, stream=True)
        iterator: Any = stream._iterator
        await iterator.__anext__()
        await cancel(start(iterator.aclose()))
        setting.api.goes_on.set()
        await setting.meterline.close()
        assert billed(fake) == BILLED

    asyncio.run(story())


def test_what_the_end_of_the_loop_interrupts_is_told(
    models: ModelServer, fake: FakeMeterline
) -> None:
    settings: list[Setting] = []

    async def story() -> None:
        setting = Setting(models, fake)
        settings.append(setting)
        models.answers = [message_stream(USAGE, USAGE)]
        reading = start(read(setting))
        await setting.api.asked.wait()
        await cancel(reading)

    asyncio.run(story())
    told = settings[0].told
    assert isinstance(told[0], UsageNotRecorded)
    assert (told[0].retryable, len(told[0].events)) == (True, 2)


def test_a_recording_that_is_cancelled_before_it_begins_is_told(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        models.answers = [message_stream(USAGE, USAGE)]
        seen = asyncio.Event()
        reading = start(read(setting, "message_delta", seen))
        await seen.wait()
        reading.cancel()
        # The reader leaves, and the task that it leaves behind has not begun.
        await asyncio.sleep(0)
        (recording,) = setting.meterline._background
        recording.cancel()
        await asyncio.wait([reading])
        assert isinstance(setting.told[0], UsageNotRecorded)

    asyncio.run(story())


def test_closing_goes_on_when_its_caller_is_cancelled(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        setting = Setting(models, fake)
        emitting = start(emit(setting.meterline))
        await setting.api.asked.wait()
        closing = start(setting.meterline.close())
        await asyncio.sleep(0)
        await cancel(closing)
        setting.api.goes_on.set()
        await setting.meterline.close()
        await emitting
        assert fake.units("cus_1") == 1

    asyncio.run(story())


async def emit(meterline: AsyncMeterline) -> None:
    await meterline.emit("cus_1", "read")
