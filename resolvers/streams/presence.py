"""Registers in the store which streams of other replicas this process reads."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from clients.origin import Owner
from clients.state.errors import StateUnavailable
from clients.state.streams.store import StreamStore
from resolvers.streams.stream import Stream


class Presence:
    """Tells the holders of streams whether this process has readers. The latest state is sent last."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._attended: set[str] = set()
        self._changed: dict[str, tuple[Owner, bool]] = {}
        self._task: asyncio.Task[None] | None = None

    def attend(self, stream: Stream) -> None:
        """Register that this process has readers of a stream."""
        self._attended.add(stream.id)
        self._change(stream.id, stream.owner)

    def leave(self, stream: Stream) -> None:
        """Register that this process has no more readers of a stream."""
        if stream.id in self._attended:
            self._attended.remove(stream.id)
            self._change(stream.id, stream.owner, may_return=stream.log.reader_may_return)

    async def aclose(self) -> None:
        """Stop. This process's registrations expire with the process's heartbeat."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _change(self, stream_id: str, owner: Owner, *, may_return: bool = False) -> None:
        self._changed[stream_id] = (owner, may_return)
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                await asyncio.gather(*(self._tell(stream_id, *facts) for stream_id, facts in changed.items()))
        finally:
            self._task = None

    async def _tell(self, stream_id: str, owner: Owner, may_return: bool) -> None:
        with suppress(StateUnavailable):  # the store tries again
            if stream_id in self._attended:
                await self._store.attend(owner, stream_id)
            else:
                await self._store.leave(owner, stream_id, may_return=may_return)
