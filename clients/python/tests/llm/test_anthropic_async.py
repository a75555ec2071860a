"""The official Anthropic SDK, asynchronous, over HTTP."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anthropic
import pytest

from meterline import InvalidUsage, MeterlineError
from meterline.llm import UnreportedUsage, meter_anthropic
from meterline.testing import FakeMeterline

from .anthropic_calls import AT_START, BILLED, MESSAGES, MODEL, USAGE, billed, metered_async
from .model_server import ModelServer, Plain, message, message_stream


def test_an_async_client_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        client = metered_async(models, fake)
        models.answers = [Plain(message(USAGE))]
        await client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES)
        assert billed(fake) == BILLED

    asyncio.run(story())


def test_an_async_raw_response_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        models.answers = [Plain(message(USAGE))]
        client = metered_async(models, fake)
        await client.messages.with_raw_response.create(
            model=MODEL, max_tokens=100, messages=MESSAGES
        )
        assert billed(fake) == BILLED

    asyncio.run(story())


def test_an_async_stream_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        models.answers = [message_stream(AT_START, {"output_tokens": 5})]
        client = metered_async(models, fake)
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
            assert await stream.get_final_text() == "A summary."
        assert billed(fake) == BILLED

    asyncio.run(story())


def test_who_leaves_an_async_stream_is_billed_for_what_was_reported(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        models.answers = [message_stream(AT_START, {"output_tokens": 5})]
        told: list[MeterlineError] = []
        client = metered_async(models, fake, on_background_error=told.append)
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
            async for _ in stream:
                break
        assert billed(fake) == {**BILLED, "msg_1:output": ("llm.output", 1)}
        assert isinstance(told[0], UnreportedUsage)

    asyncio.run(story())


def test_an_async_stream_that_is_dropped_unread_says_what_it_cannot_know(
    models: ModelServer, fake: FakeMeterline
) -> None:
    told: list[MeterlineError] = []

    async def story() -> None:
        heard = asyncio.Event()

        def tell(error: MeterlineError) -> None:
            told.append(error)
            heard.set()

        models.answers = [message_stream(AT_START, {"output_tokens": 5})]
        client = metered_async(models, fake, on_background_error=tell)
        await client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True)
        gc.collect()
        await asyncio.wait_for(heard.wait(), 30)

    asyncio.run(story())
    gc.collect()
    assert [type(it) for it in told] == [UnreportedUsage]
    assert fake.events == []


@pytest.mark.parametrize("closes", [False, True])
def test_an_async_stream_that_outlives_its_loop_unread_is_told_of_once(
    models: ModelServer, fake: FakeMeterline, closes: bool
) -> None:
    told: list[MeterlineError] = []

    async def story() -> Any:
        models.answers = [message_stream(AT_START, {"output_tokens": 5})]
        client = metered_async(models, fake, on_background_error=told.append)
        stream = await client.messages.create(
            model=MODEL, max_tokens=100, messages=MESSAGES, stream=True
        )
        if closes:
            await stream.close()
        return stream

    stream = asyncio.run(story())
    del stream
    gc.collect()
    assert [type(it) for it in told] == [UnreportedUsage]


def test_an_async_client_needs_an_async_meterline(models: ModelServer, fake: FakeMeterline) -> None:
    client = anthropic.AsyncAnthropic(base_url=models.url, api_key="any")
    with pytest.raises(InvalidUsage, match="AsyncMeterline"):
        meter_anthropic(client, fake.client(), "cus_1")


def test_an_async_request_that_other_models_may_answer_is_refused_before_it_costs(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        client = metered_async(models, fake)
        with pytest.raises(InvalidUsage, match="fallbacks"):
            await client.beta.messages.create(
                model=MODEL,
                max_tokens=100,
                messages=[{"role": "user", "content": "Summarise."}],
                fallbacks="default",
            )
        assert models.requests == []

    asyncio.run(story())
