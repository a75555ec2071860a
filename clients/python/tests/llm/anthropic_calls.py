"""The official Anthropic SDK, metered, before a server of the test's: what is asked, and billed."""

from __future__ import annotations

from typing import Any

import anthropic
from anthropic.types import MessageParam

from meterline.llm import meter_anthropic
from meterline.testing import FakeMeterline

from .model_server import ModelServer

MODEL = "claude-haiku-4-5"
MESSAGES: list[MessageParam] = [{"role": "user", "content": "Summarise this."}]
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 700,
    "cache_creation_input_tokens": 80,
}
BILLED = {
    "msg_1:input": ("llm.input", 10),
    "msg_1:output": ("llm.output", 5),
    "msg_1:cache_read": ("llm.cache_read", 700),
    "msg_1:cache_write": ("llm.cache_write", 80),
}
AT_START = {**USAGE, "output_tokens": 1}


def billed(fake: FakeMeterline) -> dict[str, tuple[str, int]]:
    return {event.event_id: (event.action_type, event.quantity) for event in fake.events}


def metered(models: ModelServer, fake: FakeMeterline, **options: Any) -> anthropic.Anthropic:
    client = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    return meter_anthropic(client, fake.client(retry_budget_s=0), "cus_1", **options)


def metered_async(
    models: ModelServer, fake: FakeMeterline, **options: Any
) -> anthropic.AsyncAnthropic:
    client = anthropic.AsyncAnthropic(base_url=models.url, api_key="any", max_retries=0)
    return meter_anthropic(client, fake.async_client(retry_budget_s=0), "cus_1", **options)


def create(client: anthropic.Anthropic) -> anthropic.types.Message:
    return client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES)
