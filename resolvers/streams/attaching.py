"""Attaches readers to streams."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from clients.codes import Reason
from clients.errors import Conflict
from resolvers.streams.registry import reused
from resolvers.streams.stream import Stream, StreamRequest

_EVICTED = (
    "The stream with this key has ended and was evicted from memory. To execute the request again, use a new key."
)


def attaches(request: StreamRequest, earlier: Stream) -> bool:
    """Return whether a request attaches to the earlier stream with the request's key.

    Raises:
        Conflict: reason ``KEY_REUSED``, or ``ANSWER_DROPPED``.
    """
    if earlier.fingerprint != request.fingerprint:
        raise reused()
    if earlier.is_restarted_by(restarts=request.restarts):
        return False
    if earlier.evicted:
        raise Conflict(_EVICTED, reason=Reason.ANSWER_DROPPED)
    return True


class Hub(Protocol):
    """Attaches and detaches readers. ``StreamHub`` has the descriptions."""

    async def find_or_start(self, request: StreamRequest) -> tuple[Stream, bool]:
        """Find the stream with the request's key, or start a stream."""

    async def opened(self, stream: Stream) -> None:
        """Wait until the service accepts the request."""

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Add a reader to a stream."""

    def detach(self, stream: Stream) -> None:
        """Remove a reader from a stream."""


class Attached(AbstractAsyncContextManager[Stream]):
    """A context manager that attaches a reader to a stream. A generator function would use four times the memory."""

    __slots__ = ("_hub", "_reads", "_stream")

    def __init__(self, hub: Hub, stream: Stream, *, reads: bool) -> None:
        self._hub = hub
        self._stream = stream
        self._reads = reads

    async def __aenter__(self) -> Stream:
        self._hub.attach(self._stream, reads=self._reads)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)


class Starting(Attached):
    """A context manager that starts a stream or attaches to the stream with the request's key."""

    __slots__ = ("_request",)

    def __init__(self, hub: Hub, request: StreamRequest) -> None:
        self._hub = hub
        self._request = request

    async def __aenter__(self) -> Stream:
        request = self._request
        del self._request  # releases the request's body
        self._stream, is_new = await self._hub.find_or_start(request)
        reads, on_reuse = request.reads, None if is_new else request.on_reuse
        del request
        self._hub.attach(self._stream, reads=reads)
        try:
            await self._hub.opened(self._stream)
            if on_reuse is not None:
                await on_reuse()
        except BaseException:  # including a cancellation
            self._hub.detach(self._stream)
            raise
        return self._stream
