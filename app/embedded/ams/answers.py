"""What AMS's routes share: reading a request, refusing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.embedded.state import Json, User

MAX_BODY = 1_000_000
"""Bytes."""

RequestHandler = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, User | None], Awaitable[Response]]


class Refused(Exception):
    """The request is answered with an error; ``details`` are the lines of a failed validation."""

    def __init__(self, status: int, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": message} | ({"details": details} if details else {})


async def text_of(request: Request) -> str:
    """The body as text. Raises Refused."""
    raw = await request.body()
    if len(raw) > MAX_BODY:
        raise Refused(400, "The body is too large")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, "The body is not UTF-8") from error


async def body_of(request: Request) -> Json:
    """The body as a JSON object; nothing is an empty one. Raises Refused."""
    try:
        body = orjson.loads(await text_of(request) or "{}")
    except orjson.JSONDecodeError as error:
        raise Refused(400, "The body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused(400, "The body must be an object")
    return body


def ids_of(request: Request) -> list[str]:
    """The ``ids`` of the query."""
    return [one for one in request.query_params.get("ids", "").split(",") if one]


def ok(body: Json) -> JSONResponse:
    """A success."""
    return JSONResponse(body)
