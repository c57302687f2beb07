"""Handles ``Idempotency-Key``: a repeated request receives the first request's answer.

A key belongs to one user and names a stream or a stored answer. A repeated request attaches to the stream. A failed
request frees its key.
"""

from __future__ import annotations

from starlette.types import Scope

from app.asgi import header
from app.rest.table import Row
from clients.codes import Reason
from clients.errors import BadUserInput, Conflict
from clients.litellm import ModelAnswer
from clients.origin import Origin
from resolvers.checks import header_key
from resolvers.context import RequestContext
from resolvers.idempotency import OVERHEAD_BYTES, Act
from resolvers.limits import LimitKind
from resolvers.outcome_unknown import OutcomeUnknown


def key_of(scope: Scope, row: Row) -> str | None:
    """Return a request's idempotency key, or ``None`` if there is no key.

    The key of a request from Letta is ignored. Raise BadUserInput if the header's value is malformed.
    """
    value = header(scope, b"idempotency-key")
    if value is None or row.origin is Origin.LETTA:
        return None
    try:
        return f"v1:{header_key(value)}"
    except BadUserInput as error:
        raise BadUserInput(
            "The header Idempotency-Key must have 1 to 200 printable ASCII characters.", reason=Reason.KEY
        ) from error


def has_key(scope: Scope) -> bool:
    """Return whether a request has an idempotency key. Most requests have none."""
    return header(scope, b"idempotency-key") is not None


async def is_repeated(context: RequestContext, scope: Scope, row: Row) -> bool:
    """Return whether a request's idempotency key already belongs to a stream or answer."""
    try:
        key = key_of(scope, row)
    except BadUserInput:
        return False
    return key is not None and (await _is_streamed(context, key) or await _is_whole(context, key))


async def counted_start(context: RequestContext, key: str | None, *, counted: bool) -> bool:
    """Count a request against the rate limit for model calls.

    If the request was already counted or receives an earlier request's answer, do nothing.

    Return whether the request is counted. Raise RateLimited if the limit is exceeded.
    """
    if counted or key is None or await _is_streamed(context, key) or await _is_whole(context, key):
        return counted
    await context.resources.limits.count(context.principal.user_id, LimitKind.LLM)
    return True


async def keyed_answer(
    context: RequestContext,
    key: str,
    digest: str,
    act: Act[ModelAnswer],
    *,
    counted: bool,
    on_unknown: OutcomeUnknown | None,
) -> ModelAnswer:
    """Return the stored answer for an idempotency key, or call ``act`` for a new answer.

    If the answer was stored, the request does not count against the rate limit for model calls.

    Args:
        context: the request's context.
        key: the key, from ``key_of``.
        digest: the request's fingerprint.
        act: requests the answer from LiteLLM.
        counted: whether the request was counted as model work.
        on_unknown: how to handle a first request with an unknown outcome. If ``None``, every failure frees the key.

    Raises:
        Conflict: the key was used with different input, or its request's outcome is unknown.
    """
    counted = await counted_start(context, key, counted=counted)
    if await _is_streamed(context, key):
        raise _reused()
    user_id, resources, began = context.principal.user_id, context.resources, False

    async def begin() -> ModelAnswer:
        nonlocal began
        began = True
        return await act()

    answer = await resources.keys.done(
        user_id, key, digest, begin, ModelAnswer, lambda answer: OVERHEAD_BYTES + len(answer.raw), on_unknown=on_unknown
    )
    if counted and not began:
        await resources.limits.give_back(user_id, LimitKind.LLM)
    return answer


async def check_stream(context: RequestContext, key: str | None) -> None:
    """Raise Conflict if an earlier request used the key for a non-streamed answer. The reason is ``KEY_REUSED``."""
    if key is not None and await _is_whole(context, key):
        raise _reused()


async def _is_streamed(context: RequestContext, key: str) -> bool:
    return await context.resources.streams.attaches(context.owner, key, restarts=True)


async def _is_whole(context: RequestContext, key: str) -> bool:
    return await context.resources.keys.knows(context.principal.user_id, key)


def _reused() -> Conflict:
    message = "The Idempotency-Key was already used with different input. Use a new key."
    return Conflict(message, reason=Reason.KEY_REUSED)
