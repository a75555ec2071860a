"""The official OpenAI SDK, over HTTP: Chat Completions and Responses."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from meterline import InvalidUsage, MeterlineError
from meterline.llm import UnreportedUsage, UsageNotRecorded, meter_openai
from meterline.testing import FakeMeterline

from .model_server import (
    ModelServer,
    Plain,
    Streamed,
    chunks,
    completion,
    response,
    response_stream,
)

MODEL = "gpt-5-mini"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Summarise this."}]
CHAT_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 50,
    "total_tokens": 1050,
    "prompt_tokens_details": {"cached_tokens": 700},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
RESPONSE_USAGE = {
    "input_tokens": 1000,
    "output_tokens": 50,
    "total_tokens": 1050,
    "input_tokens_details": {"cached_tokens": 700},
    "output_tokens_details": {"reasoning_tokens": 30},
}


class Summary(BaseModel):
    text: str


def kinds_of(response_id: str) -> dict[str, tuple[str, int]]:
    return {
        f"{response_id}:input": ("llm.input", 300),
        f"{response_id}:output": ("llm.output", 50),
        f"{response_id}:cache_read": ("llm.cache_read", 700),
    }


def billed(fake: FakeMeterline) -> dict[str, tuple[str, int]]:
    return {event.event_id: (event.action_type, event.quantity) for event in fake.events}


def metered(models: ModelServer, fake: FakeMeterline, **options: Any) -> openai.OpenAI:
    client = openai.OpenAI(base_url=f"{models.url}/v1", api_key="any", max_retries=0)
    return meter_openai(client, fake.client(retry_budget_s=0), "cus_1", **options)


def metered_async(models: ModelServer, fake: FakeMeterline, **options: Any) -> openai.AsyncOpenAI:
    client = openai.AsyncOpenAI(base_url=f"{models.url}/v1", api_key="any", max_retries=0)
    return meter_openai(client, fake.async_client(retry_budget_s=0), "cus_1", **options)


def test_cached_tokens_are_no_input_tokens(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(completion(CHAT_USAGE))]
    metered(models, fake).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert billed(fake) == kinds_of("chatcmpl-1")
    assert sum(event.quantity for event in fake.events) == CHAT_USAGE["total_tokens"]


def test_tokens_written_to_the_cache_are_no_input_tokens(
    models: ModelServer, fake: FakeMeterline
) -> None:
    details = {"cached_tokens": 700, "cache_write_tokens": 200}
    models.answers = [Plain(completion({**CHAT_USAGE, "prompt_tokens_details": details}))]
    metered(models, fake).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert fake.units("cus_1", "llm.cache_write") == 200
    assert fake.units("cus_1", "llm.input") == 100


def test_an_answer_without_its_usage_is_an_error_that_has_the_answer(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(completion(None))]
    with pytest.raises(UnreportedUsage) as unreported:
        metered(models, fake).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert unreported.value.response.id == "chatcmpl-1"


@pytest.mark.parametrize("tool", [False, True], ids=["text", "tool"])
def test_a_stream_is_asked_for_its_usage_and_reads_as_without(
    models: ModelServer, fake: FakeMeterline, tool: bool
) -> None:
    models.answers = [chunks(CHAT_USAGE, tool)]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True
    )
    # The chunk with the usage has no choices, which the caller does not expect.
    assert all(len(chunk.choices) == 1 for chunk in stream)
    assert models.requests[0][1]["stream_options"] == {"include_usage": True}
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_who_asks_for_the_usage_is_handed_it(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert list(stream)[-1].usage is not None
    assert billed(fake) == kinds_of("chatcmpl-1")


@pytest.mark.parametrize("asks", [False, True])
def test_the_last_chunk_is_handed_out_once_the_usage_is_recorded(
    models: ModelServer, fake: FakeMeterline, asks: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asks else {}
    models.answers = [chunks(CHAT_USAGE)]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, **options
    )
    were_recorded = [bool(fake.events) for _ in stream]
    assert were_recorded == [False] * (4 if asks else 3) + [True]


def test_the_last_chunk_of_an_async_stream_is_handed_out_once_the_usage_is_recorded(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        models.answers = [chunks(CHAT_USAGE)]
        stream = await metered_async(models, fake).chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True
        )
        assert [bool(fake.events) async for _ in stream] == [False, False, False, True]

    asyncio.run(story())


def test_a_last_chunk_that_has_the_usage_and_a_choice_is_handed_out_once_it_is_recorded(
    models: ModelServer, fake: FakeMeterline
) -> None:
    streamed = chunks(CHAT_USAGE)
    usage, last = streamed.events.pop(4), streamed.events[3]
    assert isinstance(usage[1], dict)
    assert isinstance(last[1], dict)
    last[1]["usage"] = usage[1]["usage"]
    models.answers = [streamed]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True
    )
    assert [bool(fake.events) for _ in stream] == [False, False, False, True]


def test_no_choice_is_lost_or_moved_by_what_is_held_back(
    models: ModelServer, fake: FakeMeterline
) -> None:
    streamed = chunks(CHAT_USAGE)
    others: list[Any] = []
    for _, chunk in streamed.events[:4]:
        assert isinstance(chunk, dict)
        others.append((None, {**chunk, "choices": [{**chunk["choices"][0], "index": 1}]}))
    # The second choice begins only when the first is over.
    streamed.events[4:4] = others
    models.answers = [streamed]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, n=2, stream=True
    )
    read = [(chunk.choices[0].index, chunk.choices[0].finish_reason) for chunk in stream]
    of_one = [None, None, None, "stop"]
    assert read == [(index, reason) for index in (0, 1) for reason in of_one]
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_a_last_chunk_whose_usage_is_not_recorded_is_withheld_and_not_lost(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    client = metered(models, fake)
    fake.drop()
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    assert "".join(next(stream).choices[0].delta.content or "" for _ in range(3)) == "A summary."
    with pytest.raises(UsageNotRecorded) as failed:
        next(stream)
    assert failed.value.response.choices[0].finish_reason == "stop"
    fake.client().emit_many(failed.value.events)
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_what_is_set_besides_the_body_is_seen(models: ModelServer, fake: FakeMeterline) -> None:
    client = metered(models, fake)
    with pytest.raises(InvalidUsage, match="background"):
        client.responses.create(model=MODEL, input="a", extra_body={"background": True})
    models.answers = [chunks(CHAT_USAGE)]
    extra = {"stream_options": {"include_obfuscation": False}, "seed": 7}
    list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, extra_body=extra
        )
    )
    ((_, asked),) = models.requests
    assert asked["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert (asked["seed"], billed(fake)) == (7, kinds_of("chatcmpl-1"))


def test_other_options_of_a_stream_are_kept(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    options: Any = {"include_obfuscation": False}
    list(
        metered(models, fake).chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options=options
        )
    )
    assert models.requests[0][1]["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }


def test_a_stream_that_does_not_say_its_usage_is_an_error_at_its_end(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(None)]
    stream = metered(models, fake).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": False}
    )
    texts = [next(stream).choices[0].delta.content or "" for _ in range(4)]
    assert "".join(texts) == "A summary."
    with pytest.raises(UnreportedUsage):
        next(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_an_id_is_told_and_not_billed_as_every_other_one(
    models: ModelServer, fake: FakeMeterline, stream: bool
) -> None:
    if stream:
        events = chunks(CHAT_USAGE).events
        without_id = [(n, {**it, "id": ""} if isinstance(it, dict) else it) for n, it in events]
        models.answers = [Streamed(without_id)]
    else:
        models.answers = [Plain({**completion(CHAT_USAGE), "id": ""})]
    create = metered(models, fake).chat.completions.create
    with pytest.raises(UnreportedUsage):
        list(create(model=MODEL, messages=MESSAGES, stream=stream))
    assert fake.events == []


def test_who_leaves_the_sdks_stream_helper_when_the_text_is_over_is_billed_for_all(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        for event in stream:
            if event.type == "content.done":
                break
    assert (billed(fake), told) == (kinds_of("chatcmpl-1"), [])


def test_who_leaves_an_async_stream_helper_when_the_text_is_over_is_billed_for_all(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        models.answers = [response_stream(RESPONSE_USAGE)]
        told: list[MeterlineError] = []
        client = metered_async(models, fake, on_background_error=told.append)
        async with client.responses.stream(model=MODEL, input="Summarise this.") as stream:
            async for event in stream:
                if event.type == "response.output_text.done":
                    break
        assert (billed(fake), told) == (kinds_of("resp_1"), [])

    asyncio.run(story())


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_who_leaves_a_stream_helper_with_a_generator_is_billed_for_all(
    models: ModelServer, fake: FakeMeterline, api: str
) -> None:
    told: list[MeterlineError] = []
    sdk = openai.OpenAI(base_url=f"{models.url}/v1", api_key="any", max_retries=0)
    with fake.client() as meterline:
        client = meter_openai(sdk, meterline, "cus_1", on_background_error=told.append)

        def events() -> Iterator[str]:
            if api == "chat":
                models.answers = [chunks(CHAT_USAGE)]
                with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as chat:
                    yield from (event.type for event in chat)
            else:
                models.answers = [response_stream(RESPONSE_USAGE)]
                with client.responses.stream(model=MODEL, input="a") as stream:
                    yield from (event.type for event in stream)

        reading = events()
        for event in reading:
            if event in ("content.done", "response.output_text.done"):
                break
        reading.close()  # type: ignore[attr-defined]
    ids = {"chat": "chatcmpl-1", "responses": "resp_1"}
    assert (billed(fake), told) == (kinds_of(ids[api]), [])


def test_a_stream_helper_that_is_dropped_is_not_billed_within_the_garbage_collector(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    told, where = threading.Event(), []

    def tell(error: MeterlineError) -> None:
        where.append(threading.current_thread())
        told.set()

    client = metered(models, fake, on_background_error=tell)
    for _ in client.chat.completions.stream(model=MODEL, messages=MESSAGES).__enter__():
        break
    gc.collect()
    assert told.wait(30)
    assert threading.current_thread() not in where


@pytest.mark.parametrize("fails_with_usage", [False, True])
def test_an_error_in_a_stream_is_told_once_and_what_comes_last_is_billed(
    models: ModelServer, fake: FakeMeterline, fails_with_usage: bool
) -> None:
    async def story() -> None:
        models.answers = [streamed]
        client = metered_async(models, fake, on_background_error=told.append)
        async for _ in await client.responses.create(model=MODEL, input="a", stream=True):
            pass

    streamed = response_stream(RESPONSE_USAGE, "failed")
    error = {"type": "error", "code": "server_error", "message": "No.", "sequence_number": 8}
    streamed.events.insert(8, ("error", error))
    if not fails_with_usage:
        del streamed.events[9:]
    told: list[MeterlineError] = []
    models.answers = [streamed]
    client = metered(models, fake, on_background_error=told.append)
    # The caller has read of the error, and needs no second one.
    list(client.responses.create(model=MODEL, input="a", stream=True))
    asyncio.run(story())
    expected = [] if fails_with_usage else [UnreportedUsage] * 2
    assert [type(it) for it in told] == expected
    assert billed(fake) == (kinds_of("resp_1") if fails_with_usage else {})


def test_who_leaves_before_the_usage_is_told_that_it_is_unknown(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
        next(iter(stream))
    assert isinstance(told[0], UnreportedUsage)
    assert fake.events == []


def test_who_leaves_once_all_is_generated_is_billed_for_all(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    client = metered(models, fake)
    with client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_one_of_two_choices_that_is_over_is_not_the_end(
    models: ModelServer, fake: FakeMeterline
) -> None:
    streamed = chunks(CHAT_USAGE)
    first: Any = streamed.events[0][1]
    other = {**first, "choices": [{**first["choices"][0], "index": 1}]}
    streamed.events.insert(1, (None, other))
    models.answers = [streamed]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.chat.completions.create(model=MODEL, messages=MESSAGES, n=2, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
    assert isinstance(told[0], UnreportedUsage)


def test_the_sdks_stream_helper_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [chunks(CHAT_USAGE)]
    with metered(models, fake).chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == "A summary."
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_a_response_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(response(RESPONSE_USAGE))]
    answer = metered(models, fake).responses.create(model=MODEL, input="Summarise this.")
    assert answer.output_text == "A summary."
    assert billed(fake) == kinds_of("resp_1")


@pytest.mark.parametrize("end", ["completed", "incomplete"])
def test_a_stream_of_a_response_is_billed_before_its_end(
    models: ModelServer, fake: FakeMeterline, end: str
) -> None:
    models.answers = [response_stream(RESPONSE_USAGE, end)]
    stream = metered(models, fake).responses.create(
        model=MODEL, input="Summarise this.", stream=True
    )
    for event in stream:
        assert bool(fake.events) == (event.type == f"response.{end}")
    assert billed(fake) == kinds_of("resp_1")


def test_the_sdks_stream_helper_of_responses_is_billed(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [response_stream(RESPONSE_USAGE)]
    with metered(models, fake).responses.stream(model=MODEL, input="Summarise this.") as stream:
        stream.until_done()
    assert billed(fake) == kinds_of("resp_1")


def test_a_response_that_failed_before_it_began_bills_nothing(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(response(None, "failed"))]
    metered(models, fake).responses.create(model=MODEL, input="Summarise this.")
    assert fake.events == []


def test_who_leaves_a_response_in_the_middle_is_told(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [response_stream(RESPONSE_USAGE)]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.responses.create(model=MODEL, input="Summarise this.", stream=True) as stream:
        next(iter(stream))
    assert isinstance(told[0], UnreportedUsage)


@pytest.mark.parametrize("last", ["response.output_text.done", "response.output_item.done"])
def test_who_leaves_a_response_when_its_text_is_over_is_billed_for_all(
    models: ModelServer, fake: FakeMeterline, last: str
) -> None:
    models.answers = [response_stream(RESPONSE_USAGE)]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.responses.create(model=MODEL, input="Summarise this.", stream=True) as stream:
        for event in stream:
            if event.type == last:
                break
    assert (billed(fake), told) == (kinds_of("resp_1"), [])


def test_a_report_that_does_not_come_is_not_waited_for_and_it_is_said(
    models: ModelServer, fake: FakeMeterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.llm._sync.REPORT_WAIT_S", 0.1)
    monkeypatch.setattr("meterline.llm._async.REPORT_WAIT_S", 0.1)
    told: list[MeterlineError] = []

    async def story() -> None:
        client = metered_async(models, fake, on_background_error=told.append)
        async with await client.responses.create(model=MODEL, input="a", stream=True) as stream:
            async for event in stream:
                if event.type == "response.output_item.done":
                    break

    for read in (False, True):
        answer = response_stream(RESPONSE_USAGE)
        answer.holds_before = 8
        models.answers = [answer]
        if read:
            asyncio.run(story())
        else:
            client = metered(models, fake, on_background_error=told.append)
            with client.responses.create(model=MODEL, input="a", stream=True) as stream:
                for event in stream:
                    if event.type == "response.output_item.done":
                        break
        answer.goes_on.set()
    assert [type(error) for error in told] == [UnreportedUsage] * 2
    assert fake.events == []


def test_a_report_that_does_not_fit_is_not_waited_for(
    models: ModelServer, fake: FakeMeterline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.llm._sync.REPORT_BYTES_MAX", 1000)
    answer = response_stream(RESPONSE_USAGE)
    part = {"type": "response.content_part.done", "part": {"type": "text", "text": "x" * 2000}}
    answer.events[8:8] = [(part["type"], part)] * 3  # type: ignore[list-item]
    models.answers = [answer]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.responses.create(model=MODEL, input="Summarise this.", stream=True) as stream:
        for event in stream:
            if event.type == "response.output_item.done":
                break
    assert isinstance(told[0], UnreportedUsage)


def test_what_cannot_be_metered_is_refused_before_it_costs(
    models: ModelServer, fake: FakeMeterline
) -> None:
    client = metered(models, fake)
    with pytest.raises(InvalidUsage, match="background"):
        client.responses.create(model=MODEL, input="Summarise this.", background=True)
    with pytest.raises(InvalidUsage, match="embeddings is not metered"):
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert models.requests == []


def test_a_failed_record_is_not_taken_for_a_failed_request(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(completion(CHAT_USAGE))]
    client = metered(models, fake).with_options(max_retries=5)
    fake.drop()
    with pytest.raises(UsageNotRecorded) as failed:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert len(models.requests) == 1
    assert failed.value.response.id == "chatcmpl-1"


def test_structured_answers_are_billed(models: ModelServer, fake: FakeMeterline) -> None:
    client = metered(models, fake)
    document = completion(CHAT_USAGE)
    document["choices"][0]["message"]["content"] = '{"text": "A summary."}'
    models.answers = [Plain(document)]
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Summary)
    assert answer.choices[0].message.parsed == Summary(text="A summary.")
    assert billed(fake) == kinds_of("chatcmpl-1")


def test_raw_responses_are_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        models.answers = [Plain(response(RESPONSE_USAGE))]
        client = metered_async(models, fake)
        await client.responses.with_raw_response.create(model=MODEL, input="Summarise this.")

    models.answers = [Plain(completion(CHAT_USAGE))]
    metered(models, fake).chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    asyncio.run(story())
    assert billed(fake) == kinds_of("chatcmpl-1") | kinds_of("resp_1")


def test_async_clients_are_billed(models: ModelServer, fake: FakeMeterline) -> None:
    async def story() -> None:
        client = metered_async(models, fake)
        models.answers = [Plain(completion(CHAT_USAGE)), response_stream(RESPONSE_USAGE)]
        await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        async for _ in await client.responses.create(model=MODEL, input="Summarise.", stream=True):
            pass
        assert billed(fake) == kinds_of("chatcmpl-1") | kinds_of("resp_1")

    asyncio.run(story())


def test_who_leaves_an_async_stream_once_all_is_generated_is_billed(
    models: ModelServer, fake: FakeMeterline
) -> None:
    async def story() -> None:
        models.answers = [chunks(CHAT_USAGE)]
        client = metered_async(models, fake)
        async with await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True
        ) as stream:
            async for chunk in stream:
                if chunk.choices[0].finish_reason:
                    break
        assert billed(fake) == kinds_of("chatcmpl-1")

    asyncio.run(story())
