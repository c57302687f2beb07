"""Refuses requests before execution (decision 0028)."""

from __future__ import annotations

import orjson
from starlette.types import Scope, Send

from app.asgi import begin, refusal_headers, respond, write
from app.graphql.errors import RequestError
from app.graphql.framing import FRAMINGS
from app.graphql.media import PLAIN_JSON, WHOLE
from app.graphql.results import Refused
from clients.errors import GatewayError

_METHOD_NOT_ALLOWED = 405


async def refuse(scope: Scope, send: Send, accepts: list[str], error: GatewayError | RequestError) -> None:
    """Refuse a request. ``accepts`` lists the media types that the client accepts, in order of preference.

    A client that requests a stream receives the error in a stream with status 200. At any other status, such clients'
    libraries drop the body and retry. The status 405 is not replaced, because GraphQL over HTTP requires it.
    """
    result, status = Refused.by(error, scope["state"]["request_id"]), error.http_status
    headers = refusal_headers(error) if isinstance(error, GatewayError) else error.headers
    scope["state"]["refused"] = error.code.value
    framing = FRAMINGS.get(accepts[0]) if accepts else None
    if framing is not None and status != _METHOD_NOT_ALLOWED:
        await begin(send, framing.content_type, headers)
        await write(send, framing.begin(subscribes=False) + framing.result(result) + framing.end(), more=False)
        return
    media = next((media for media in accepts if media in WHOLE), PLAIN_JSON)
    if media == PLAIN_JSON and isinstance(error, RequestError) and error.well_formed:
        status = 200  # GraphQL over HTTP, 6.4.1
    await respond(send, status, orjson.dumps(result.body()), f"{media}; charset=utf-8", headers)
