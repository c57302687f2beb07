"""Helpers for LiteLLM's routes: request bodies, and refusals with LiteLLM's texts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.embedded.state import Json

Handler = Callable[[Request, Json], Awaitable[Response]]
"""Handles a request, given the record of the request's virtual key."""
RequestHandler = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Handler]]


class Refused(Exception):
    """The error for a request that LiteLLM refuses."""

    def __init__(
        self, status: int, kind: str, message: str, *, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        error: Json = {"message": message, "type": kind, "param": param, "code": str(status)}
        self.body: Json = {"error": error}
        self.headers = headers or {}

    def response(self) -> Response:
        """Convert the refusal to an HTTP response."""
        return JSONResponse(self.body, self.status, self.headers)


async def body_of(request: Request) -> Json:
    """Read a request's body as a JSON object. Raises Refused."""
    try:
        body = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused(400, "invalid_request_error", "Invalid JSON payload") from error
    if not isinstance(body, dict):
        raise Refused(400, "invalid_request_error", "Invalid JSON payload")
    return body


def invalid(message: str, param: str | None = None) -> Refused:
    """Make the refusal of an invalid request."""
    return Refused(400, "invalid_request_error", message, param=param)


def ok(body: object, headers: dict[str, str] | None = None) -> Response:
    """Make a successful response. Numbers in the response keep all digits."""
    return Response(orjson.dumps(body), media_type="application/json", headers=headers)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return the response of ``work``. If the client disconnects first, cancel ``work``, as LiteLLM does."""
    answering, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answering, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(status_code=499)
    finally:
        answering.cancel()
        disconnected.cancel()
        await asyncio.gather(answering, disconnected, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
