"""What differs between providers of models."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol

from ._tokens import Report


class Route(Enum):
    """What a request is, by its path."""

    #: A model answers, and the answer says what it used.
    METERED = "metered"
    #: Nothing is used that would be billed.
    FREE = "free"
    #: Something may be used, and nothing here can tell how much.
    UNKNOWN = "unknown"


class Step(Enum):
    """What to do with an event of a stream."""

    #: Hand it on.
    PASS = "pass"  # noqa: S105 (no password)
    #: Keep it from the caller, who did not ask for it.
    HIDE = "hide"
    #: Hand it on once the usage is recorded: it is the last.
    END = "end"
    #: The same, unless another one comes: it may be the last.
    HOLD = "hold"


class StreamReader(Protocol):
    """Reads the usage out of a stream of one answer."""

    @property
    def is_generated(self) -> bool:
        """Whether nothing is being generated any more, as far as can be told, so that only the
        report is missing."""

    @property
    def has_failed(self) -> bool:
        """Whether an event said that the answer is broken off, so that the caller knows."""

    def take(self, event: Any) -> Step:
        """Takes the next event."""

    def report(self) -> Report | None:
        """What was reported so far; none where nothing was."""


class Provider(Protocol):
    """A provider's API, as far as its usage is concerned."""

    @property
    def answering(self) -> Sequence[str]:
        """The resources of its SDK's client that make a model answer, by their dotted names."""

    def route(self, path: str) -> Route:
        """What a POST to that path is."""

    def prepare(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The request's body, such that the answer says what it used. Raises
        :class:`meterline.InvalidUsage` where it cannot."""

    def read_answer(self, answer: Any) -> Report | None:
        """Reads a plain answer."""

    def read_stream(self, path: str, asked: dict[str, Any], sent: dict[str, Any]) -> StreamReader:
        """Reads a stream. ``asked`` is the caller's body, ``sent`` what :meth:`prepare` made."""
