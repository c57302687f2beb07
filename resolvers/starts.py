"""Applies the rate limits to model calls: the number of started calls, and the number of tokens.

Requests that attach to a stream are exempt.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, Self

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


async def charge_turn(context: RequestContext, key: str, *, counted: bool = False) -> bool:
    """Count a turn as a model call, unless the request is already ``counted`` or attaches to a stream.

    A turn reserves no tokens, since its model calls count while the turn runs. Return whether the request is counted.
    Raises RateLimited if the user has exceeded the limit of model calls, or has no tokens left.
    """
    if await _attaches(context, key):
        return counted
    await context.resources.limits.count_turn(context.principal.user_id, counted=counted)
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
    limits = context.resources.limits
    if not limits.has_token_limit:
        return None
    if context.origin is Origin.LETTA:
        return _Unreserved(context)
    return await limits.reserve(context.principal.user_id, need.least, need.more)


class Spent:
    """A context manager that reserves tokens for a model call that is not streamed, and corrects the reservation.

    If the model's answer is lost, LiteLLM may charge for the answer, so the estimated tokens count. Entering raises
    like ``reserve``.

    Attributes:
        usage: what the call has used; ``None`` if the model's answer has no usage.
    """

    __slots__ = ("_context", "_need", "_reservation", "usage")

    def __init__(self, context: RequestContext, need: Need) -> None:
        self._context = context
        self._need = need
        self._reservation: Reserved | None = None
        self.usage: Usage | None = None

    async def __aenter__(self) -> Self:
        if self._context.resources.limits.has_token_limit:
            self._reservation = await reserve(self._context, self._need)
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if self._reservation is not None:
                await self._reservation.settle(self._used(error))
        finally:
            await self._context.changed(Tag.SPEND)

    def _used(self, error: BaseException | None) -> int:
        if error is None:
            reported = used_tokens(self.usage)
            return self._need.estimate if reported is None else reported
        refused = isinstance(error, GatewayError) and not is_unconfirmed(error)
        return 0 if refused else self._need.estimate
