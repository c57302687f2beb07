"""``Idempotency-Key`` of ``/v1``: a request that is sent again gets the stream or answer of the first one.

Keys are counted by user. A key names a stream, to which the request attaches, or a whole answer, which is kept. A
request that failed frees its key.
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
    """Return the key of a request as the gateway keeps it; ``None`` if the client sent none.

    The proxies ignore the header: Letta does not send it.

    Raises:
        BadUserInput: reason ``KEY``, unless it has 1 to 200 printable ASCII characters.
    """
    given = header(scope, b"idempotency-key")
    if given is None or row.origin is Origin.LETTA:
        return None
    try:
        return f"v1:{header_key(given)}"
    except BadUserInput as error:
        raise BadUserInput(
            "Idempotency-Key must have 1 to 200 printable ASCII characters.", reason=Reason.KEY
        ) from error


def starts_nothing(context: RequestContext, scope: Scope, row: Row) -> bool:
    """Whether an earlier request with the same key answers this one."""
    key = None
    with suppress(BadUserInput):
        key = key_of(scope, row)
    return key is not None and (_is_streamed(context, key) or _is_whole(context, key))


async def counted_start(context: RequestContext, key: str | None, *, counted: bool) -> bool:
    """Count a request as model work if it was not counted before, and no earlier request answers it any more.

    Returns:
        Whether it has been counted.

    Raises:
        RateLimited: reason ``RATE_LIMIT_LLM``.
    """
    if counted or key is None or _is_streamed(context, key) or _is_whole(context, key):
        return counted
    await context.resources.limits.count(context.principal.user_id, LimitKind.LLM)
    return True


async def once(
    context: RequestContext, key: str, digest: str, act: Act[ModelAnswer], *, counted: bool, doubt: Doubt | None
) -> ModelAnswer:
    """The answer of ``act``, done now or under the same key before. A count that has started nothing is given back.

    Args:
        context: the request.
        key: as ``key_of`` gives it.
        digest: of the request; a request with the same key and another digest is refused.
        act: requests the answer.
        counted: whether the request was counted against the user's limit on model work.
        doubt: for an answer that must not be paid twice; without it, a failure frees the key.

    Raises:
        Conflict: reason ``KEY_REUSED``, or ``OUTCOME_UNKNOWN`` with a ``doubt``.
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
        user_id, key, digest, begin, lambda kept: OVERHEAD_BYTES + len(kept.raw), doubt=doubt
    )
    if counted and not began:
        await resources.limits.give_back(user_id, LimitKind.LLM)
    return answer


def check_stream(context: RequestContext, key: str | None) -> None:
    """Raises Conflict (``KEY_REUSED``) if the key names an answer that is not streamed."""
    if key is not None and _is_whole(context, key):
        raise _reused()


def _is_streamed(context: RequestContext, key: str) -> bool:
    return context.resources.streams.attaches(context.owner, key, restarts=True)


def _is_whole(context: RequestContext, key: str) -> bool:
    return context.resources.keys.knows(context.principal.user_id, key)


def _reused() -> Conflict:
    return Conflict("The key was used with other input. Use a new key.", reason=Reason.KEY_REUSED)
