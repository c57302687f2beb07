"""Starting model work: counted against its user's limit, once for each thing that is started.

Whoever attaches to what a key has started pays nothing and is counted for nothing, however many of them come at once (a
page that subscribes twice, a client that connects again).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from resolvers.context import RequestContext
from resolvers.limits import LimitKind
from resolvers.streams.stream import Source, Stream


async def counted(context: RequestContext, key: str | None = None, *, anew: bool = False) -> bool:
    """Count a start, before anything is asked of anybody; not where ``key`` has started it, which is answered False.

    ``anew`` is as in ``StreamHub.started``.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
    """
    if context.on_long is not None:
        context.on_long()
    user_id = context.principal.user_id
    if key is not None and context.resources.streams.attaches(context.owner, key, anew=anew):
        return False
    await context.resources.limits.count(user_id, LimitKind.LLM)
    return True


def started(
    context: RequestContext, *, counted: bool, source: Callable[[], Source], **how: Any
) -> AbstractAsyncContextManager[Stream]:
    """``StreamHub.started`` for the principal. A count that has started nothing is given back."""
    resources, user_id = context.resources, context.principal.user_id
    give_back = partial(resources.limits.give_back, user_id, LimitKind.LLM) if counted else None
    return resources.streams.started(context.owner, source=source, starter=context, on_reuse=give_back, **how)
