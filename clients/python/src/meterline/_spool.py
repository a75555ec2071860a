"""Events on the disk, each in a file of its own. The format is every client's:
clients/conformance/README.md, "The spool".

A file appears at once and whole, by a link, and vanishes at once. So processes may share a
folder without a lock: what two of them send counts once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from ._events import UsageEvent
from ._outcomes import SpoolState
from .errors import PROBLEM, Problem, Refused, SpoolFailed

_LOG = logging.getLogger("meterline")
#: A file that is being written for longer than this is what a killed process left.
_ABANDONED_AFTER_S = 3600
#: The status of what cannot be read: nobody asked the API.
_NOT_ASKED = 0


class Spool:
    """A folder of events that are to be sent. All methods wait for the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = folder / "waiting"
        self._refused = folder / "refused"
        try:
            for each in (folder, self._waiting, self._refused):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise SpoolFailed(f"the spool cannot be used: {error}") from error

    def put(self, event: UsageEvent) -> bool:
        """Writes an event, or takes over one that is there already. Answers whether it is new.

        Raises :class:`Refused` if the id is there with other content, :class:`SpoolFailed`
        if the disk does not take it.
        """
        try:
            while not self._link(
                self._waiting / f"{name_of(event)}.json", {"event": event.to_json()}
            ):
                known = self._read(self._waiting / f"{name_of(event)}.json")
                if known is not None and known.has_content_of(event):
                    # Perhaps its link has not reached the disk yet.
                    _sync_folder(self._waiting)
                    return False
                if known is not None:
                    raise _conflict(event)
                # It was settled just now, or set aside as unreadable: write again.
            return True
        except OSError as error:
            message = f"the event could not be written to the spool: {error}"
            raise SpoolFailed(
                message, event_id=event.event_id, reservation_id=event.reservation_id
            ) from error

    def remove(self, name: str) -> None:
        """Forgets an event that is recorded, by the name of its file."""
        with contextlib.suppress(FileNotFoundError):
            (self._waiting / f"{name}.json").unlink()

    def set_aside(self, name: str, event: UsageEvent, problem: Problem) -> None:
        """Keeps an event that was refused for good, with the reason. ``name`` is its file's, which
        somebody may have moved back under another than its own."""
        document = dict(problem.members) or {
            "type": problem.type,
            "title": problem.title,
            "detail": problem.detail,
            "status": problem.status,
        }
        # The id may have been refused before with other content, which is kept, too.
        for number in count(1):
            suffix = "" if number == 1 else f"-{number}"
            path = self._refused / f"{name_of(event)}{suffix}.json"
            content = {"event": event.to_json(), "problem": document}
            if self._link(path, content) or _is_of(path, event):
                break
        self.remove(name)

    def names(self) -> list[str]:
        """The names of the events without an outcome, oldest first. Raises :class:`SpoolFailed`
        if the disk does not tell."""
        with _looking():
            return [path.stem for path in sorted(_files(self._waiting), key=_age)]

    def read(self, names: Iterable[str]) -> tuple[dict[str, UsageEvent], int]:
        """The events of these names that are still there, and how many cannot be read now."""
        events: dict[str, UsageEvent] = {}
        unread = 0
        for name in names:
            try:
                event = self._read(self._waiting / f"{name}.json")
            except OSError as error:
                # It stays, and keeps no other from being sent.
                _LOG.error("an event of the spool cannot be read: %s", error)
                unread += 1
                continue
            if event is not None:
                events[name] = event
        return events, unread

    def state(self) -> SpoolState:
        """How much lies there. Raises :class:`SpoolFailed` if the disk does not tell."""
        with _looking():
            return SpoolState(
                waiting=len(_files(self._waiting)), set_aside=len(_files(self._refused))
            )

    def _link(self, path: Path, document: dict[str, Any]) -> bool:
        """Makes a file, whole and on the disk, or answers that there is one."""
        draft = self._folder / f"{uuid.uuid4().hex}.tmp"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(json.dumps(document, ensure_ascii=False).encode())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
            _sync_link(path)
            return True
        finally:
            # One that stays is swept, and is no reason to call what is written unwritten.
            with contextlib.suppress(OSError):
                draft.unlink()

    def _read(self, path: Path) -> UsageEvent | None:
        """The event of a file; none if it is gone, or unreadable, which is set aside."""
        try:
            return _event_in(path)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            # Nobody but the owner can say what it was; it must not keep others from being sent.
            _LOG.error(
                "set aside an event of the spool that cannot be read, %s: %s", path.name, error
            )
            with contextlib.suppress(FileNotFoundError):
                self._move_aside(path)
            return None

    def _move_aside(self, path: Path) -> None:
        """Over nothing that is there."""
        for number in count(1):
            suffix = "" if number == 1 else f"-{number}"
            with contextlib.suppress(FileExistsError):
                os.link(path, self._refused / f"{path.stem}{suffix}.json")
                break
        path.unlink()

    def _sweep(self) -> None:
        before = time.time() - _ABANDONED_AFTER_S
        for draft in self._folder.glob("*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < before:
                    draft.unlink()


def _files(folder: Path) -> list[Path]:
    """The files of a folder that must be there: a glob takes one that is not for an empty one."""
    with os.scandir(folder) as entries:
        return [Path(entry) for entry in entries if entry.name.endswith(".json")]


@contextlib.contextmanager
def _looking() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolFailed(f"the spool cannot be read: {error}") from error


def _event_in(path: Path) -> UsageEvent:
    return UsageEvent.from_json(json.loads(path.read_bytes())["event"])


def _is_of(path: Path, event: UsageEvent) -> bool:
    """Whether a file holds the event; not where nobody can tell what it holds."""
    try:
        return _event_in(path).has_content_of(event)
    except (ValueError, TypeError, KeyError, FileNotFoundError):
        return False


def name_of(event: UsageEvent) -> str:
    """The file's name, without its ending: as unique as the event."""
    return hashlib.sha256(f"{event.customer_id}\n{event.event_id}".encode()).hexdigest()


def _conflict(event: UsageEvent) -> Refused:
    problem = Problem(
        f"{PROBLEM}conflict",
        "The id is in use for something else",
        "the spool holds an event with this id and other content",
        _NOT_ASKED,
    )
    return Refused(
        f"event {event.event_id!r}: {problem}",
        event_id=event.event_id,
        reservation_id=event.reservation_id,
        problem=problem,
    )


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _sync_link(path: Path) -> None:
    """Forces a file's name to the disk, or takes the file away again: who is told that it is not
    there is not to be billed for it later."""
    try:
        _sync_folder(path.parent)
    except OSError as error:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            raise OSError(f"{error}; it stays there, and may be sent") from error
        raise


def _sync_folder(folder: Path) -> None:
    """Forces the names in a folder to the disk, where the system has such a thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
