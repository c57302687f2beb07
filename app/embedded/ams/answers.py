"""Helpers for AMS's routes: request bodies, refusals and responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.embedded.state import Json, User

MAX_BODY_BYTES = 1_000_000

RequestHandler = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, User | None], Awaitable[Response]]


class Refused(Exception):
    """The error for a request that AMS refuses. ``details`` are the errors of a failed validation."""

    def __init__(self, status: int, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": message} | ({"details": details} if details else {})


async def text_of(request: Request) -> str:
    """Read a request's body as text. Raises Refused."""
    raw = await request.body()
    if len(raw) > MAX_BODY_BYTES:
        raise Refused(400, "The body is too large")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, "The body is not UTF-8") from error


async def body_of(request: Request) -> Json:
    """Read a request's body as a JSON object. An empty body counts as ``{}``. Raises Refused."""
    try:
        body = orjson.loads(await text_of(request) or "{}")
    except orjson.JSONDecodeError as error:
        raise Refused(400, "The body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused(400, "The body must be an object")
    return body


def ids_of(request: Request) -> list[str]:
    """Return the ids in the query parameter ``ids``."""
    return [one for one in request.query_params.get("ids", "").split(",") if one]


def ok(body: Json) -> JSONResponse:
    """Make a successful response."""
    return JSONResponse(body)
