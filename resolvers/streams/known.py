"""The streams that an owner has, for a task that waits for new streams."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from clients.errors import UpstreamUnavailable
from clients.origin import Owner
from resolvers.streams.registry import StreamRegistry
from resolvers.streams.sharing import Sharing
from resolvers.streams.stream import Stream


class KnownStreams:
    """A context manager that keeps a list of an owner's streams up to date.

    ``sharing`` finds the streams of other replicas. A stream that has not begun is followed until its first event.
    """

    def __init__(self, registry: StreamRegistry, owner: Owner, sharing: Sharing | None) -> None:
        self.owner = owner
        self._registry = registry
        self._sharing = sharing
        self._elsewhere: list[Stream] = []
        self._opening: dict[str, ExitStack] = {}

    def __enter__(self) -> Self:
        if self._sharing is not None:
            self._sharing.known(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._sharing is not None:
            self._sharing.unknown(self)
        for following in self._opening.values():
            following.close()

    @property
    def streams(self) -> list[Stream]:
        """The owner's streams, oldest first."""
        here = self._registry.of(self.owner)
        if not self._elsewhere:
            return here
        found = {stream.id: stream for stream in [*self._elsewhere, *here]}
        return sorted(found.values(), key=lambda stream: stream.started_at)

    async def refresh(self) -> None:
        """Read the list of other replicas' streams. If the store is unavailable, the list stays the same."""
        if self._sharing is None:
            return
        try:
            found = await self._sharing.of(self.owner)
        except UpstreamUnavailable:
            return
        self._elsewhere = [stream for stream in found if stream.is_mirrored]
        opening = {stream.id: stream for stream in self._elsewhere if not stream.begun and not stream.log.is_closed}
        for stream_id in self._opening.keys() - opening.keys():
            self._opening.pop(stream_id).close()
        for stream_id in opening.keys() - self._opening.keys():
            self._opening[stream_id] = ExitStack()
            self._opening[stream_id].enter_context(self._sharing.mirrors.following(opening[stream_id]))
