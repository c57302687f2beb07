"""Applies the rate limits to model calls: the number of started calls, and the number of tokens.

Requests that attach to a stream are exempt.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from clients.errors import GatewayError
from clients.origin import Origin
from clients.outcome import is_unconfirmed
from clients.state.cache import Tag
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.limits import LimitKind
from resolvers.tokens import Need, need_of, used_tokens

_UNUSED = Need(0)


class Reserved(Protocol):
    """The tokens that are reserved for one model call."""

    async def settle(self, used: int) -> None:
        """Replace the reserved tokens by the tokens that the call has used."""


class _Unreserved:
    """Counts the tokens of an agent's model call, which the limit never refuses (decision 0052)."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    async def settle(self, used: int) -> None:
        """Count the tokens that the call has used."""
        await self._context.resources.limits.spend(self._context.principal.user_id, used)


async def charge(context: RequestContext, key: str | None = None, *, restarts: bool = False) -> bool:
    """Count a request as a model call. Return False if the request attaches to a stream. Raises RateLimited."""
    if await _attaches(context, key, restarts=restarts):
        return False
    await context.resources.limits.count(context.principal.user_id, LimitKind.LLM)
    return True


async def charge_turn(context: RequestContext, key: str) -> bool:
    """Count a turn as a model call. Return False if the request attaches to a stream.

    A turn reserves no tokens, since its model calls count while the turn runs. Raises RateLimited if the user has
    exceeded the limit of model calls, or has no tokens left.
    """
    if await _attaches(context, key):
        return False
    await context.resources.limits.count_turn(context.principal.user_id)
    return True


async def _attaches(context: RequestContext, key: str | None, *, restarts: bool = False) -> bool:
    if context.on_long is not None:
        context.on_long()
    return key is not None and await context.resources.streams.attaches(context.owner, key, restarts=restarts)


def refund(context: RequestContext) -> Callable[[], Awaitable[None]]:
    """Return a function that undoes ``charge``. Call the function if the request attaches to an existing stream."""
    return partial(context.resources.limits.give_back, context.principal.user_id, LimitKind.LLM)


def need(
    context: RequestContext,
    body: dict[str, Any],
    estimate: Callable[[dict[str, Any]], Need] = need_of,
    *,
    is_bounded: bool = False,
) -> Need:
    """Estimate the tokens of a model request, if tokens are limited or the answer's cost ``is_bounded``.

    Otherwise, nothing uses the estimate, which takes milliseconds for a long prompt.
    """
    return estimate(body) if is_bounded or context.resources.limits.has_token_limit else _UNUSED


async def reserve(context: RequestContext, need: Need) -> Reserved | None:
    """Reserve the tokens that a model call needs, if tokens are limited. An agent's model call reserves nothing.

    Raises:
        RateLimited: the user has too few tokens left in this minute.
        BadUserInput: the call needs more tokens than the limit.
    """
    if context.origin is Origin.LETTA:
        return _Unreserved(context) if context.resources.limits.has_token_limit else None
    return await context.resources.limits.reserve(context.principal.user_id, need.least, need.more)


class Spent:
    """What a model call has used. ``usage`` is ``None`` if the model's answer has no usage."""

    usage: Usage | None = None


@asynccontextmanager
async def reserved(context: RequestContext, need: Need) -> AsyncIterator[Spent]:
    """Reserve tokens for a model call that is not streamed, and correct the reservation after the call.

    If the model's answer is lost, LiteLLM may charge for the answer, so the estimated tokens count. Raises like
    ``reserve``.
    """
    spent, reservation = Spent(), await reserve(context, need)
    used = need.estimate
    try:
        yield spent
        used = need.estimate if (reported := used_tokens(spent.usage)) is None else reported
    except GatewayError as error:
        used = need.estimate if is_unconfirmed(error) else 0
        raise
    finally:
        if reservation is not None:
            await reservation.settle(used)
        await context.changed(Tag.SPEND)
