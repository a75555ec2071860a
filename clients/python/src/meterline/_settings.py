"""What a client is made with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ._core import Core
from ._events import BATCH_EVENTS_MAX
from ._spool import Spool
from .errors import InvalidUsage


@dataclass(frozen=True)
class Buffer:
    """Lets events wait for others, and sends them together."""

    #: A batch is sent once it has so many events: 1 to 100.
    events_max: int = BATCH_EVENTS_MAX
    #: An event waits for others at most so long.
    wait_ms: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.events_max <= BATCH_EVENTS_MAX:
            raise InvalidUsage(f"events_max must be 1 to {BATCH_EVENTS_MAX}")
        if self.wait_ms < 0:
            raise InvalidUsage("wait_ms must not be negative")


@dataclass(frozen=True)
class Settings:
    """Checked settings of a client."""

    url: str
    api_key: str = field(repr=False)
    retry_budget_s: float
    request_timeout_s: float
    buffer: Buffer | None
    spool_dir: Path | None

    @classmethod
    def checked(
        cls,
        url: str | None,
        api_key: str | None,
        retry_budget_s: float,
        request_timeout_s: float,
        buffer: Buffer | None,
        spool_dir: str | os.PathLike[str] | None,
    ) -> Settings:
        """Takes the address and the key from the environment where they are not given.

        Raises :class:`InvalidUsage`, without the key in it.
        """
        url = url or os.environ.get("METERLINE_URL") or ""
        api_key = api_key or os.environ.get("METERLINE_API_KEY") or ""
        if not _is_http(url):
            # It is not shown: it may be the key, in the wrong place.
            raise InvalidUsage("url (or METERLINE_URL) must be an http:// or https:// address")
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise InvalidUsage("api_key (or METERLINE_API_KEY) must be an API key, mk_…")
        if retry_budget_s < 0 or request_timeout_s <= 0:
            raise InvalidUsage("retry_budget_s must be 0 or more, request_timeout_s more than 0")
        return cls(
            url.rstrip("/"),
            api_key,
            retry_budget_s,
            request_timeout_s,
            buffer,
            Path(spool_dir) if spool_dir is not None else None,
        )

    def core(self) -> Core:
        """What the flows need of it; the spool's folders are made."""
        spool = Spool(self.spool_dir) if self.spool_dir is not None else None
        return Core(self.retry_budget_s, buffered=self.buffer is not None, spool=spool)

    def is_this_machine(self) -> bool:
        """Whether a proxy could not reach the API anyway."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
