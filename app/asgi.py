"""Helps ASGI endpoints to read request bodies, send responses, and detect disconnects."""

from __future__ import annotations

import asyncio
import codecs
import math
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from starlette.types import Receive, Scope, Send

from app.encodings import ACCEPTED, DecodedTooLarge, Decoder
from app.json_text import MAX_CONTAINERS, InvalidJson, TooManyContainers, loads
from clients.codes import Reason
from clients.errors import BadUserInput, BodyTimeout, GatewayError, PayloadTooLarge, UnsupportedEncoding

T = TypeVar("T")

NO_SNIFF = "X-Content-Type-Options", "nosniff"
"""A response header that stops browsers from guessing the content type."""


class Disconnected(Exception):
    """Raised if the client has closed the connection."""


class Link(ABC):
    """A request that offers methods in addition to ASGI's ``receive`` and ``send``, which are its methods too.

    The gateway's own server passes the bound method ``receive`` of a ``Link`` to the application. Under a different
    server, the application calls only ``receive``.

    An abstract class, and not a ``Protocol``: CPython 3.11 takes 0.6 µs to check an instance of an abstract class, and
    9 to 14 µs for a runtime protocol. A request is checked twice.
    """

    @abstractmethod
    def whole_body(self) -> bytes | None:
        """Take the request's body, if the whole body has arrived and the application has read no part of it.

        Returns:
            The body as received, or ``None`` if the application must call ``receive`` instead.
        """

    @abstractmethod
    def watch(self, act: Callable[[], None]) -> bool:
        """Call ``act`` when the client disconnects. Return false if the application must call ``receive`` instead."""

    @abstractmethod
    def unwatch(self) -> None:
        """Undo ``watch``."""


def _link_of(receive: Receive) -> Link | None:
    """Return the ``Link`` whose method ``receive`` is, or ``None`` under a different server."""
    found = getattr(receive, "__self__", None)
    return found if isinstance(found, Link) else None


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request header, or ``None`` if the header is absent."""
    value = dict(reversed(scope["headers"])).get(name)  # the first one, in a quarter of a loop's time
    return None if value is None else str(value.decode("latin-1"))


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a request header. A request can contain the header several times."""
    headers = scope["headers"]
    if name not in dict(headers):
        return []
    return [str(value.decode("latin-1")) for key, value in headers if key == name]


def accept_of(scope: Scope) -> str | None:
    """Return a request's ``Accept`` headers, joined by commas (RFC 9110, 5.3)."""
    return ", ".join(headers_of(scope, b"accept")) or None


_PIECE_BYTES = 64 * 1024
"""An incomplete request body is stored in buffers of about this many bytes."""

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<fields>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)


def traceparent_of(scope: Scope) -> str | None:
    """Return a request's ``traceparent`` header, or ``None`` if the header is absent.

    The returned header has version 00 (W3C Trace Context, 3.2). An invalid ``traceparent`` is replaced by a new one
    (W3C Trace Context, 4.2).
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
    """Read and decode a request's body, and remove a UTF-8 byte order mark.

    Args:
        scope: the request.
        receive: receives the body.
        hold: called after each received part of the body, with the number of decoded bytes in memory.
        limit: the maximum size of the received body, and of the decoded body, in bytes.
        seconds: the timeout.

    Raises:
        UnsupportedEncoding: the gateway does not support the body's content coding. Raised before the body is read.
        PayloadTooLarge: the body has more than ``limit`` bytes. Raised at once if ``Content-Length`` is too large.
        BadUserInput: the encoded data is corrupt.
        BodyTimeout: the body has not arrived within ``seconds``.
        Disconnected: the client disconnected before the end of the body.
        RateLimited, Overloaded: raised by ``hold``.
    """
    encodings = headers_of(scope, b"content-encoding")
    if not encodings and (link := _link_of(receive)) is not None and (whole := link.whole_body()) is not None:
        if len(whole) > limit:
            raise _too_large(limit)
        hold(len(whole))
        return whole.removeprefix(codecs.BOM_UTF8)
    decoder = Decoder(encodings, limit=limit)
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            body = await _decoded_body(receive, hold, decoder, limit)
    except TimeoutError as error:
        raise BodyTimeout("The request body did not arrive in time. Retry.", reason=Reason.BODY_TIMEOUT) from error
    except DecodedTooLarge as error:
        raise _too_large(limit, " after decoding") from error
    return body.removeprefix(codecs.BOM_UTF8)


async def _decoded_body(receive: Receive, hold: Callable[[int], None], decoder: Decoder, limit: int) -> bytes:
    body, encoded = Pieces(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
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
    """Stores bytes in several buffers. ``size`` is the number of stored bytes.

    A single growing buffer would be copied repeatedly, and would fragment the memory.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces = [bytearray()]
        self.size = 0

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self.size += len(data)
        if len(self._pieces[-1]) + len(data) > _PIECE_BYTES:
            self._pieces.append(bytearray())
        self._pieces[-1] += data

    def joined(self) -> bytes:
        """Return all stored bytes as one ``bytes`` object."""
        return b"".join(self._pieces)


def _too_large(limit: int, when: str = "") -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {limit:,} bytes{when}. Send a smaller body.")


def parse_object(text: bytes | str, name: str = "The request body") -> dict[str, Any]:
    """Parse a JSON object.

    Error messages begin with ``name``.

    Raises:
        BadUserInput: ``text`` is not a JSON object.
        PayloadTooLarge: ``text`` contains too many objects and arrays.
    """
    try:
        value = loads(text)
    except InvalidJson as error:
        if not text.strip():
            raise BadUserInput(f"{name} is empty. Send a JSON object.", reason=Reason.JSON) from None
        raise BadUserInput(f"{name} is not valid JSON: {error}.", reason=Reason.JSON) from error
    except TooManyContainers as error:
        raise PayloadTooLarge(
            f"{name} has more than {MAX_CONTAINERS:,} objects and arrays. Reduce their number.",
            reason=Reason.CONTAINERS,
        ) from error
    if not isinstance(value, dict):
        raise BadUserInput(f"{name} must be a JSON object.", reason=Reason.JSON)
    return value


async def respond(
    send: Send, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> None:
    """Send a complete response."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    if headers:
        raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


MAX_RETRY_AFTER_SECONDS = 59
"""Maximum number of seconds in a ``Retry-After`` header. The error's body always contains the actual wait.

The AI SDK and older versions of openai-node ignore a wait of 60 seconds or more, and retry at once.
"""


def retry_after(seconds: float | None) -> dict[str, str]:
    """Return a ``Retry-After`` header (RFC 9110, 10.2.3), or no header if ``seconds`` is ``None``."""
    if seconds is None:
        return {}
    return {"retry-after": str(min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(seconds))))}


def refusal_headers(error: GatewayError) -> dict[str, str]:
    """Return the headers of an error response."""
    headers = retry_after(error.retry_after_seconds)
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, UnsupportedEncoding):
        headers["accept-encoding"] = ACCEPTED
    return headers


STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""Response headers that prevent proxies from buffering a stream."""


async def begin(send: Send, content_type: str, headers: dict[str, str] | None = None) -> None:
    """Send the status and headers of a streamed response."""
    fields = {"content-type": content_type, **STREAM_HEADERS, **(headers or {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


async def write(send: Send, chunk: bytes, *, more: bool = True) -> None:
    """Send one chunk of a response's body."""
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``. If the client disconnects, cancel ``work`` and raise Disconnected."""
    task, is_disconnected, is_over = asyncio.current_task(), False, False
    assert task is not None  # noqa: S101 - a coroutine runs in a task

    def stop() -> None:
        nonlocal is_disconnected
        if not is_over:
            is_disconnected = True
            task.cancel()

    link = _link_of(receive)
    watch: asyncio.Task[None] | None = None
    if link is None or not link.watch(stop):
        link, watch = None, _watch(receive, stop)
    try:
        return await work
    except asyncio.CancelledError:
        if is_disconnected and task.cancelling() == 1:
            raise Disconnected from None
        raise
    finally:
        is_over = True  # a callback that is already scheduled cannot be removed
        if link is not None:
            link.unwatch()
        if is_disconnected:
            task.uncancel()
        elif watch is not None and not watch.done():
            watch.cancel()
            await asyncio.wait([watch])


def _watch(receive: Receive, stop: Callable[[], None]) -> asyncio.Task[None]:
    """Call ``stop`` when the client disconnects, or when ``receive`` fails."""

    def ended(watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            watch.exception()  # a failure of ``receive`` means a disconnect too
            stop()

    watch = asyncio.ensure_future(disconnected(receive))
    watch.add_done_callback(ended)
    return watch


async def disconnected(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def run_now(work: Awaitable[None]) -> None:
    """Run a coroutine that does not wait, without a task. Raise RuntimeError if the coroutine waits."""
    coroutine = cast("Coroutine[Any, Any, None]", work)
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("a coroutine waits that must not wait")
