"""Which events go together. No I/O and no clock: who fills it says when the wait is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ._events import UsageEvent

P = TypeVar("P")


@dataclass(frozen=True)
class Entry(Generic[P]):
    """An event in a buffer, when its caller gives up, and how the caller is told."""

    event: UsageEvent
    deadline: float
    promise: P


class Batch(Generic[P]):
    """Events that are sent together."""

    def __init__(self, entries: Sequence[Entry[P]]) -> None:
        self.entries = entries
        self.events = [entry.event for entry in entries]
        #: None of its callers waits longer than it said.
        self.deadline = min(entry.deadline for entry in entries)


class Batcher(Generic[P]):
    """Gathers entries up to a number."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._entries: list[Entry[P]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def is_full(self) -> bool:
        return len(self._entries) >= self._events_max

    def add(self, entry: Entry[P]) -> None:
        self._entries.append(entry)

    def take(self) -> Batch[P] | None:
        """The next batch; none if nothing waits."""
        entries = self._entries[: self._events_max]
        self._entries = self._entries[self._events_max :]
        return Batch(entries) if entries else None
