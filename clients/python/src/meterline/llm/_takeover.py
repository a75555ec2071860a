"""How an SDK's client is made to ask for nothing past the metering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InvalidUsage

#: What an older SDK makes at once out of its resources.
_VIEWS = ("with_raw_response", "with_streaming_response")
#: What the SDK asks other models by, behind the client's ``post``.
_FALLBACKS = "BetaRefusalFallbackMiddleware"


def take_over(
    client: Any, post: Callable[..., Any], copy: Callable[..., Any], answering: Sequence[str]
) -> Any:
    """Sends all that a fresh client of an SDK asks through ``post``. ``answering`` names its
    resources that make a model answer.

    Raises :class:`InvalidUsage` where something would go past it: unbilled use must not go unseen.
    """
    _refuse_fallbacks(client)
    client.post, client.copy, client.with_options = post, copy, copy
    _remake_resources(client)
    _require_metered(client, answering)
    return client


def _refuse_fallbacks(client: Any) -> None:
    for middleware in getattr(client, "_middleware", ()):
        if any(kind.__name__ == _FALLBACKS for kind in type(middleware).__mro__):
            raise InvalidUsage(f"what {_FALLBACKS} asks of other models is not metered")


def _remake_resources(client: Any) -> None:
    """Most clients make a resource when it is asked for. Those for Bedrock and Vertex, and older
    ones, make them at once, with the ``post`` of then."""
    made = {name: value for name, value in vars(client).items() if hasattr(value, "_post")}
    views = {name: vars(client)[name] for name in _VIEWS if name in vars(client)}
    for name, value in (made | views).items():
        setattr(client, name, type(value)(client))


def _require_metered(client: Any, answering: Sequence[str]) -> None:
    found = {name: _resource(client, name) for name in answering}
    there = {name: resource for name, resource in found.items() if resource is not None}
    for name, resource in there.items():
        if getattr(resource, "_post", None) is not client.post:
            raise InvalidUsage(f"{name} of {type(client).__name__} asks past the metering")
    if not there:
        raise InvalidUsage(f"{type(client).__name__} has none of {', '.join(answering)}")


def _resource(client: Any, name: str) -> Any:
    """A resource by its dotted name; none where this version of the SDK has none."""
    resource = client
    for part in name.split("."):
        resource = getattr(resource, part, None)
    return resource
