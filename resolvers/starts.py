"""Counts the start of model work against the user's rate limit, but not a request that attaches to a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from resolvers.context import RequestContext
from resolvers.limits import LimitKind


async def charge(context: RequestContext, key: str | None = None, *, restarts: bool = False) -> bool:
    """Charge a start before anything is sent upstream. Raises RateLimited (``RATE_LIMIT_LLM``).

    Returns whether it was charged: not if ``key`` attaches to a stream. ``restarts`` is as in ``StreamRequest``.
    """
    if context.on_long is not None:
        context.on_long()
    user_id = context.principal.user_id
    if key is not None and context.resources.streams.attaches(context.owner, key, restarts=restarts):
        return False
    await context.resources.limits.count(user_id, LimitKind.LLM)
    return True


def refund(context: RequestContext) -> Callable[[], Awaitable[None]]:
    """Return a function that undoes a charge, for a stream request that attaches after all."""
    return partial(context.resources.limits.give_back, context.principal.user_id, LimitKind.LLM)
