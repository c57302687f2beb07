"""A reader's stay at a stream."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from resolvers.streams.stream import Stream

if TYPE_CHECKING:
    from resolvers.streams.hub import StreamHub


class Attached(AbstractAsyncContextManager[Stream]):
    """A reader of a stream, as a context. A class: a generator takes four times its memory, for as long as it reads."""

    __slots__ = ("_hub", "_reads", "_stream")

    def __init__(self, hub: StreamHub, stream: Stream, *, reads: bool) -> None:
        self._hub = hub
        self._stream = stream
        self._reads = reads

    async def __aenter__(self) -> Stream:
        self._hub.attach(self._stream, reads=self._reads)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)
