"""An HTTP answer while it is received."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from clients.encoding import TooLarge
from clients.http.messages import Failure, RawHeaders

MAX_BUFFERED = 64 * 1024
"""The number of unread bytes above which the client pauses reading from the connection.

The limit does not apply while ``read`` reads a whole body.
"""

_PARTS = 1024
"""The number of unread parts of a body above which the parts are joined.

Each part takes 40 bytes of memory in addition to its content.
"""


class Carrier(Protocol):
    """The connection that receives an answer."""

    def event(self) -> asyncio.Future[None]:
        """Return a future for the answer's next part, and start the timeouts."""

    def resume(self) -> None:
        """Read from the connection again, if reading is paused."""

    def abort(self) -> None:
        """Close the connection."""


class ReceivedAnswer:
    """An answer that a connection receives. Implements ``RawAnswer``.

    The connection is released as soon as the body has arrived, even if the body has not been read yet.
    """

    __slots__ = (
        "_buffered",
        "_carrier",
        "_chunks",
        "_failure",
        "_headers",
        "_joined",
        "_limit",
        "_waiter",
        "deadline",
        "status",
    )

    def __init__(self, carrier: Carrier, deadline: float) -> None:
        self.status = 0
        self.deadline = deadline
        self._headers: RawHeaders = []
        self._carrier: Carrier | None = carrier
        self._chunks: list[bytes] = []
        self._buffered = self._joined = 0
        self._limit = -1
        self._failure: Failure | None = None
        self._waiter: asyncio.Future[None] | None = None

    # Called by the connection.

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for the answer's next part."""
        return self._waiter is not None

    def begin(self, status: int, headers: RawHeaders) -> None:
        """Record that the head has arrived."""
        self.status = status
        self._headers = headers
        self._wake()

    def add(self, pieces: list[bytes]) -> None:
        """Store parts of the body that have arrived together."""
        self._chunks += pieces
        self._buffered += sum(map(len, pieces))

    def notify(self) -> bool:
        """Wake the reader after parts were added. Return whether the connection should pause reading."""
        if len(self._chunks) - self._joined > _PARTS:
            self._chunks[self._joined :] = [b"".join(self._chunks[self._joined :])]
            self._joined += 1
        if self._buffered <= self._limit:
            return False
        if self._buffered:
            self._wake()
        return self._buffered > MAX_BUFFERED

    def end(self, failure: Failure | None = None) -> None:
        """Record that the body is complete, or that no more of the answer will arrive."""
        self._carrier = None
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # Called by the reader.

    @property
    def has_ended(self) -> bool:
        """Whether no more of the answer will arrive."""
        return self._carrier is None

    def event(self) -> asyncio.Future[None]:
        """Return a future that ends when the next part has arrived. The answer must not have ended."""
        carrier = self._carrier
        if carrier is None:
            raise RuntimeError("The answer has ended, so no further part can be awaited.")
        self._waiter = waiter = carrier.event()
        return waiter

    def raise_failure(self) -> None:
        """Raise the answer's error, if the answer could not be received."""
        if self._failure is not None:
            raise self._failure.error()

    def abandon(self) -> None:
        """Close the connection, unless the body has arrived completely."""
        carrier, self._carrier = self._carrier, None
        self._chunks = []
        if carrier is not None:
            self._failure = Failure(httpx.ReadError, "The answer was closed before its end.")
            carrier.abort()
            self._wake()

    def take_headers(self) -> RawHeaders:
        """Return the answer's headers, and remove them from the answer to free memory."""
        headers, self._headers = self._headers, []
        return headers

    async def read(self, limit: int) -> bytes:
        """Read the whole body. Raises TooLarge if the body has more than ``limit`` bytes."""
        if self._carrier is not None:
            await self._rest(limit)
        if self._buffered > limit:
            self.abandon()
            raise TooLarge(limit)
        self.raise_failure()
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _rest(self, limit: int) -> None:
        self._limit = limit
        try:
            while self._carrier is not None and self._buffered <= limit:
                self._carrier.resume()
                await self.event()
        except BaseException:  # a cancellation also closes the connection
            self.abandon()
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._carrier is None:
                self.raise_failure()
                raise StopAsyncIteration
            await self.event()
        chunks, self._chunks, self._buffered, self._joined = self._chunks, [], 0, 0
        if self._carrier is not None:
            self._carrier.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def aclose(self) -> None:
        """Close the answer. If the body has not arrived completely, close the connection too."""
        self.abandon()
