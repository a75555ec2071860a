"""The official Anthropic SDK, over HTTP."""

from __future__ import annotations

import gc
import threading
from typing import Any

import anthropic
import httpx
import pytest

from meterline import AccessDenied, Closed, InvalidUsage, Meterline, MeterlineError
from meterline.llm import UnnamedTokens, UnreportedUsage, UsageNotRecorded, meter_anthropic
from meterline.testing import FakeMeterline

from .anthropic_calls import AT_START, BILLED, MESSAGES, MODEL, USAGE, billed, create, metered
from .model_server import ModelServer, Plain, message, message_stream


def test_a_message_is_an_event_for_each_kind_of_tokens(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(message(USAGE))]
    answer = create(metered(models, fake))
    assert answer.usage.input_tokens == 10
    assert billed(fake) == BILLED


def test_kinds_without_tokens_are_no_events(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(message({"input_tokens": 10, "output_tokens": 5}))]
    create(metered(models, fake))
    assert billed(fake) == {"msg_1:input": ("llm.input", 10), "msg_1:output": ("llm.output", 5)}


def test_a_call_of_a_tool_is_billed_as_any(models: ModelServer, fake: FakeMeterline) -> None:
    content = [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"word": "a"}}]
    models.answers = [Plain(message(USAGE, content, "tool_use"))]
    create(metered(models, fake))
    assert billed(fake) == BILLED


def test_the_name_on_the_bill_may_depend_on_the_model(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(message({"input_tokens": 10, "output_tokens": 5}))]
    create(metered(models, fake, action=lambda kind, model: f"{model}:{kind}"))
    assert fake.units("cus_1", "claude-haiku-4-5:input") == 10


@pytest.mark.parametrize("tool", [False, True], ids=["text", "tool"])
def test_a_stream_is_billed_before_its_end_is_handed_out(
    models: ModelServer, fake: FakeMeterline, tool: bool
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5}, tool)]
    client = metered(models, fake)
    for event in client.messages.create(
        model=MODEL, max_tokens=100, messages=MESSAGES, stream=True
    ):
        assert (billed(fake) == BILLED) == (event.type == "message_stop")
    assert billed(fake) == BILLED


def test_the_sdks_stream_helper_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    client = metered(models, fake)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == "A summary."
    assert billed(fake) == BILLED


def test_counts_of_a_stream_are_cumulative(models: ModelServer, fake: FakeMeterline) -> None:
    end = {**USAGE, "input_tokens": 12}
    models.answers = [message_stream(AT_START, end)]
    client = metered(models, fake)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        stream.until_done()
    assert billed(fake)["msg_1:input"] == ("llm.input", 12)


def test_who_leaves_in_the_middle_is_billed_for_what_was_reported(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        next(iter(stream))
    assert billed(fake) == {**BILLED, "msg_1:output": ("llm.output", 1)}
    assert isinstance(told[0], UnreportedUsage)
    assert "what came after is not known" in str(told[0])


def test_who_leaves_when_the_text_is_over_is_billed_whole(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    client = metered(models, fake)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        for event in stream:
            if event.type == "content_block_stop":
                break
    assert billed(fake) == BILLED


def test_closing_waits_for_a_stream_that_is_dropped(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    told: list[MeterlineError] = []
    with fake.client() as meterline:

        def tell(error: MeterlineError) -> None:
            meterline.flush()
            told.append(error)

        client = meter_anthropic(sdk, meterline, "cus_1", on_background_error=tell)
        for _ in client.messages.create(
            model=MODEL, max_tokens=100, messages=MESSAGES, stream=True
        ):
            break
        gc.collect()
    assert billed(fake)["msg_1:input"] == ("llm.input", 10)
    assert isinstance(told[0], UnreportedUsage)


def test_an_interrupt_while_recording_is_told_by_the_hook(models: ModelServer) -> None:
    class Interrupted(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise KeyboardInterrupt

    models.answers = [Plain(message(USAGE))]
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    meterline = Meterline("http://meterline.test", "mk_test", transport=Interrupted())
    told: list[MeterlineError] = []
    client = meter_anthropic(sdk, meterline, "cus_1", on_background_error=told.append)
    with pytest.raises(KeyboardInterrupt):
        create(client)
    assert isinstance(told[0], UsageNotRecorded)
    assert [event.event_id for event in told[0].events] == list(BILLED)


def test_a_hook_that_fails_hides_nothing_from_the_caller(
    models: ModelServer, fake: FakeMeterline
) -> None:
    def fail(error: MeterlineError) -> None:
        raise RuntimeError

    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    client = metered(models, fake, on_background_error=fail)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        next(iter(stream))
    assert billed(fake)["msg_1:input"] == ("llm.input", 10)


def test_a_stream_that_is_dropped_is_billed_too(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    told = threading.Event()
    client = metered(models, fake, on_background_error=lambda error: told.set())
    for _ in client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True):
        break
    gc.collect()
    assert told.wait(30)
    assert billed(fake)["msg_1:input"] == ("llm.input", 10)


@pytest.mark.parametrize("how", ["stream", "helper"])
def test_a_stream_that_is_dropped_unread_says_what_it_cannot_know(
    models: ModelServer, fake: FakeMeterline, how: str
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    told: list[MeterlineError] = []
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    with fake.client() as meterline:
        client = meter_anthropic(sdk, meterline, "cus_1", on_background_error=told.append)
        if how == "stream":
            client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True)
        else:
            client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES).__enter__()
        gc.collect()
    assert [type(it) for it in told] == [UnreportedUsage]
    assert fake.events == []


@pytest.mark.parametrize("is_read", [False, True])
def test_of_a_stream_that_was_closed_nothing_is_told_again_when_it_is_collected(
    models: ModelServer, fake: FakeMeterline, is_read: bool
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    told: list[MeterlineError] = []
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    with fake.client() as meterline:
        client = meter_anthropic(sdk, meterline, "cus_1", on_background_error=told.append)
        stream = client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True)
        if is_read:
            list(stream)
        stream.close()
        del stream
        gc.collect()
    assert [type(it) for it in told] == ([] if is_read else [UnreportedUsage])
    assert billed(fake) == (BILLED if is_read else {})


def test_the_end_of_a_stream_that_is_not_recorded_is_in_the_error(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    client = metered(models, fake)
    fake.drop()
    with pytest.raises(UsageNotRecorded) as failed:
        list(client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True))
    assert failed.value.response.type == "message_stop"


def test_a_stream_that_nobody_reads_says_what_it_cannot_know(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    told: list[MeterlineError] = []
    client = metered(models, fake, on_background_error=told.append)
    client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True).close()
    assert isinstance(told[0], UnreportedUsage)


def test_a_stream_that_breaks_is_billed_and_the_caller_sees_the_break(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    models.answers[0].breaks_before = 4  # type: ignore[union-attr]
    client = metered(models, fake, on_background_error=lambda error: None)
    with pytest.raises(Exception, match=r"incomplete|closed|reset") as broken:
        list(client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True))
    assert not isinstance(broken.value, MeterlineError)
    assert billed(fake) == {**BILLED, "msg_1:output": ("llm.output", 1)}


def test_an_answer_whose_usage_is_not_recorded_is_withheld_and_not_lost(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [Plain(message(USAGE))]
    client = metered(models, fake)
    fake.drop()
    with pytest.raises(UsageNotRecorded) as failed:
        create(client)
    assert failed.value.retryable
    assert len(models.requests) == 1
    assert [event.event_id for event in failed.value.events] == list(BILLED)
    fake.client().emit_many(failed.value.events)
    assert (billed(fake), failed.value.response.id) == (BILLED, "msg_1")


def test_a_closed_client_has_no_model_run_for_it(models: ModelServer, fake: FakeMeterline) -> None:
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    meterline = fake.client()
    client = meter_anthropic(sdk, meterline, "cus_1")
    meterline.close()
    with pytest.raises(Closed):
        create(client)
    assert models.requests == []


def test_a_stream_outlives_the_client_with_what_is_to_be_recorded(
    models: ModelServer, fake: FakeMeterline
) -> None:
    models.answers = [message_stream(AT_START, {"output_tokens": 5})]
    sdk = anthropic.Anthropic(base_url=models.url, api_key="any", max_retries=0)
    meterline = fake.client()
    client = meter_anthropic(sdk, meterline, "cus_1")
    stream = client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True)
    meterline.close()
    with pytest.raises(UsageNotRecorded) as failed:
        list(stream)
    assert isinstance(failed.value.errors[0], Closed)
    fake.client().emit_many(failed.value.events)
    assert billed(fake) == BILLED


def test_a_wrong_name_takes_neither_the_answer_nor_the_other_kinds_with_it(
    models: ModelServer, fake: FakeMeterline
) -> None:
    def action(kind: str, model: str) -> str:
        if model == MODEL and kind == "output":
            raise KeyError(model)
        return "two words" if model == MODEL and kind == "input" else f"llm.{kind}"

    models.answers = [Plain(message(USAGE))]
    with pytest.raises(UsageNotRecorded, match=r"10 input tokens of .* have no name") as failed:
        create(metered(models, fake, action=action))
    assert failed.value.response.id == "msg_1"
    assert billed(fake) == {name: it for name, it in BILLED.items() if "cache" in name}
    assert failed.value.events == []
    assert failed.value.unnamed == [
        UnnamedTokens("input", MODEL, 10, "msg_1:input"),
        UnnamedTokens("output", MODEL, 5, "msg_1:output"),
    ]


def test_a_function_that_knows_the_names_of_real_models_alone_is_taken(
    models: ModelServer, fake: FakeMeterline
) -> None:
    names = {MODEL: "haiku"}
    models.answers = [Plain(message(USAGE))]
    create(metered(models, fake, action=lambda kind, model: f"{names[model]}.{kind}"))
    assert fake.units("cus_1", "haiku.input") == 10


def test_recording_an_answer_again_counts_once(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(message(USAGE)), Plain(message(USAGE))]
    client = metered(models, fake)
    create(client)
    create(client)
    assert fake.units("cus_1") == 795


def test_who_may_not_act_costs_nothing(models: ModelServer, fake: FakeMeterline) -> None:
    fake.deny("cus_1")
    with pytest.raises(AccessDenied):
        create(metered(models, fake, check_access=True))
    assert models.requests == []


def test_an_error_of_the_model_is_the_sdks_and_bills_nothing(
    models: ModelServer, fake: FakeMeterline
) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    models.answers = [Plain(error, 529)]
    with pytest.raises(anthropic.APIStatusError):
        create(metered(models, fake))
    assert fake.events == []


def test_copies_are_metered_and_the_client_itself_is_not(
    models: ModelServer, fake: FakeMeterline
) -> None:
    own = anthropic.Anthropic(base_url=models.url, api_key="any")
    client = meter_anthropic(own, fake.client(), "cus_1")
    models.answers = [Plain(message(USAGE)), Plain(message(USAGE))]
    create(own)
    assert fake.events == []
    create(client.with_options(timeout=5).copy())
    assert billed(fake) == BILLED


def test_a_raw_response_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(message(USAGE))]
    raw = metered(models, fake).messages.with_raw_response.create(
        model=MODEL, max_tokens=100, messages=MESSAGES
    )
    assert (raw.parse().id, billed(fake)) == ("msg_1", BILLED)


def test_the_beta_interface_is_billed(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain(message(USAGE))]
    metered(models, fake).beta.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Summarise."}]
    )
    assert billed(fake) == BILLED


def test_a_compaction_is_billed_beside_what_the_counts_say(
    models: ModelServer, fake: FakeMeterline
) -> None:
    def iteration(kind: str) -> dict[str, Any]:
        counts = {"input_tokens": 30, "output_tokens": 7, "cache_read_input_tokens": 0}
        return {"type": kind, **counts, "cache_creation_input_tokens": 0, "cache_creation": None}

    # The counts beside them have the messages, and not the compaction.
    iterations = [iteration("compaction"), iteration("message")]
    models.answers = [Plain(message({**USAGE, "iterations": iterations}))]
    metered(models, fake).beta.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Summarise."}]
    )
    of_message = {event_id: quantity for event_id, (_, quantity) in BILLED.items()}
    of_all = {event_id: quantity for event_id, (_, quantity) in billed(fake).items()}
    more = {event_id: of_all[event_id] - of_message[event_id] for event_id in of_message}
    assert (more["msg_1:input"], more["msg_1:output"]) == (30, 7)


def test_an_advisor_is_billed_as_the_model_that_it_is(
    models: ModelServer, fake: FakeMeterline
) -> None:
    def advice(model: str, output: int) -> dict[str, Any]:
        counts = {"input_tokens": 800, "output_tokens": output, "cache_read_input_tokens": 0}
        more = {"cache_creation_input_tokens": 0, "cache_creation": None, "model": model}
        return {"type": "advisor_message", **counts, **more}

    iterations = [advice("claude-wise", 500), advice("claude-wise", 20), advice("claude-wiser", 3)]
    models.answers = [Plain(message({**USAGE, "iterations": iterations}))]
    client = metered(models, fake, action=lambda kind, model: f"{model}.{kind}")
    client.beta.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Summarise."}]
    )
    of_advisors = {
        event_id: named for event_id, named in billed(fake).items() if "advisor" in event_id
    }
    assert of_advisors == {
        "msg_1:advisor:claude-wise:input": ("claude-wise.input", 1600),
        "msg_1:advisor:claude-wise:output": ("claude-wise.output", 520),
        "msg_1:advisor:claude-wiser:input": ("claude-wiser.input", 800),
        "msg_1:advisor:claude-wiser:output": ("claude-wiser.output", 3),
    }
    assert len(billed(fake)) == len(BILLED) + len(of_advisors)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_other_models_may_answer_is_refused_before_it_costs(
    models: ModelServer, fake: FakeMeterline, stream: bool
) -> None:
    client = metered(models, fake)
    ask: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": MESSAGES}
    fallbacks: list[Any] = [[{"model": "claude-opus-4-8"}], "default"]
    for named in fallbacks:
        with pytest.raises(InvalidUsage, match="fallbacks"):
            client.beta.messages.create(**ask, fallbacks=named, stream=stream)
        with pytest.raises(InvalidUsage, match="fallbacks"):
            client.messages.create(**ask, extra_body={"fallbacks": named}, stream=stream)
    with pytest.raises(InvalidUsage, match="fallbacks"):
        client.beta.messages.stream(**ask, fallbacks="default").__enter__()
    assert models.requests == []
    models.answers = [Plain(message(USAGE))]
    client.beta.messages.create(**ask, fallbacks=None)
    assert billed(fake) == BILLED


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_another_model_that_nobody_asked_for_is_not_taken_for_all(
    models: ModelServer, fake: FakeMeterline, stream: bool
) -> None:
    counts = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 700}
    more = {"cache_creation_input_tokens": 80, "cache_creation": None}
    iterations = [
        {"type": "message", "model": MODEL, **counts, **more},
        {"type": "fallback_message", "model": "claude-opus-4-8", **counts, **more},
    ]
    end = {"output_tokens": 5, "iterations": iterations}
    answer = message_stream(AT_START, end) if stream else Plain(message({**USAGE, **end}))
    models.answers = [answer]
    client = metered(models, fake)
    with pytest.raises(UnreportedUsage):
        list(
            client.beta.messages.create(
                model=MODEL,
                max_tokens=100,
                messages=[{"role": "user", "content": "Summarise."}],
                stream=stream,
            )
        )
    assert billed(fake) == BILLED


def test_counting_tokens_is_free(models: ModelServer, fake: FakeMeterline) -> None:
    models.answers = [Plain({"input_tokens": 10})]
    assert (
        metered(models, fake).messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens
        == 10
    )
    assert fake.events == []


def test_what_cannot_be_metered_is_refused_before_it_costs(
    models: ModelServer, fake: FakeMeterline
) -> None:
    client = metered(models, fake)
    with pytest.raises(InvalidUsage, match="batches is not metered"):
        client.messages.batches.create(requests=[])
    with pytest.raises(InvalidUsage, match="raw stream"):
        client.messages.with_streaming_response.create(
            model=MODEL, max_tokens=100, messages=MESSAGES
        ).__enter__()
    assert models.requests == []


def test_a_name_that_cannot_be_is_refused_before_it_costs(
    models: ModelServer, fake: FakeMeterline
) -> None:
    with pytest.raises(InvalidUsage):
        metered(models, fake, action=lambda kind, model: "two words")
