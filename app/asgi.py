"""Functions of the bare ASGI endpoints: read a bounded body, respond, and detect that the client has left."""

from __future__ import annotations

import asyncio
import codecs
import math
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from app.encodings import ACCEPTED, DecodedTooLarge, Decoder
from app.json_text import InvalidJson, TooManyContainers, loads
from clients.codes import Reason
from clients.errors import BadUserInput, BodyTimeout, GatewayError, PayloadTooLarge, UnsupportedEncoding

T = TypeVar("T")

NO_SNIFF = "X-Content-Type-Options", "nosniff"
"""A header of every response: browsers must not guess another type than its ``Content-Type``."""


class ClientLeft(Exception):
    """The client has closed the connection."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request header, or ``None``."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a request header that may be repeated."""
    return [str(value.decode("latin-1")) for key, value in scope["headers"] if key == name]


def accept_of(scope: Scope) -> str | None:
    """Return the ``Accept`` of a request, whose values may be in several headers (RFC 9110, 5.3)."""
    return ", ".join(headers_of(scope, b"accept")) or None


_PIECE_BYTES = 64 * 1024
"""A body is kept in pieces of about this size while it arrives."""

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<fields>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)


def traceparent_of(scope: Scope) -> str | None:
    """Return the ``traceparent`` of a request in version 00 (W3C Trace Context, 3.2), or ``None``.

    An invalid one is replaced by a new trace (4.2 of the same), and is not forwarded.
    """
    values = headers_of(scope, b"traceparent")
    if not values:
        return None
    found = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return f"00-{found['fields']}"


async def read_body(
    scope: Scope, receive: Receive, hold: Callable[[int], None], *, limit: int, seconds: float
) -> bytes:
    """Read the request's body, without its content codings and without a UTF-8 byte order mark.

    Args:
        scope: the request.
        receive: receives its body.
        hold: called with the number of decoded bytes in memory after each piece.
        limit: the most bytes of the body, as sent and as decoded.
        seconds: the timeout.

    Raises:
        UnsupportedEncoding: the gateway does not decode a coding. Raised before the body is read.
        PayloadTooLarge: more than ``limit`` bytes. Raised before they are read if the length is declared.
        BadUserInput: the data is not valid in its coding.
        BodyTimeout: the body has not arrived within ``seconds``.
        ClientLeft: the client has left before the end.
        RateLimited, Overloaded: from ``hold``.
    """
    decoder = Decoder(headers_of(scope, b"content-encoding"), limit=limit)
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            body = await _decoded_body(receive, hold, decoder, limit)
    except TimeoutError as error:
        raise BodyTimeout("The body did not arrive in time.", reason=Reason.BODY_TIMEOUT) from error
    except DecodedTooLarge as error:
        raise _too_large(limit, " when it is decoded") from error
    return body.removeprefix(codecs.BOM_UTF8)


async def _decoded_body(receive: Receive, hold: Callable[[int], None], decoder: Decoder, limit: int) -> bytes:
    body, encoded = Pieces(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece = message.get("body", b"")
        encoded += len(piece)
        if encoded > limit:
            raise _too_large(limit)
        body.add(decoder.feed(piece))
        hold(body.size)
        if not message.get("more_body", False):
            decoder.close()
            return body.joined()


class Pieces:
    """Bytes that arrive in parts, kept in pieces. ``size`` is the number of bytes.

    A single growing buffer is moved each time. If many grow at a time, the holes take as much memory as the bytes.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces = [bytearray()]
        self.size = 0

    def add(self, data: bytes) -> None:
        """Add bytes at the end."""
        self.size += len(data)
        if len(self._pieces[-1]) + len(data) > _PIECE_BYTES:
            self._pieces.append(bytearray())
        self._pieces[-1] += data

    def joined(self) -> bytes:
        """Return all bytes."""
        return b"".join(self._pieces)


def _too_large(limit: int, when: str = "") -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit} bytes{when}. Send less.")


def parse_object(text: bytes | str, name: str = "The body") -> dict[str, Any]:
    """Parse a JSON object. ``name`` is its name in errors. Raises BadUserInput, PayloadTooLarge."""
    if not text.strip():
        raise BadUserInput(f"{name} is empty.", reason=Reason.JSON)
    try:
        value = loads(text)
    except InvalidJson as error:
        raise BadUserInput(f"{name} is not valid JSON: {error}.", reason=Reason.JSON) from error
    except TooManyContainers as error:
        raise PayloadTooLarge(f"{name} {error}.", reason=Reason.CONTAINERS) from error
    if not isinstance(value, dict):
        raise BadUserInput(f"{name} must be a JSON object.", reason=Reason.JSON)
    return value


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> None:
    """Send a whole response."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


MAX_RETRY_AFTER_SECONDS = 59
"""The longest wait in a ``Retry-After`` header. The AI SDK and older versions of openai-node ignore 60 s and more, and
retry at once; openai-python sleeps for up to two minutes. Error bodies have the true wait.
"""


def retry_after(seconds: float | None) -> dict[str, str]:
    """Return the ``Retry-After`` header (RFC 9110, 10.2.3) of an error."""
    if seconds is None:
        return {}
    return {"retry-after": str(min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(seconds))))}


def refusal_headers(error: GatewayError) -> dict[str, str]:
    """Return the headers of a response that is an error."""
    headers = retry_after(error.retry_after_seconds)
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnsupportedEncoding):
        headers["accept-encoding"] = ACCEPTED
    return headers


STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""Headers that keep proxies from buffering a stream."""


async def begin(send: Send, content_type: str, headers: dict[str, str] | None = None) -> None:
    """Send the head of a streamed response."""
    fields = {"content-type": content_type, **STREAM_HEADERS, **(headers or {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


async def write(send: Send, chunk: bytes, *, more: bool = True) -> None:
    """Send a part of a body."""
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``, which is cancelled if the client leaves. Raises ClientLeft."""
    task, has_left, is_over = asyncio.current_task(), False, False
    assert task is not None  # noqa: S101 - a coroutine runs in one

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal has_left
        if not watch.cancelled():
            watch.exception()  # a ``receive`` that fails means as well that the client has left
            if not is_over:
                has_left = True
                task.cancel()

    watch = asyncio.ensure_future(left(receive))
    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and task.cancelling() == 1:
            raise ClientLeft from None
        raise
    finally:
        is_over = True  # a callback that is scheduled already cannot be removed
        if has_left:
            task.uncancel()
        elif not watch.done():
            watch.cancel()
            await asyncio.wait([watch])


async def left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
