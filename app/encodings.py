"""Decodes compressed request bodies (RFC 9110, 8.4), and limits the decoded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from clients.codes import Reason
from clients.errors import BadUserInput, UnsupportedEncoding

ACCEPTED = "gzip, deflate"
"""The supported content codings, as a value of ``Accept-Encoding``."""

MAX_CODINGS = 3
"""Maximum number of content codings of one request body. Each coding takes 32 KiB of memory."""

_ALIASES = {"x-gzip": "gzip"}

_SLICE = 4096
"""Maximum number of bytes that zlib receives in one call, because zlib copies all bytes after a gzip member's end."""


class DecodedTooLarge(Exception):
    """Raised if a decoded request body exceeds the size limit."""


class Decoder:
    """Decodes one request body, which can have several content codings.

    Args:
        codings: the values of ``Content-Encoding``, in the order of their headers.
        limit: the maximum number of bytes after the decoding of each content coding.

    Raises:
        UnsupportedEncoding: a coding is not supported, or there are more than ``MAX_CODINGS``.
    """

    def __init__(self, codings: Iterable[str], *, limit: int) -> None:
        names = [name.strip().lower() for value in codings for name in value.split(",")]
        applied = [_ALIASES.get(name, name) for name in names if name not in {"", "identity"}]
        unknown = next((name for name in applied if name not in {"gzip", "deflate"}), None)
        if unknown is not None:
            raise _unsupported(f"The Content-Encoding {unknown[:40]!a} is not supported. Use gzip or deflate.")
        if len(applied) > MAX_CODINGS:
            raise _unsupported(f"The request body has more than {MAX_CODINGS} content codings. Use fewer codings.")
        self._stages = [_Stage(name, limit) for name in reversed(applied)]

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes of the request body.

        Raises:
            BadUserInput: the data is corrupt.
            DecodedTooLarge: the decoded body exceeds the limit.
        """
        for stage in self._stages:
            data = stage.feed(data)
        return data

    def close(self) -> None:
        """Raise BadUserInput if the encoded body is incomplete. An empty body is allowed."""
        for stage in self._stages:
            stage.close()


class _Stage:
    """Decodes one content coding.

    gzip data may have several members, and zeros as padding after the last member.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._left = limit
        self._inflate: zlib._Decompress | None = None
        self._undecided = b""
        self._members = 0

    def feed(self, data: bytes) -> bytes:
        decoded = bytearray()
        for start in range(0, len(data), _SLICE):
            self._decode(data[start : start + _SLICE], decoded)
        return bytes(decoded)

    def _decode(self, data: bytes, decoded: bytearray) -> None:
        data, self._undecided = self._undecided + data, b""
        while data:
            if self._inflate is None:
                if len(data) < 2:  # the first two bytes determine the format
                    self._undecided = data
                    break
                if self._members and self._is_padding(data):
                    break
                self._inflate = zlib.decompressobj(_window_bits(self._name, data))
            data = self._inflated(self._inflate, data, decoded)

    def close(self) -> None:
        if self._inflate is not None or (self._undecided and not self._members):
            raise self._corrupt("ends too early")
        if self._undecided:
            self._is_padding(self._undecided)

    def _inflated(self, inflate: zlib._Decompress, data: bytes, decoded: bytearray) -> bytes:
        """Decode data and append the result to ``decoded``. Return the bytes after the gzip member's end."""
        try:
            piece = inflate.decompress(data, self._left + 1)
        except zlib.error as error:
            raise self._corrupt("is corrupt") from error
        decoded += piece
        self._left -= len(piece)
        if self._left < 0:
            raise DecodedTooLarge
        if not inflate.eof:
            return b""
        self._inflate = None
        self._members += 1
        return inflate.unused_data

    def _is_padding(self, data: bytes) -> bool:
        """Return whether the bytes after a gzip member are padding, and not another member.

        Raise BadUserInput if the bytes are neither.
        """
        if self._name == "gzip":
            if not data.strip(b"\0"):
                return True
            if b"\x1f\x8b".startswith(data[:2]) and len(data) > 1:
                return False
        raise self._corrupt("has bytes after its end")

    def _corrupt(self, what: str) -> BadUserInput:
        return BadUserInput(
            f"The gateway cannot decode the request body, because the {self._name} data {what}. Encode the body again.",
            reason=Reason.CONTENT_ENCODING,
        )


def _window_bits(name: str, data: bytes) -> int:
    """Return zlib's ``wbits`` argument for a content coding.

    Some clients send deflate without the zlib header that RFC 9110 requires.
    """
    if name == "gzip":
        return 16 + zlib.MAX_WBITS
    has_header = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def _unsupported(message: str) -> UnsupportedEncoding:
    return UnsupportedEncoding(message, reason=Reason.CONTENT_ENCODING)
