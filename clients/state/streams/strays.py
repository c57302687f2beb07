"""Finds streams that the store lists for a replica which does not hold the streams."""

from __future__ import annotations

from collections.abc import Callable

from clients.errors import UpstreamError
from clients.origin import Owner
from clients.state.streams.backend import LogBackend
from clients.state.streams.held import HeldStreams
from clients.state.streams.records import StreamRecord, StreamState


class StrayStreams:
    """Finds streams that the store lists for this replica, although this replica does not hold the streams.

    A call whose answer was lost, or whose task was cancelled, leaves such a stream. Other replicas do not take the
    stream over, because this replica's heartbeat is valid.
    """

    def __init__(self, backend: LogBackend, held: HeldStreams, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._held = held
        self._clock = clock
        self._seen: dict[tuple[Owner, str], float] = {}

    async def find(self, listed: int) -> list[StreamRecord]:
        """Return streams that have been strays for a lease. In a shorter time, an answer can be on its way.

        Args:
            listed: the number of streams that the store lists for this replica.
        """
        if listed <= len(self._held):
            self._seen.clear()
            return []
        now = self._clock()
        listing = [place for place in await self._backend.listed() if place[1] not in self._held]
        self._seen = {place: self._seen.get(place, now) for place in listing}
        found: list[StreamRecord] = []
        for owner, stream_id in [one for one, since in self._seen.items() if now - since >= self._backend.limits.lease]:
            try:
                record = await self._backend.find(owner, stream_id)
            except UpstreamError:  # a different version of the gateway has continued the stream
                continue
            if record is None or record.holder != self._backend.replica or record.state is not StreamState.RUNNING:
                await self._backend.unlist(owner, stream_id)
            elif stream_id not in self._held:
                found.append(record)
        return found
