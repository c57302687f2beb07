"""Charges the start of model work to the user's rate limit, once for each stream or call.

A request that attaches to what its key has started costs nothing, however many of them come at once: a page that
subscribes twice, a client that connects again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from resolvers.context import RequestContext
from resolvers.limits import LimitKind


async def charge(context: RequestContext, key: str | None = None, *, restarts: bool = False) -> bool:
    """Charge a start, before anything is sent upstream.

    Returns:
        Whether it was charged: not where ``key`` has started it. ``restarts`` is as in ``StreamRequest``.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
    """
    if context.on_long is not None:
        context.on_long()
    user_id = context.principal.user_id
    if key is not None and context.resources.streams.attaches(context.owner, key, restarts=restarts):
        return False
    await context.resources.limits.count(user_id, LimitKind.LLM)
    return True


def refund(context: RequestContext) -> Callable[[], Awaitable[None]]:
    """Return what gives a charge back, for a stream request that attaches after all."""
    return partial(context.resources.limits.give_back, context.principal.user_id, LimitKind.LLM)
