"""What the bare ASGI doors share: reading a bounded body, answering, noticing that the client has left."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
from starlette.types import Receive, Scope, Send

from clients.errors import BadUserInput, BodyTimeout, PayloadTooLarge

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed the connection; there is nobody to answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """A request header, or ``None``."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def read_body(scope: Scope, receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The request's body.

    Raises:
        PayloadTooLarge: for more than ``limit`` bytes, before they are read where the length is declared.
        BodyTimeout: when it has not come within ``seconds``.
        ClientLeft: when the client goes before the end.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _read_body(scope, receive, limit)
    except TimeoutError as error:
        raise BodyTimeout("The body did not come in time.", reason="BODY_TIMEOUT") from error


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit} bytes.")


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises BadUserInput."""
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadUserInput("The body is not valid JSON.", reason="JSON") from error
    if not isinstance(value, dict):
        raise BadUserInput("The body must be a JSON object.", reason="JSON")
    return value


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> None:
    """A whole answer."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def retry_after(seconds: float | None) -> dict[str, str]:
    """The ``Retry-After`` header (RFC 9110, 10.2.3) of an answer that carries nothing but an error."""
    return {} if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}


STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""What keeps proxies from holding a stream back."""


async def begin(send: Send, content_type: str, headers: dict[str, str] | None = None) -> None:
    """The head of an answer whose body comes bit by bit."""
    fields = {"content-type": content_type, **STREAM_HEADERS, **(headers or {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


async def write(send: Send, chunk: bytes, *, more: bool = True) -> None:
    """A bit of a body."""
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client leaves. Raises ClientLeft."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(left(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def left(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
