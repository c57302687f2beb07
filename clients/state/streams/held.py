"""The streams that this replica holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from clients.state.errors import StateUnavailable
from clients.state.streams.backend import LogBackend
from clients.state.streams.listeners import StreamListener
from clients.state.streams.liveness import Liveness
from clients.state.streams.records import Append, Appended, AppendStatus, Lease

BATCH = 256
"""The maximum number of streams that are checked together."""

RENEWALS = 3
"""The number of times that a running stream is renewed before the stream would expire."""


class _Held:
    """A stream that this replica holds.

    Attributes:
        length: the number of entries that the store has acknowledged.
        stored_at: when the store last answered for the stream.
        renewed_at: when the stream's expiry was last postponed.
        readers: the replicas that have registered readers, dead replicas included.
        reported: the number of other living replicas with readers, as the listener knows it.
    """

    __slots__ = ("lease", "length", "readers", "renewed_at", "reported", "stored_at")

    def __init__(self, lease: Lease, length: int, now: float) -> None:
        self.lease = lease
        self.length = length
        self.stored_at = self.renewed_at = now
        self.readers: frozenset[str] = frozenset()
        self.reported = 0


class HeldStreams:
    """Renews the leases of this replica, and reports what other replicas have changed.

    ``listener`` is ``None`` until ``StreamStore.listen``.
    """

    def __init__(self, backend: LogBackend, liveness: Liveness, clock: Callable[[], float] = time.monotonic) -> None:
        self.listener: StreamListener | None = None
        self._backend = backend
        self._liveness = liveness
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._unread: dict[str, bool] = {}
        self._reading: asyncio.Task[None] | None = None

    def add(self, lease: Lease, length: int) -> None:
        """Add a stream that this replica holds from now on, or that the store has lost."""
        earlier = self._held.get(lease.stream_id)
        held = self._held[lease.stream_id] = _Held(lease, length, self._clock())
        if earlier is not None:
            held.readers, held.reported = earlier.readers, earlier.reported

    def drop(self, stream_id: str) -> None:
        """Remove a stream that this replica no longer holds."""
        self._held.pop(stream_id, None)

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def leases(self) -> list[Lease]:
        """The leases of all streams."""
        return [held.lease for held in self._held.values()]

    def may_restore(self, stream_id: str) -> bool:
        """Return whether no other replica can have taken over a stream that the store has lost."""
        held = self._held.get(stream_id)
        return held is not None and not self._liveness.has_slept_since(held.stored_at)

    def answered(self, append: Append, answer: Appended) -> Appended:
        """Record the store's answer to an append, and return what the answer means for this replica.

        If the store has lost a stream, and this process was suspended meanwhile, another replica may have taken the
        stream over. The answer is then ``FENCED``.
        """
        stream_id = append.lease.stream_id
        held = self._held.get(stream_id)
        if held is None or held.lease.token != append.lease.token:
            return answer
        if answer.status is AppendStatus.STORED:
            held.length, held.stored_at = answer.length, self._clock()
            if append.outcome is not None:
                self.drop(stream_id)
        elif answer.status is AppendStatus.MISSING and not self.may_restore(stream_id):
            answer = Appended(AppendStatus.FENCED, answer.length)
        if answer.status is AppendStatus.FENCED:
            self.drop(stream_id)
        return answer

    # Renewal

    async def renew(self) -> None:
        """Postpone the expiry of streams that would otherwise expire."""
        now = self._clock()
        oldest = now - self._backend.limits.running / RENEWALS
        await self._check([held for held in self._held.values() if held.renewed_at <= oldest])

    async def check_all(self) -> None:
        """Check all streams, and read which replicas have readers. The store or messages may have been lost."""
        await self._backend.hold(self.leases)
        await self._check(list(self._held.values()))
        for stream_id in self._held:
            self._unread.setdefault(stream_id, True)
        await self._read_attendance()

    async def _check(self, streams: list[_Held]) -> None:
        for start in range(0, len(streams), BATCH):
            batch = streams[start : start + BATCH]
            now = self._clock()
            appends = [Append(lease=held.lease, after=held.length) for held in batch]
            answers = await self._backend.append(appends, renews=True)
            for held, append, answer in zip(batch, appends, answers, strict=True):
                if self._held.get(held.lease.stream_id) is held:
                    held.renewed_at = now
                    self._report(append, self.answered(append, answer))

    def _report(self, append: Append, answer: Appended) -> None:
        if (listener := self.listener) is None:
            return
        stream_id = append.lease.stream_id
        match answer.status:
            case AppendStatus.FENCED:
                listener.fenced(stream_id)
            case AppendStatus.MISSING | AppendStatus.BEHIND:
                listener.missing(stream_id)
            case _ if answer.is_cancelled:
                listener.cancel_requested(stream_id)
            case _:
                pass

    # What other replicas report

    def cancelled(self, stream_id: str) -> None:
        """Report that a client has cancelled a stream."""
        if stream_id in self._held and self.listener is not None:
            self.listener.cancel_requested(stream_id)

    def attended(self, stream_id: str, *, may_return: bool) -> None:
        """Read which replicas have readers of a stream, since the set has changed.

        Messages of different replicas can arrive in any order. So the messages only say that something has changed, and
        one task reads the sets.
        """
        if stream_id in self._held:
            self._unread[stream_id] = may_return
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_unread())

    def report_readers(self, stream_id: str) -> None:
        """Report the readers of a stream, even if their number has not changed."""
        if (held := self._held.get(stream_id)) is not None:
            held.reported = 0
            self.attended(stream_id, may_return=True)

    async def _read_unread(self) -> None:
        try:
            with suppress(StateUnavailable):  # ``check_all`` follows
                await self._read_attendance()
        finally:
            self._reading = None

    async def _read_attendance(self) -> None:
        while self._unread:
            unread, self._unread = self._unread, {}
            streams = [(held, may_return) for one, may_return in unread.items() if (held := self._held.get(one))]
            for start in range(0, len(streams), BATCH):
                batch = streams[start : start + BATCH]
                found = await asyncio.gather(
                    *(self._backend.attendance(held.lease.owner, held.lease.stream_id) for held, _ in batch)
                )
                for (held, may_return), attendance in zip(batch, found, strict=True):
                    if attendance is not None:
                        held.readers = attendance.replicas
                        self._count(held, may_return=may_return)

    def count_readers(self) -> None:
        """Count the readers again, since replicas have started or crashed. A dead replica's readers may return."""
        for held in list(self._held.values()):
            if held.readers:
                self._count(held, may_return=True)

    def others(self, replicas: Iterable[str]) -> int:
        """Return how many of the replicas live, without this replica. Unknown replicas are new, and live."""
        return len(set(replicas) - self._liveness.dead - {self._backend.replica})

    def _count(self, held: _Held, *, may_return: bool) -> None:
        count = self.others(held.readers)
        if count != held.reported:
            held.reported = count
            if self.listener is not None:
                self.listener.readers_changed(held.lease.stream_id, count, may_return=may_return)

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
