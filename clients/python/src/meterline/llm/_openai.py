"""OpenAI's Chat Completions and Responses APIs ("Chat", "Responses")."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidUsage
from ._provider import Route, Step, StreamReader
from ._tokens import Report, Tokens, count, member, text

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


class OpenAI:
    """Its prompt and input tokens include the cached ones, which are taken out."""

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
        if not text(member(answer, "id")):
            return None
        return _report(answer)

    def read_stream(self, path: str, asked: dict[str, Any], sent: dict[str, Any]) -> StreamReader:
        if path == _RESPONSES:
            return ResponseStreamReader()
        return ChunkStreamReader(hides_report=asked is not sent)


class ChunkStreamReader:
    """Reads a stream of Chat Completions: the last chunk, without choices, has the usage."""

    def __init__(self, hides_report: bool) -> None:
        self.is_generated = False
        self._hides_report = hides_report
        self._report: Report | None = None

    def take(self, event: Any) -> Step:
        choices = member(event, "choices") or []
        if any(member(choice, "finish_reason") for choice in choices):
            self.is_generated = True
        if member(event, "usage") is None:
            self._report = self._report or _report(event)
            return Step.PASS
        self._report = _report(event)
        return Step.HIDE if self._hides_report and not choices else Step.PASS

    def report(self) -> Report | None:
        return self._report


class ResponseStreamReader:
    """Reads a stream of the Responses API, whose last event has the whole response."""

    def __init__(self) -> None:
        self.is_generated = False
        self._report: Report | None = None

    def take(self, event: Any) -> Step:
        response = member(event, "response")
        if response is not None and text(member(response, "id")):
            self._report = _report(response)
        is_end = member(event, "type") in _RESPONSE_ENDS
        return Step.END if is_end else Step.PASS

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
