"""Decompresses services' answers. Some services send a Content-Encoding although the gateway requests no encoding."""

import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

_PIECE_BYTES = 64 * 1024
_SLICE_BYTES = 4096
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class EncodingUnreadable(Exception):
    """A response body cannot be decompressed."""


class TooLarge(EncodingUnreadable):
    """A response body exceeds the maximum size."""

    def __init__(self, most: int, what: str = "bytes") -> None:
        super().__init__(f"more than {most:,} {what}")


class _Inflater:
    """Decompresses gzip, zlib or raw deflate data in pieces of bounded size."""

    def __init__(self, format_: int) -> None:
        self._format = format_
        self._machine: Any = None
        self._started = False

    @property
    def complete(self) -> bool:
        """Whether the compressed body has arrived completely. An empty body is complete."""
        return self._machine is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress data. The data are fed in slices, since zlib copies what follows each of a body's gzip members."""
        for at in range(0, len(data), _SLICE_BYTES):
            yield from self._feed(data[at : at + _SLICE_BYTES])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        more = bool(data)
        while more:
            if self._machine is None:
                if self._started and (self._format != _GZIP or not data.strip(b"\0")):
                    return  # ignores padding after the end
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
            format_ = _RAW  # some servers send raw deflate (RFC 9110, 8.4.1.2)
        self._machine, self._started = zlib.decompressobj(format_), True


def decoded(
    chunks: AsyncIterator[bytes], headers: Mapping[str, str], *, limit: int | None = None
) -> AsyncIterator[bytes]:
    """Decompress a response body piece by piece.

    Raises EncodingUnreadable for an encoding other than gzip and deflate. Reading the body raises EncodingUnreadable if
    the body is corrupt or truncated, and TooLarge if the decoded body is longer than ``limit``. ``limit`` does not
    apply to a body without an encoding.
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
