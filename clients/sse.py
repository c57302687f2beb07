"""Parses server-sent events incrementally (WHATWG HTML, 9.2.6). The parser keeps each event's bytes."""

import re
from collections.abc import AsyncIterator

import msgspec

from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import Service, UpstreamError

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The maximum size of a server-sent event, in bytes.

A generated image is one event of several megabytes (docs/limits.md).
"""

MAX_EVENT_PARTS = 50_000
"""The maximum number of lines or JSON objects in a server-sent event.

Each line and each object takes time to decode.
"""

_COUNTED_BYTES = 64 * 1024
_BOUNDARY = re.compile(rb"\n\r?\n|\r\r")
_LONGEST_BOUNDARY = 3
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_JSON = msgspec.json.Decoder(msgspec.Raw)


class SseEvent(msgspec.Struct, frozen=True):
    """A server-sent event.

    ``raw`` is the event's bytes, including the final blank line. ``data`` is the joined data lines.
    """

    raw: bytes
    event: str
    data: bytes


async def sse_events(chunks: AsyncIterator[bytes], service: Service) -> AsyncIterator[SseEvent]:
    """Split a byte stream into server-sent events. Omit events without data.

    The last event needs no blank line if the body ends after a whole line, or after complete data. The missing line
    ends are added to ``raw``. Raises UpstreamError (``TOO_LARGE``) for an event over ``MAX_EVENT_BYTES`` or
    ``MAX_EVENT_PARTS``.
    """
    buffer = bytearray()
    async for chunk in chunks:
        if not buffer and (only := _one(chunk)) is not None:
            yield only
            continue
        seen = max(0, len(buffer) - _LONGEST_BOUNDARY + 1)
        buffer += chunk
        while match := _BOUNDARY.search(buffer, seen):
            raw, seen = bytes(buffer[: match.end()]), 0
            del buffer[: match.end()]
            if _has_too_many_parts(raw):
                raise _too_large(service)
            if (event := _parse(raw)) is not None:
                yield event
        if len(buffer) > MAX_EVENT_BYTES:
            raise _too_large(service)
    rest = bytes(buffer)
    if _has_too_many_parts(rest):
        raise _too_large(service)
    if (event := _last(rest)) is not None:
        yield event


def _one(chunk: bytes) -> SseEvent | None:
    """Parse a chunk that has only one ``data`` line and a blank line. This is three times as fast as ``_parse``."""
    if chunk[:6] != b"data: " or chunk[-2:] != b"\n\n" or len(chunk) > _COUNTED_BYTES:
        return None
    is_one = chunk.find(b"\n") == len(chunk) - 2 and b"\r" not in chunk
    return SseEvent(chunk, "message", chunk[6:-2]) if is_one else None


def _has_too_many_parts(raw: bytes) -> bool:
    return len(raw) > _COUNTED_BYTES and any(raw.count(mark) > MAX_EVENT_PARTS for mark in (b"{", b"\n", b"\r"))


def _too_large(service: Service) -> UpstreamError:
    return UpstreamError(
        "The answer contains an event that is too large to decode. Request a shorter answer.",
        reason=Reason.TOO_LARGE,
        service=service,
        can_retry=False,
        unconfirmed=True,
    )


def _last(rest: bytes) -> SseEvent | None:
    ended = rest.endswith((b"\n", b"\r"))
    event = _parse(rest + (b"\n" if ended else b"\n\n"))
    return event if event is not None and (ended or _is_whole(event.data)) else None


def _is_whole(data: bytes) -> bool:
    try:
        _JSON.decode(data)
    except UNREADABLE:
        return data == b"[DONE]"
    return True


def _parse(raw: bytes) -> SseEvent | None:
    name, data = "message", []
    for line in _LINE.split(raw.removeprefix(_BOM)):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return SseEvent(raw, name, b"\n".join(data)) if data else None
