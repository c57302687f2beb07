"""Reads and deletes the stored responses of OpenAI's Responses API."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.types import Scope

from app.rest.table import Work
from clients.codes import Reason
from clients.errors import BadUserInput
from clients.litellm import ResponseLabels, StoredResponses
from resolvers.context import RequestContext
from resolvers.responses.ids import ResponseIds

_PARAMS = {
    Work.RESPONSE: frozenset({"include", "include[]"}),
    Work.INPUT_ITEMS: frozenset({"include", "include[]", "after", "before", "limit", "order"}),
    Work.DELETE_RESPONSE: frozenset(),
}
_MAX_VALUE = 200


async def stored_answer(context: RequestContext, work: Work, scope: Scope, response_id: str) -> bytes:
    """Read or delete the response ``response_id`` of the signed-in user.

    Raises:
        NotFound: the response does not exist, belongs to another user, or was not stored.
        BadUserInput: the query has an unknown parameter, or a value that is too long.
    """
    params = checked_params(work, scope)
    key = await context.model_key()
    owned = ResponseIds(context.principal.user_id, key).opened(response_id)
    stored = StoredResponses(context.resources.litellm, context.scope, key, owned.model)
    if work is Work.INPUT_ITEMS:
        return await stored.input_items(owned.id, params)
    labels = ResponseLabels(lambda _: response_id)
    if work is Work.DELETE_RESPONSE:
        return await stored.delete(owned.id, labels)
    return await stored.get(owned.id, labels, params)


def checked_params(work: Work, scope: Scope) -> list[tuple[str, str]]:
    """Return the query parameters. Raise BadUserInput for an unknown parameter, or a value that is too long."""
    params = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name, value in params:
        if name not in _PARAMS[work]:
            shown = name[:_MAX_VALUE]
            raise BadUserInput(
                f"Unknown query parameter: {shown!r}.", reason=Reason.UNKNOWN_PARAMETER, details={"param": shown}
            )
        if len(value) > _MAX_VALUE:
            message = f"The query parameter {name!r} has more than {_MAX_VALUE} characters. Shorten the value."
            raise BadUserInput(message, reason=Reason.TOO_LONG, details={"param": name})
    return params
