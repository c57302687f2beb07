"""A reader's attachment to a stream, as a context."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from resolvers.streams.stream import Stream, StreamRequest


class Attaching(Protocol):
    """The parts of ``StreamHub`` that a reader's attachment uses."""

    def find_or_start(self, request: StreamRequest) -> tuple[Stream, bool]:
        """Return the stream of the request's key, or a new one, and whether it is new."""

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Count a reader. Raises RateLimited."""

    def detach(self, stream: Stream) -> None:
        """Remove a reader."""

    async def opened(self, stream: Stream) -> None:
        """Wait until the stream opens, one heartbeat at most. Raises GatewayError if the upstream refuses."""


class Attached(AbstractAsyncContextManager[Stream]):
    """Attaches a reader to a stream. A class: a generator takes four times its memory, for as long as it reads."""

    __slots__ = ("_hub", "_reads", "_stream")

    def __init__(self, hub: Attaching, stream: Stream, *, reads: bool) -> None:
        self._hub = hub
        self._stream = stream
        self._reads = reads

    async def __aenter__(self) -> Stream:
        self._hub.attach(self._stream, reads=self._reads)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)


class Starting(AbstractAsyncContextManager[Stream]):
    """Starts a stream, or finds the one that its key has started, and attaches a reader. See ``StreamHub.start``."""

    __slots__ = ("_hub", "_request", "_stream")

    _stream: Stream

    def __init__(self, hub: Attaching, request: StreamRequest) -> None:
        self._hub = hub
        self._request = request

    async def __aenter__(self) -> Stream:
        request = self._request
        del self._request  # it keeps the request's body
        self._stream, is_new = self._hub.find_or_start(request)
        reads, on_reuse = request.reads, None if is_new else request.on_reuse
        del request
        self._hub.attach(self._stream, reads=reads)
        try:
            await self._hub.opened(self._stream)
            if on_reuse is not None:
                await on_reuse()
        except BaseException:
            self._hub.detach(self._stream)
            raise
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)
