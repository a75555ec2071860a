"""OpenAI's Chat Completions and Responses APIs ("Chat", "Responses")."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidUsage
from ._provider import Route, Step, StreamReader
from ._tokens import Report, Tokens, count, identified, member, text

_CHAT = "/chat/completions"
_RESPONSES = "/responses"
_ROUTES = {
    _CHAT: Route.METERED,
    _RESPONSES: Route.METERED,
    "/responses/input_tokens": Route.FREE,
    "/moderations": Route.FREE,
}
#: The last events of a stream of the Responses API.
_RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")
#: Events after which a response may be whole.
_CONTENT_ENDS = (
    "response.output_text.done",
    "response.refusal.done",
    "response.function_call_arguments.done",
    "response.custom_tool_call_input.done",
)
#: The kinds of items that a response may end with: after others, such as reasoning, more comes.
_LAST_ITEMS = ("message", "function_call", "custom_tool_call")


class OpenAI:
    """Its prompt and input tokens include the cached ones, which are taken out."""

    answering = ("chat.completions", "responses")

    def route(self, path: str) -> Route:
        return _ROUTES.get(path.partition("?")[0], Route.UNKNOWN)

    def prepare(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == _RESPONSES:
            if body.get("background") is True:
                raise InvalidUsage(
                    "a response in the background says only later what it used: it is not metered"
                )
            return body
        options = body.get("stream_options")
        given = dict(options) if isinstance(options, dict) else {}
        if body.get("stream") is not True or "include_usage" in given:
            return body
        # A stream of chunks says what it used only to those who ask.
        return {**body, "stream_options": {**given, "include_usage": True}}

    def read_answer(self, answer: Any) -> Report | None:
        return identified(_report(answer))

    def read_stream(self, path: str, asked: dict[str, Any], sent: dict[str, Any]) -> StreamReader:
        if path == _RESPONSES:
            return ResponseStreamReader()
        options = sent.get("stream_options")
        asks = isinstance(options, dict) and bool(options.get("include_usage"))
        return ChunkStreamReader(hides_report=asked is not sent, waits_for_report=asks)


class ChunkStreamReader:
    """Reads a stream of Chat Completions: the last chunk, without choices, has the usage. Which one
    is the last says only the end."""

    def __init__(self, hides_report: bool, waits_for_report: bool) -> None:
        self.has_failed = False
        #: The choices that are not whole yet, by their index.
        self._open: set[Any] = set()
        self._has_ended = False
        self._hides_report = hides_report
        self._waits_for_report = waits_for_report
        self._report: Report | None = None

    def take(self, event: Any) -> Step:
        choices = member(event, "choices") or []
        for choice in choices:
            is_whole = bool(member(choice, "finish_reason"))
            (self._open.discard if is_whole else self._open.add)(member(choice, "index"))
            self._has_ended |= is_whole
        if member(event, "usage") is None:
            self._report = self._report or _report(event)
        else:
            self._report = _report(event)
            if self._hides_report and not choices:
                return Step.HIDE
        return Step.HOLD if self._waits_for_report and self.is_generated else Step.PASS

    @property
    def is_generated(self) -> bool:
        return self._has_ended and not self._open

    def report(self) -> Report | None:
        return identified(self._report)


class ResponseStreamReader:
    """Reads a stream of the Responses API, whose last event has the whole response."""

    def __init__(self) -> None:
        self.is_generated = False
        self.has_failed = False
        self._report: Report | None = None

    def take(self, event: Any) -> Step:
        response = member(event, "response")
        if response is not None and text(member(response, "id")):
            self._report = _report(response)
        kind = text(member(event, "type"))
        if kind == "error":
            # A response.failed with the usage may come after it.
            self.is_generated = self.has_failed = True
        elif kind.endswith((".added", ".delta")):
            self.is_generated = False
        elif kind in _CONTENT_ENDS:
            self.is_generated = True
        elif kind == "response.output_item.done":
            self.is_generated = member(member(event, "item"), "type") in _LAST_ITEMS
        return Step.END if kind in _RESPONSE_ENDS else Step.PASS

    def report(self) -> Report | None:
        return self._report


def _report(answer: Any) -> Report:
    """Of either API: they have the same counts by other names."""
    usage = member(answer, "usage")
    prompt = _either(usage, "prompt_tokens", "input_tokens")
    output = _either(usage, "completion_tokens", "output_tokens")
    details = _either(usage, "prompt_tokens_details", "input_tokens_details")
    cache_read = count(member(details, "cached_tokens"))
    cache_write = count(member(details, "cache_write_tokens"))
    tokens = Tokens(
        input=max(0, count(prompt) - cache_read - cache_write),
        output=count(output),
        cache_read=cache_read,
        cache_write=cache_write,
    )
    # One that failed before the model began used nothing, and says nothing.
    is_final = isinstance(output, int) or member(answer, "status") == "failed"
    return Report(text(member(answer, "id")), text(member(answer, "model")), tokens, is_final)


def _either(usage: Any, name: str, other: str) -> Any:
    value = member(usage, name)
    return member(usage, other) if value is None else value
