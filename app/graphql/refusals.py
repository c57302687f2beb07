"""How a request that no operation came of is refused, in the form that its client reads (decision 0028)."""

from __future__ import annotations

import orjson
from starlette.types import Scope, Send

from app.asgi import begin, refusal_headers, respond, write
from app.graphql.errors import RequestError, told
from app.graphql.media import FRAMINGS, PLAIN_JSON, WHOLE
from clients.errors import GatewayError

_METHOD_NOT_ALLOWED = 405


async def refuse(scope: Scope, send: Send, accepts: list[str], error: GatewayError | RequestError) -> None:
    """Refuse a request.

    A client that reads a stream is told in one, under 200: its libraries drop the body of any other status, and
    repeat the request. Only a method that cannot be used keeps its status, which GraphQL over HTTP demands of it.

    Args:
        scope: the request.
        send: where the answer goes.
        accepts: the media types that the client takes, the one that the answer has first.
        error: why it is refused.
    """
    errors, headers = told(error, scope["state"]["request_id"]), _headers(error)
    body = {"errors": errors}
    scope["state"]["refused"] = errors[0]["extensions"]["code"]
    status = error.http_status if isinstance(error, GatewayError) else error.status
    framing = FRAMINGS.get(accepts[0]) if accepts else None
    if framing is not None and status != _METHOD_NOT_ALLOWED:
        await begin(send, framing.content_type, headers)
        await write(send, framing.begin + framing.answer(body) + framing.end, more=False)
        return
    media = next((media for media in accepts if media in WHOLE), PLAIN_JSON)
    if media == PLAIN_JSON and isinstance(error, RequestError) and error.well_formed:
        status = 200  # GraphQL over HTTP, 6.4.1
    await respond(send, status, orjson.dumps(body), f"{media}; charset=utf-8", headers)


def _headers(error: GatewayError | RequestError) -> dict[str, str]:
    return refusal_headers(error) if isinstance(error, GatewayError) else error.headers
