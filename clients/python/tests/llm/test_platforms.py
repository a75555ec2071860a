"""Clients of the SDKs that are made otherwise: for other platforms, by older versions, or such that
something of them cannot be metered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic.lib.middleware import BetaRefusalFallbackMiddleware
from anthropic.resources.messages import Messages

from meterline import InvalidUsage
from meterline.llm import meter_anthropic, meter_openai
from meterline.testing import FakeMeterline

from .model_server import ModelServer, Plain, completion, message, message_stream

BEDROCK = {"aws_region": "us-east-1", "api_key": "any"}
VERTEX = {"region": "us-east5", "project_id": "any", "access_token": "any"}
MANTLE = {"aws_region": "us-east-1", "skip_auth": True}
SYNC: list[tuple[Any, Any]] = [
    (anthropic.AnthropicBedrock, BEDROCK),
    (anthropic.AnthropicVertex, VERTEX),
    (anthropic.AnthropicBedrockMantle, MANTLE),
]
ASYNC: list[tuple[Any, Any]] = [
    (anthropic.AsyncAnthropicBedrock, BEDROCK),
    (anthropic.AsyncAnthropicVertex, VERTEX),
    (anthropic.AsyncAnthropicBedrockMantle, MANTLE),
]
REQUEST: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Summarise this."}],
}
USAGE = {"input_tokens": 10, "output_tokens": 5}
BILLED = {"msg_1:input": 10, "msg_1:output": 5}


def billed(fake: FakeMeterline) -> dict[str, int]:
    return {event.event_id: event.quantity for event in fake.events}


def each_way(client: Any) -> list[Callable[[], Any]]:
    """The ways to have a message, of a client or one that is made of it."""
    return [
        lambda: client.messages.create(**REQUEST),
        lambda: client.beta.messages.create(**REQUEST),
        lambda: client.messages.with_raw_response.create(**REQUEST),
        lambda: client.with_options(timeout=5).messages.create(**REQUEST),
        lambda: client.copy().beta.messages.create(**REQUEST),
    ]


@pytest.mark.parametrize(("kind", "options"), SYNC)
def test_a_client_for_another_platform_is_billed(
    models: ModelServer, fake: FakeMeterline, kind: Any, options: Any
) -> None:
    own = kind(base_url=models.url, max_retries=0, **options)
    client = meter_anthropic(own, fake.client(retry_budget_s=0), "cus_1")
    assert type(client) is kind
    models.answers = [Plain(message(USAGE))]
    own.messages.create(**REQUEST)
    assert fake.events == []
    for number, ask in enumerate(each_way(client)):
        models.answers = [Plain({**message(USAGE), "id": f"msg_{number}"})]
        ask()
        assert fake.units("cus_1") == 15 * (number + 1)


@pytest.mark.parametrize(("kind", "options"), ASYNC)
def test_an_async_client_for_another_platform_is_billed(
    models: ModelServer, fake: FakeMeterline, kind: Any, options: Any
) -> None:
    async def story() -> None:
        own = kind(base_url=models.url, max_retries=0, **options)
        client = meter_anthropic(own, fake.async_client(retry_budget_s=0), "cus_1")
        for number, ask in enumerate(each_way(client)):
            models.answers = [Plain({**message(USAGE), "id": f"msg_{number}"})]
            await ask()
            assert fake.units("cus_1") == 15 * (number + 1)

    asyncio.run(story())


# Bedrock's own streams are in a framing of AWS's, which needs another package.
@pytest.mark.parametrize(("kind", "options"), SYNC[1:])
def test_a_stream_of_another_platform_is_billed(
    models: ModelServer, fake: FakeMeterline, kind: Any, options: Any
) -> None:
    models.answers = [message_stream({**USAGE, "output_tokens": 1}, {"output_tokens": 5})]
    own = kind(base_url=models.url, max_retries=0, **options)
    client = meter_anthropic(own, fake.client(), "cus_1")
    with client.messages.stream(**REQUEST) as stream:
        assert stream.get_final_text() == "A summary."
    assert billed(fake) == BILLED


@pytest.mark.parametrize(("kind", "options"), ASYNC[1:])
def test_an_async_stream_of_another_platform_is_billed(
    models: ModelServer, fake: FakeMeterline, kind: Any, options: Any
) -> None:
    async def story() -> None:
        models.answers = [message_stream({**USAGE, "output_tokens": 1}, {"output_tokens": 5})]
        own = kind(base_url=models.url, max_retries=0, **options)
        client = meter_anthropic(own, fake.async_client(), "cus_1")
        async with client.messages.stream(**REQUEST) as stream:
            assert await stream.get_final_text() == "A summary."
        assert billed(fake) == BILLED

    asyncio.run(story())


def test_a_client_for_azure_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    models.answers = [Plain(completion(usage))]
    own = openai.AzureOpenAI(azure_endpoint=models.url, api_key="any", api_version="2025-01-01")
    client = meter_openai(own, fake.client(), "cus_1")
    client.chat.completions.create(model="any", messages=[{"role": "user", "content": "a"}])
    assert billed(fake) == {"chatcmpl-1:input": 10, "chatcmpl-1:output": 5}


class OlderView:
    """What an older SDK makes of its resources at once."""

    def __init__(self, client: Any) -> None:
        self.messages = client.messages.with_raw_response


class Older(anthropic.Anthropic):
    """A client as older SDKs have it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: dict[str, Any] = {"messages": Messages(self), "with_raw_response": OlderView(self)}
        vars(self).update(made)


def test_a_client_that_makes_its_resources_at_once_is_billed(
    models: ModelServer, fake: FakeMeterline
) -> None:
    client = meter_anthropic(Older(base_url=models.url, api_key="any"), fake.client(), "cus_1")
    models.answers = [Plain(message(USAGE)), Plain({**message(USAGE), "id": "msg_2"})]
    client.messages.create(**REQUEST)
    client.with_raw_response.messages.create(**REQUEST)
    assert fake.units("cus_1") == 30


class Past(anthropic.Anthropic):
    """A client that asks past its own ``post``."""

    @property
    def messages(self) -> Messages:
        return Messages(anthropic.Anthropic(api_key="any"))


class Nothing(anthropic.Anthropic):
    """A client in which nothing can be found."""

    messages = beta = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Past, Nothing])
def test_a_client_that_cannot_be_metered_is_not_handed_out(fake: FakeMeterline, kind: Any) -> None:
    with pytest.raises(InvalidUsage, match=kind.__name__):
        meter_anthropic(kind(api_key="any"), fake.client(), "cus_1")


def test_a_client_that_asks_other_models_by_itself_is_not_handed_out(fake: FakeMeterline) -> None:
    falls_back = BetaRefusalFallbackMiddleware([{"model": "claude-opus-4-8"}])
    own = anthropic.Anthropic(api_key="any")
    with pytest.raises(InvalidUsage, match="not metered"):
        meter_anthropic(own.with_middleware(falls_back), fake.client(), "cus_1")
    with pytest.raises(InvalidUsage, match="not metered"):
        meter_anthropic(own, fake.client(), "cus_1").with_middleware(falls_back)
