"""Parses server-sent events incrementally (WHATWG HTML, 9.2.6). The parser keeps each event's bytes."""

import re
from collections.abc import AsyncGenerator, AsyncIterator

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
_COPIED_BYTES = 4 * 1024
"""The maximum size of an incomplete event that is copied when more bytes arrive. Copying is linear in this size."""

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


class SseSplitter:
    """Splits a body into server-sent events. Events without data are omitted.

    ``error`` is set if an event is over ``MAX_EVENT_BYTES`` or ``MAX_EVENT_PARTS``. No events follow the error.
    """

    __slots__ = ("_rest", "_seen", "_service", "error")

    def __init__(self, service: Service) -> None:
        self.error: UpstreamError | None = None
        self._service = service
        self._rest: bytes | bytearray = b""
        self._seen = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that are complete with the body's next bytes."""
        body = self.take(chunk)
        return self._searched(chunk) if body is None else self.events(body)

    def take(self, chunk: bytes) -> bytes | None:
        """Return all complete events' bytes, if all lines end with LF, and no two blank lines follow each other.

        Otherwise, return ``None``, and change nothing. ``events`` parses the bytes.
        """
        if len(self._rest) >= _COPIED_BYTES:
            return None
        body = bytes(self._rest) + chunk if self._rest else chunk
        if b"\r" in body or b"\n\n\n" in body:
            return None
        end = body.rfind(b"\n\n") + 2
        if end == 1:  # no event is complete
            end = 0
        if len(body) - end > _COUNTED_BYTES:
            return None
        self._rest, self._seen = body[end:], 0
        return body[:end]

    def events(self, body: bytes) -> list[SseEvent]:
        """Parse the bytes of complete events that ``take`` has returned.

        Events that have only one ``data`` line, and at most one ``event`` line before it, are parsed four times as fast
        as others.
        """
        found: list[SseEvent] = []
        for block in body.split(b"\n\n")[:-1]:
            name, line = "message", block
            if block[:7] == b"event: ":
                head, _, line = block.partition(b"\n")
                name = head[7:].decode("utf-8", "replace")
            if line[:6] != b"data: " or b"\n" in line or len(block) > _COUNTED_BYTES:
                rest, self._rest = self._rest, b""
                found = self._searched(body)
                self._rest = rest
                return found
            found.append(SseEvent(block + b"\n\n", name, line[6:]))
        return found

    def _searched(self, chunk: bytes) -> list[SseEvent]:
        found: list[SseEvent] = []
        rest = self._rest = self._rest if isinstance(self._rest, bytearray) else bytearray(self._rest)
        rest += chunk
        while match := _BOUNDARY.search(rest, self._seen):
            raw, self._seen = bytes(rest[: match.end()]), 0
            del rest[: match.end()]
            if _has_too_many_parts(raw):
                self.error = _too_large(self._service)
                return found
            if (event := _parse(raw)) is not None:
                found.append(event)
        self._seen = max(0, len(rest) - _LONGEST_BOUNDARY + 1)
        if not rest:
            self._rest = b""  # an empty ``bytearray`` uses more memory
        if len(rest) > MAX_EVENT_BYTES:
            self.error = _too_large(self._service)
        return found

    def end(self) -> list[SseEvent]:
        """Return the last event, if the body ends after a whole line, or after complete data.

        The missing line ends are added to ``raw``.
        """
        rest, self._rest = bytes(self._rest), b""
        if _has_too_many_parts(rest):
            self.error = _too_large(self._service)
            return []
        event = _last(rest)
        return [] if event is None else [event]


async def sse_events(chunks: AsyncIterator[bytes], service: Service) -> AsyncGenerator[SseEvent]:
    """Split a byte stream into server-sent events. Raises UpstreamError (``TOO_LARGE``), see ``SseSplitter``."""
    splitter = SseSplitter(service)
    async for chunk in chunks:
        for event in splitter.feed(chunk):
            yield event
        if splitter.error is not None:
            raise splitter.error
    for event in splitter.end():
        yield event
    if splitter.error is not None:
        raise splitter.error


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
