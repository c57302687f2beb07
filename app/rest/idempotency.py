"""``Idempotency-Key`` of ``/v1``: a repeated request gets the stream or answer of the first one.

Keys belong to a user. A key names a stream, to which the request attaches, or a stored answer. A request that failed
frees its key.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.types import Scope

from app.asgi import header
from app.rest.table import Row
from clients.codes import Reason
from clients.errors import BadUserInput, Conflict
from clients.litellm import ModelAnswer
from clients.origin import Origin
from resolvers.checks import header_key
from resolvers.context import RequestContext
from resolvers.doubt import Doubt
from resolvers.idempotency import OVERHEAD_BYTES, Act
from resolvers.limits import LimitKind


def key_of(scope: Scope, row: Row) -> str | None:
    """Return the key of a request as it is stored; ``None`` without the header and at the proxies.

    Raises:
        BadUserInput: reason ``KEY``: the key does not have 1 to 200 printable ASCII characters.
    """
    value = header(scope, b"idempotency-key")
    if value is None or row.origin is Origin.LETTA:
        return None
    try:
        return f"v1:{header_key(value)}"
    except BadUserInput as error:
        raise BadUserInput(
            "Idempotency-Key must have 1 to 200 printable ASCII characters.", reason=Reason.KEY
        ) from error


def is_repeated(context: RequestContext, scope: Scope, row: Row) -> bool:
    """Whether an earlier request with the same key answers this one."""
    key = None
    with suppress(BadUserInput):
        key = key_of(scope, row)
    return key is not None and (_is_streamed(context, key) or _is_whole(context, key))


async def counted_start(context: RequestContext, key: str | None, *, counted: bool) -> bool:
    """Count a request as model work, unless it is counted or an earlier request still answers it.

    Returns whether it is counted. Raises RateLimited.
    """
    if counted or key is None or _is_streamed(context, key) or _is_whole(context, key):
        return counted
    await context.resources.limits.count(context.principal.user_id, LimitKind.LLM)
    return True


async def keyed_answer(
    context: RequestContext, key: str, digest: str, act: Act[ModelAnswer], *, counted: bool, doubt: Doubt | None
) -> ModelAnswer:
    """Return the answer of ``act``, or the one stored under the key. For that, the rate limit is given back.

    Args:
        context: the context of the request.
        key: from ``key_of``.
        digest: the fingerprint of the request.
        act: requests the answer.
        counted: whether the request was counted as model work.
        doubt: for an answer that must not be paid twice; without it, every failure frees the key.

    Raises:
        Conflict: reason ``KEY_REUSED``; ``OUTCOME_UNKNOWN`` with a ``doubt``.
    """
    counted = await counted_start(context, key, counted=counted)
    if _is_streamed(context, key):
        raise _reused()
    user_id, resources, began = context.principal.user_id, context.resources, False

    async def begin() -> ModelAnswer:
        nonlocal began
        began = True
        return await act()

    answer = await resources.keys.done(
        user_id, key, digest, begin, lambda answer: OVERHEAD_BYTES + len(answer.raw), doubt=doubt
    )
    if counted and not began:
        await resources.limits.give_back(user_id, LimitKind.LLM)
    return answer


def check_stream(context: RequestContext, key: str | None) -> None:
    """Check that the key does not name an answer that is not streamed. Raises Conflict (``KEY_REUSED``)."""
    if key is not None and _is_whole(context, key):
        raise _reused()


def _is_streamed(context: RequestContext, key: str) -> bool:
    return context.resources.streams.attaches(context.owner, key, restarts=True)


def _is_whole(context: RequestContext, key: str) -> bool:
    return context.resources.keys.knows(context.principal.user_id, key)


def _reused() -> Conflict:
    return Conflict("The key was already used with different input. Use a new key.", reason=Reason.KEY_REUSED)
