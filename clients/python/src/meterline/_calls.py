"""What is under way in a client, and is waited for at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from ._events import UsageEvent
from .errors import Closed, InvalidUsage, MeterlineError

T = TypeVar("T")


class Calls:
    """Counts calls under way, so that closing can wait for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._refused = False

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._changed:
            if self._refused:
                raise Closed("the client is closed")
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        return self._refused

    def refuse(self) -> bool:
        """Lets no further call in. Answers whether any was let in before."""
        with self._changed:
            was_open = not self._refused
            self._refused = True
            return was_open

    def wait_for_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0)


def used_by(event: UsageEvent, quantity: Callable[[T], int], result: T) -> UsageEvent:
    """The event of an action that came to ``result``, whose units ``quantity`` reckons."""
    with carrying(result):
        try:
            units = quantity(result)
        except Exception as error:
            message = f"the action has run, and its units cannot be reckoned: {error!r}"
            raise InvalidUsage(message, event_id=event.event_id) from error
        return event.with_quantity(units)


@contextmanager
def carrying(result: object, event: UsageEvent | None = None) -> Iterator[None]:
    """Gives errors after an action what it has come to, for whoever goes on with it."""
    try:
        yield
    except MeterlineError as error:
        error.result, error.event = result, event
        raise


def without_reservation(refused: MeterlineError) -> None:
    """Lets an error name no more what was given back."""
    refused.reservation_id = None
    if refused.event:
        refused.event = replace(refused.event, reservation_id=None)


class Sending:
    """Events on their way, which a flush waits for."""

    def __init__(self) -> None:
        #: Set, each, when its event is answered.
        self._under_way: set[threading.Event] = set()

    @contextmanager
    def one(self) -> Iterator[None]:
        answered = threading.Event()
        self._under_way.add(answered)
        try:
            yield
        finally:
            self._under_way.discard(answered)
            answered.set()

    def wait_for_all_there(self) -> None:
        """Returns once all that is there now is answered."""
        for answered in list(self._under_way):
            answered.wait()


class Background:
    """Work that nobody waits for but a flush and the end."""

    def __init__(self) -> None:
        #: Set, each, when its work is done.
        self._under_way: set[threading.Event] = set()
        #: Whether the thread that looks is one of these.
        self._here = threading.local()

    def start(self, work: Callable[[], None]) -> None:
        """Works in a thread of its own. Raises RuntimeError where the interpreter ends.

        The garbage collector may call this, in a thread that holds any lock: none is taken here.
        """
        done = threading.Event()

        def run() -> None:
            self._here.is_background = True
            try:
                work()
            finally:
                self._under_way.discard(done)
                done.set()

        self._under_way.add(done)
        try:
            threading.Thread(target=run, name="meterline-background").start()
        except RuntimeError:
            self._under_way.discard(done)
            raise

    def wait_for_none(self) -> None:
        """Returns once all that is there now is done; at once to such work itself, which a hook
        of the caller's may be a part of."""
        if getattr(self._here, "is_background", False):
            return
        for done in list(self._under_way):
            done.wait()
