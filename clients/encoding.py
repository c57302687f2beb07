"""Content-Encoding of upstream answers. gzip and deflate are decoded, although the gateway requests no encoding."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

_PIECE_BYTES = 64 * 1024
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class EncodingUnreadable(Exception):
    """The encoding is unknown, or the body is not valid in it."""


class TooLarge(EncodingUnreadable):
    """The body is over a limit."""

    def __init__(self, most: int, what: str = "bytes") -> None:
        super().__init__(f"more than {most:,} {what}")


def decoded(
    chunks: AsyncIterator[bytes], headers: Mapping[str, str], *, limit: int | None = None
) -> AsyncIterator[bytes]:
    """Decode the Content-Encoding of a body as it comes. A body that is not encoded is returned itself, of any size.

    Raises EncodingUnreadable: at once for an encoding other than gzip and deflate, later for a body that is corrupt,
    truncated or longer than ``limit`` (TooLarge).
    """
    names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
    names = [name for name in names if name not in {"", "identity"}]
    if not names:
        return chunks
    if len(names) > 1 or names[0] not in _FORMATS:
        raise EncodingUnreadable(f"content-encoding {','.join(names)[:40]}")
    return _inflated(chunks, _Inflater(_FORMATS[names[0]]), limit)


async def _inflated(chunks: AsyncIterator[bytes], inflater: _Inflater, limit: int | None) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in chunks:
        for piece in inflater.feed(chunk):
            total += len(piece)
            if limit is not None and total > limit:
                raise TooLarge(limit)
            yield piece
    if not inflater.complete:
        raise EncodingUnreadable("truncated")


class _Inflater:
    """Decompresses a body of one or several gzip members, or one zlib or raw deflate stream, in bounded pieces."""

    def __init__(self, format_: int) -> None:
        self._format = format_
        self._machine: Any = None
        self._started = False

    @property
    def complete(self) -> bool:
        """Whether the body may end here. An empty body is complete."""
        return self._machine is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress more of the body. Raises EncodingUnreadable."""
        more = bool(data)
        while more:
            if self._machine is None:
                if self._started and (self._format != _GZIP or not data.strip(b"\0")):
                    return  # padding after the end
                self._begin(data)
            try:
                piece = self._machine.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise EncodingUnreadable("corrupt") from error
            data, more = self._machine.unconsumed_tail, len(piece) == _PIECE_BYTES
            if self._machine.eof:
                data, more, self._machine = self._machine.unused_data, False, None
            more = more or bool(data)
            if piece:
                yield piece

    def _begin(self, data: bytes) -> None:
        format_ = self._format
        if format_ == _ZLIB and data[0] & 0x0F != zlib.DEFLATED:
            format_ = _RAW  # what some servers mean by deflate (RFC 9110, 8.4.1.2)
        self._machine, self._started = zlib.decompressobj(format_), True
