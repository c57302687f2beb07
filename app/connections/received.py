"""A buffer for received bytes that are not parsed yet."""

from __future__ import annotations

_END_OF_HEAD = b"\r\n\r\n"
"""The bytes that end a request's head or a chunked body."""

_OVERLAP = len(_END_OF_HEAD) - 1
_SMALL_BYTES = 4096


class Received:
    """A buffer of received bytes that have not been parsed yet. ``count`` is the number of these bytes."""

    __slots__ = ("_at", "_before", "_data", "count")

    def __init__(self) -> None:
        self._data = self._before = b""
        self._at = self.count = 0

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._before = (self._before + self._data[max(0, self._at - _OVERLAP) : self._at])[-_OVERLAP:]
        self._data = self._data[self._at :] + data if self.count else data
        self._at, self.count = 0, len(self._data)

    def take(self, count: int) -> memoryview:
        """Remove and return the next ``count`` bytes."""
        begin, self._at = self._at, self._at + count
        self.count -= count
        taken = memoryview(self._data)[begin : self._at]
        if not self.count and self._at > _SMALL_BYTES:  # an idle connection must not keep a large buffer
            self._before, self._data, self._at = self._data[-_OVERLAP:], b"", 0
        return taken

    def free(self) -> None:
        """Free the buffer, except the last bytes, which can be the beginning of an empty line. ``count`` must be 0."""
        self._before = (self._before + self._data)[-_OVERLAP:]
        self._data, self._at = b"", 0

    def clear(self) -> None:
        """Discard all bytes."""
        self._data, self._at, self.count = b"", 0, 0

    def to_end_of_head(self) -> int:
        """Return the number of bytes up to the end of the next empty line.

        If there is no empty line, return ``count``. The empty line may begin in bytes that were taken before.
        """
        at, before = self._at, len(self._before)
        if at < _OVERLAP:
            joined = self._before + self._data[: at + _OVERLAP]
            found = joined.find(_END_OF_HEAD, max(0, before + at - _OVERLAP))
            if found >= 0:
                return found + len(_END_OF_HEAD) - before - at
        found = self._data.find(_END_OF_HEAD, max(0, at - _OVERLAP))
        return (len(self._data) if found < 0 else found + len(_END_OF_HEAD)) - at
