"""Anthropic's Messages API ("Messages", "Streaming Messages")."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidUsage
from ._provider import Route, Step
from ._tokens import Report, Tokens, count, identified, member, text

_ROUTES = {"/v1/messages": Route.METERED, "/v1/messages/count_tokens": Route.FREE}
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_MEMBERS = (*_COUNTS, "iterations")
#: The kinds of content that an answer may end with: after others, such as thinking, more comes.
_LAST_CONTENT = ("text", "tool_use")


class Anthropic:
    """Its ``input_tokens`` are those that were neither read from the cache nor written to it."""

    answering = ("messages", "beta.messages")

    def route(self, path: str) -> Route:
        return _ROUTES.get(path.partition("?")[0], Route.UNKNOWN)

    def prepare(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("fallbacks"):
            raise InvalidUsage(
                "what a request with fallbacks used of each model is not said for certain: "
                "it is not metered"
            )
        return body

    def read_answer(self, answer: Any) -> Report | None:
        usage = member(answer, "usage")
        if usage is None:
            return None
        counts = {name: member(usage, name) for name in _MEMBERS}
        return _report(answer, counts, is_final=True)

    def read_stream(
        self, path: str, asked: dict[str, Any], sent: dict[str, Any]
    ) -> MessageStreamReader:
        return MessageStreamReader()


class MessageStreamReader:
    """Reads counts that are cumulative: each replaces the one before."""

    def __init__(self) -> None:
        self.is_generated = False
        #: The SDK itself raises what is an error.
        self.has_failed = False
        self._is_final = False
        self._content: Any = None
        self._message: Any = None
        self._counts: dict[str, Any] = {}

    def take(self, event: Any) -> Step:
        kind = member(event, "type")
        if kind == "message_start":
            self._message = member(event, "message")
            self._add(member(self._message, "usage"))
        elif kind == "content_block_start":
            self._content = member(member(event, "content_block"), "type")
            self.is_generated = False
        elif kind == "content_block_stop":
            self.is_generated = self._content in _LAST_CONTENT
        elif kind == "message_delta":
            self._add(member(event, "usage"))
            self.is_generated = self._is_final = True
        return Step.END if kind == "message_stop" else Step.PASS

    def report(self) -> Report | None:
        if self._message is None:
            return None
        return _report(self._message, self._counts, self._is_final)

    def _add(self, usage: Any) -> None:
        for name in _MEMBERS:
            value = member(usage, name)
            if value is not None:
                self._counts[name] = value


def _report(message: Any, counts: dict[str, Any], is_final: bool) -> Report | None:
    tokens, advisors = _tokens(counts), dict[str, Tokens]()
    # The two kinds of iterations that the counts beside them leave out.
    for iteration in counts.get("iterations") or ():
        used = _tokens({name: member(iteration, name) for name in _COUNTS})
        kind = member(iteration, "type")
        if kind == "compaction":
            tokens += used
        elif kind == "advisor_message":
            advisor = text(member(iteration, "model"))
            advisors[advisor] = advisors.get(advisor, Tokens()) + used
        elif kind == "fallback_message":
            # Nobody here asked for it. What the models before used is not in the counts.
            is_final = False
    response_id, model = text(member(message, "id")), text(member(message, "model"))
    return identified(Report(response_id, model, tokens, is_final, advisors))


def _tokens(counts: dict[str, Any]) -> Tokens:
    return Tokens(*(count(counts.get(name)) for name in _COUNTS))
