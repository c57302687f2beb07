"""Recognizes chunks that differ from an earlier chunk only in the text of their delta.

Almost all chunks of a streamed answer have the same bytes before and after the text. Only the texts of such chunks are
decoded, which takes a tenth of the time.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from clients.decode import UNREADABLE
from clients.litellm.chunks import Chunk
from clients.sse import SseEvent

_PROBE = "probe \u2192 text"
_STARTS = (b'"content":"', b'"content": "', b'"reasoning_content":"', b'"reasoning_content": "')
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TEXT, _TEXTS = msgspec.json.Decoder(str), msgspec.json.Decoder(list[str])
_FIELD, _END = b"data: ", b"\n\n"

FREE_TRIES = 4
"""The number of chunks from which a stream makes a template. A stream's first chunks have more fields."""

_WORTH = 16
"""A template that has recognized this many chunks permits another try."""


class Run(NamedTuple):
    """Consecutive chunks that a template has recognized.

    ``parts`` are the encoded texts, and ``end`` is the position after the last chunk.
    """

    texts: list[str]
    parts: list[bytes]
    end: int


class DeltaTemplate:
    """The bytes that a stream's chunks have before and after the text of their delta.

    ``is_reasoning`` is whether the text is reasoning.
    """

    __slots__ = ("_after", "_before", "_tries", "_used", "is_reasoning")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._tries, self._used = FREE_TRIES, 0
        self.is_reasoning = False

    def begins(self, body: bytes, start: int) -> bool:
        """Return whether ``run`` can recognize the event at a position."""
        return bool(self._before) and body.startswith(self._before, start)

    def run(self, body: bytes, start: int) -> Run | None:
        """Return the chunks at a position that differ from the learned chunk only in their text.

        Return ``None`` if the next chunk is different, or if a text in the run is empty or cannot be decoded.

        Args:
            body: complete events, whose lines end with LF.
            start: the position of an event for which ``begins`` is true.
        """
        before, after = self._before, self._after
        at, end = start + len(before), len(body) - len(after)
        if (
            at <= end == body.find(after, at)
        ):  # most often, one chunk has arrived; the search below takes three times as long
            return self._one(body[at:end], len(body))
        parts = body[start + len(before) :].split(after + before)
        last = parts[-1].find(after)
        if last >= 0:
            parts[-1] = parts[-1][:last]
        else:
            parts.pop()
        if b'"' in b"".join(parts):
            quoted = next(at for at, part in enumerate(parts) if b'"' in part)
            del parts[max(1, quoted) :]
        if not parts:
            return None
        # without quotation marks in the parts, each element of the list is exactly one part
        encoded = b'["' + b'","'.join(parts) + b'"]'
        if b"\n" in encoded:
            return None
        try:
            texts = _TEXTS.decode(encoded)
        except UNREADABLE:
            return None
        if len(texts) != len(parts) or not all(texts):
            return None
        self._used += len(texts)
        size = sum(map(len, parts)) + (len(before) + len(after)) * len(parts)
        return Run(texts, parts, start + size)

    def _one(self, part: bytes, end: int) -> Run | None:
        if b'"' in part or b"\n" in part:
            return None
        try:
            text = _TEXT.decode(b'"%b"' % part)
        except UNREADABLE:
            return None
        if not text:
            return None
        self._used += 1
        return Run([text], [part], end)

    def raw(self, part: bytes) -> bytes:
        """Return the bytes of the chunk whose text is encoded as ``part``."""
        return self._before + part + self._after

    def learn(self, event: SseEvent, chunk: Chunk, decode: Callable[[SseEvent], Chunk | None]) -> None:
        """Make a template of a chunk that has only text. A chunk with another text proves the template."""
        if self._used >= _WORTH:
            self._tries, self._used = self._tries + 1, 0
        is_plain = event.raw == _FIELD + event.data + _END
        if self._tries <= 0 or not is_plain or not _is_text_only(chunk):
            return
        self._tries -= 1
        self._before = b""
        data = event.data
        for start in _STARTS:
            at = data.find(start)
            if at < 0 or data.find(start, at + 1) >= 0:
                continue
            at += len(start)
            ends = _STRING.match(data, at)
            if ends is None:
                continue
            before, after = data[:at], data[ends.end() - 1 :]
            probed = decode(SseEvent(b"", "message", before + _PROBE.encode() + after))
            if probed is not None and (found := _replaced(chunk, probed)) is not None:
                self._before, self._after, self.is_reasoning = _FIELD + before, after + _END, found
                return


def _is_text_only(chunk: Chunk) -> bool:
    """Return whether a chunk has only text or only reasoning, of the first choice."""
    if len(chunk.choices) != 1 or chunk.has_usage or chunk.error is not None:
        return False
    [choice] = chunk.choices
    return (
        choice.index == 0
        and not choice.calls
        and choice.finish_reason is None
        and bool(choice.text) != bool(choice.reasoning)
    )


def _replaced(chunk: Chunk, probed: Chunk) -> bool | None:
    """Return ``None`` unless the chunks differ only in their text. Otherwise, return whether the text is reasoning."""
    [choice] = chunk.choices
    is_reasoning = bool(choice.reasoning)
    change = {"reasoning": _PROBE} if is_reasoning else {"text": _PROBE}
    expected = msgspec.structs.replace(chunk, choices=[msgspec.structs.replace(choice, **change)])
    return is_reasoning if probed == expected else None
