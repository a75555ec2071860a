"""What a model's answer used, as usage events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._events import UsageEvent
from ..errors import InvalidUsage, MeterlineError

#: The kinds of tokens. They do not overlap: each token is of one kind.
TokenKind = Literal["input", "output", "cache_read", "cache_write"]
TOKEN_KINDS: tuple[TokenKind, ...] = ("input", "output", "cache_read", "cache_write")
#: What a kind of tokens, of a model, is called on the bill.
ActionOf = Callable[[TokenKind, str], str]


def default_action(kind: TokenKind, model: str) -> str:
    """``llm.input``, ``llm.output``, ``llm.cache_read``, ``llm.cache_write``."""
    return f"llm.{kind}"


@dataclass(frozen=True)
class Tokens:
    """How many tokens of each kind."""

    #: Neither read from the provider's cache nor written to it.
    input: int = 0
    #: Reasoning included.
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
        )

    def of_kinds(self) -> dict[TokenKind, int]:
        """The counts that are not 0."""
        counts: dict[TokenKind, int] = {
            "input": self.input,
            "output": self.output,
            "cache_read": self.cache_read,
            "cache_write": self.cache_write,
        }
        return {kind: number for kind, number in counts.items() if number > 0}


@dataclass(frozen=True)
class UnnamedTokens:
    """Tokens without a name on the bill: what names them failed."""

    kind: TokenKind
    model: str
    #: How many.
    quantity: int
    #: The id to record them under, once they have a name.
    event_id: str


@dataclass(frozen=True)
class TokenEvents:
    """What is to be recorded of an answer, and what cannot be, with the reason."""

    events: Sequence[UsageEvent] = ()
    unnamed: Sequence[tuple[UnnamedTokens, MeterlineError]] = ()


@dataclass(frozen=True)
class Report:
    """What an answer says of its usage."""

    #: The provider's id of the answer.
    response_id: str
    model: str
    tokens: Tokens
    #: Whether that is all of it.
    is_final: bool
    #: What other models used, which this one asked for advice, by their names.
    advisors: Mapping[str, Tokens] = field(default_factory=dict)

    def events(self, customer: str, action: ActionOf) -> TokenEvents:
        """An event for each kind of tokens, under the id ``{response_id}:{kind}``; of an advisor,
        ``{response_id}:advisor:{model}:{kind}``."""
        events: list[UsageEvent] = []
        unnamed: list[tuple[UnnamedTokens, MeterlineError]] = []
        for event_id, model, kind, number in self._counts():
            try:
                name = action(kind, model)
                events.append(UsageEvent.new(customer, name, number, event_id=event_id))
            except Exception as error:  # noqa: BLE001 (the caller's own function)
                tokens = UnnamedTokens(kind, model, number, event_id)
                unnamed.append((tokens, _without_name(tokens, error)))
        return TokenEvents(events, unnamed)

    def _counts(self) -> Iterator[tuple[str, str, TokenKind, int]]:
        """The event's id, the model, the kind of tokens and their number."""
        yield from _counted(self.response_id, self.model, self.tokens)
        for model, tokens in self.advisors.items():
            yield from _counted(f"{self.response_id}:advisor:{model}", model, tokens)


def _counted(prefix: str, model: str, tokens: Tokens) -> Iterator[tuple[str, str, TokenKind, int]]:
    for kind, number in tokens.of_kinds().items():
        yield f"{prefix}:{kind}", model, kind, number


def identified(report: Report | None) -> Report | None:
    """None of an answer without an id: it would have its events in common with every other one."""
    return report if report and report.response_id else None


def _without_name(tokens: UnnamedTokens, error: Exception) -> InvalidUsage:
    message = (
        f"{tokens.quantity} {tokens.kind} tokens of {tokens.model} have no name on the bill: "
        f"{error!r}"
    )
    invalid = InvalidUsage(message, event_id=tokens.event_id)
    invalid.__cause__ = error
    return invalid


def member(value: Any, name: str) -> Any:
    """A member of an SDK's object, or of a plain one; none where it has none."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def count(value: Any) -> int:
    """A count of an answer; 0 where it has none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else 0


def text(value: Any) -> str:
    """A text of an answer; empty where it has none."""
    return value if isinstance(value, str) else ""
