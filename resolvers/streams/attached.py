"""A reader's stay at a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from resolvers.streams.stream import Stream


class Attaching(Protocol):
    """Counts the readers of streams: ``StreamHub`` does."""

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Count a reader. Raises RateLimited."""

    def detach(self, stream: Stream) -> None:
        """Count a reader no longer."""

    async def opened(self, stream: Stream) -> None:
        """Wait until the stream begins, one heartbeat at most. Raises GatewayError where the upstream refuses."""


class Attached(AbstractAsyncContextManager[Stream]):
    """A reader of a stream, as a context. A class: a generator takes four times its memory, for as long as it reads."""

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
    """A reader of a stream that it starts, or attaches to, when the context is entered. See ``StreamHub.started``."""

    __slots__ = ("_begin", "_hub", "_on_reuse", "_reads", "_stream")

    _stream: Stream

    def __init__(
        self,
        hub: Attaching,
        begin: Callable[[], tuple[Stream, bool]],
        *,
        reads: bool,
        on_reuse: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._hub = hub
        self._begin = begin
        self._reads = reads
        self._on_reuse = on_reuse

    async def __aenter__(self) -> Stream:
        self._stream, is_new = self._begin()
        on_reuse = None if is_new else self._on_reuse
        del self._begin, self._on_reuse  # they keep the request
        self._hub.attach(self._stream, reads=self._reads)
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
