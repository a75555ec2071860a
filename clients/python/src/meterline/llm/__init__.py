"""Bills the tokens that the official SDKs of Anthropic and OpenAI use.

>>> client = meter_anthropic(anthropic.Anthropic(), meterline, "cus_…")
>>> client.messages.create(model=…, max_tokens=…, messages=[…])

What comes back is the SDK's own client, of the same type. An answer is handed out once its usage is
recorded: an event for each kind of tokens, named ``{response id}:{kind}``, so that recording it
again counts once. The last event of a stream is handed out only then, too. Whoever leaves a
stream in the middle is billed for what was reported until then; whoever leaves when its text is
over, for all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .._async_client import AsyncMeterline
from .._client import Meterline
from .._events import UsageEvent
from ..errors import InvalidUsage, MeterlineError
from . import _async, _sync
from ._anthropic import Anthropic
from ._metering import Metering, UnreportedUsage, UsageNotRecorded, log_background_error
from ._openai import OpenAI
from ._tokens import TOKEN_KINDS, ActionOf, TokenKind, UnnamedTokens, default_action

Client = TypeVar("Client")
AnyMeterline = Meterline | AsyncMeterline

__all__ = [
    "ActionOf",
    "TokenKind",
    "UnnamedTokens",
    "UnreportedUsage",
    "UsageNotRecorded",
    "default_action",
    "meter_anthropic",
    "meter_openai",
]


def meter_anthropic(
    client: Client,
    meterline: AnyMeterline,
    customer: str,
    *,
    action: ActionOf = default_action,
    check_access: bool = False,
    on_background_error: Callable[[MeterlineError], None] = log_background_error,
) -> Client:
    """A copy of ``client``, of ``anthropic``, whose messages are billed to ``customer``: plain and
    streamed, by ``create``, ``stream`` and what is built on them.

    ``action`` says what a kind of tokens of a model is called on the bill. With ``check_access`` a
    customer that may not act is :class:`meterline.AccessDenied` before the model is asked. An
    error that no caller can be told, of a stream that was left, goes to ``on_background_error``.

    The copy's methods raise :class:`UsageNotRecorded`, which has the answer in it, and
    :class:`UnreportedUsage`. Requests that cost and do not say how much, such as batches and those
    with ``fallbacks``, are refused with :class:`meterline.InvalidUsage`: make them with ``client``
    itself. A client of which something would go past the metering is that, too, here and now.
    """
    metering = Metering(Anthropic(), customer, action, check_access, on_background_error)
    return _meter(client, meterline, metering)


def meter_openai(
    client: Client,
    meterline: AnyMeterline,
    customer: str,
    *,
    action: ActionOf = default_action,
    check_access: bool = False,
    on_background_error: Callable[[MeterlineError], None] = log_background_error,
) -> Client:
    """The same for a client of ``openai``: Chat Completions and Responses.

    A stream of chunks is asked for its usage unless ``stream_options`` say whether to; the chunk
    with the usage is handed out only to who asked for it. One that does not say it is
    :class:`UnreportedUsage` at its end. A chunk that may be the last is held back until the usage
    is recorded, or another one comes; not where ``stream_options`` want no usage.
    """
    metering = Metering(OpenAI(), customer, action, check_access, on_background_error)
    return _meter(client, meterline, metering)


def _meter(client: Client, meterline: AnyMeterline, metering: Metering) -> Client:
    # Found here, and not after the model has answered.
    for kind in TOKEN_KINDS:
        UsageEvent.new(metering.customer, _name_of_no_model(metering.action, kind))
    sdk: Any = client
    is_async = inspect.iscoroutinefunction(sdk.post)
    if is_async and isinstance(meterline, AsyncMeterline):
        metered: Client = _async.install(sdk.copy(), meterline, metering)
    elif not is_async and isinstance(meterline, Meterline):
        metered = _sync.install(sdk.copy(), meterline, metering)
    else:
        raise InvalidUsage("an async client needs an AsyncMeterline, another one a Meterline")
    return metered


def _name_of_no_model(action: ActionOf, kind: TokenKind) -> str:
    """A name of a model that is none. That a function has no name for it says nothing of real
    ones."""
    try:
        return action(kind, "model")
    except Exception:  # noqa: BLE001 (the caller's own function)
        return default_action(kind, "model")
