"""Applies the rate limit to requests that start model calls. Requests that attach to a stream are exempt."""

from collections.abc import Awaitable, Callable
from functools import partial

from resolvers.context import RequestContext
from resolvers.limits import LimitKind


async def charge(context: RequestContext, key: str | None = None, *, restarts: bool = False) -> bool:
    """Count a request as a model call. Return False if the request attaches to a stream. Raises RateLimited."""
    if context.on_long is not None:
        context.on_long()
    user_id = context.principal.user_id
    if key is not None and context.resources.streams.attaches(context.owner, key, restarts=restarts):
        return False
    await context.resources.limits.count(user_id, LimitKind.LLM)
    return True


def refund(context: RequestContext) -> Callable[[], Awaitable[None]]:
    """Return a function that undoes ``charge``. Call the function if the request attaches to an existing stream."""
    return partial(context.resources.limits.give_back, context.principal.user_id, LimitKind.LLM)
