"""Server-sent events, split incrementally (WHATWG HTML, 9.2.6), with each event's bytes kept as they came."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from clients.errors import Service, UpstreamError

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""An event larger than this is no token: the stream is given up."""

_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST_BOUNDARY = 4
_LINE = re.compile(rb"\r\n|\n|\r")


class SseEvent(msgspec.Struct, frozen=True):
    """One event. ``raw`` is its bytes as they came, the closing blank line included; ``data`` its joined data lines."""

    raw: bytes
    event: str
    data: bytes


async def sse_events(chunks: AsyncIterator[bytes], service: Service) -> AsyncIterator[SseEvent]:
    """Split a byte stream into events that have data. What stands before a boundary that never comes is dropped.

    Raises:
        UpstreamError: reason ``DECODE``, when one event outgrows ``MAX_EVENT_BYTES``.
    """
    buffer = bytearray()
    async for chunk in chunks:
        seen = max(0, len(buffer) - _LONGEST_BOUNDARY + 1)
        buffer += chunk
        while match := _BOUNDARY.search(buffer, seen):
            raw, seen = bytes(buffer[: match.end()]), 0
            del buffer[: match.end()]
            if (event := _parse(raw)) is not None:
                yield event
        if len(buffer) > MAX_EVENT_BYTES:
            raise UpstreamError("A stream event is too large.", reason="DECODE", service=service, can_retry=False)


def _parse(raw: bytes) -> SseEvent | None:
    name, data = "message", []
    for line in _LINE.split(raw):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return SseEvent(raw, name, b"\n".join(data)) if data else None
