"""The streams of all replicas, as one replica uses them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from clients.origin import Owner
from clients.state.errors import StateUnavailable
from clients.state.news import News
from clients.state.streams.backend import RELEASED, Beat, LogBackend, Place
from clients.state.streams.follower import Following, LogFollower
from clients.state.streams.held import RENEWALS, HeldStreams
from clients.state.streams.listeners import Mirror, StreamListener, TurnNews
from clients.state.streams.liveness import Liveness
from clients.state.streams.messages import Attended, Cancelled, LogNews, Message, Released, Turned
from clients.state.streams.records import (
    Append,
    Appended,
    Lease,
    NewStream,
    Opened,
    OverLimit,
    OverQuota,
    Page,
    StreamRecord,
    Taken,
    Token,
)
from clients.state.streams.strays import StrayStreams

BEATS_PER_LEASE = 3
"""The number of heartbeats in a lease."""

ORPHANS = 512
"""The maximum number of a dead replica's streams that one heartbeat reports."""


class StreamStore:
    """The streams of all replicas, as one replica uses them.

    Every method that awaits raises StateUnavailable if Redis does not answer. Then the gateway does not know whether
    Redis has executed the method. Each method can be repeated: a repeated call does nothing a second time.

    Attributes:
        replica: this replica's id.
        is_checked: whether this replica has checked its streams since messages or entries may have been lost.
        may_lack_keys: whether the store has lost its data, so that the keys of dead replicas' streams can be missing.
    """

    def __init__(self, backend: LogBackend, news: News, clock: Callable[[], float] = time.monotonic) -> None:
        self.replica = backend.replica
        self._backend = backend
        self._liveness = Liveness(backend.limits.lease, clock)
        self._held = HeldStreams(backend, self._liveness, clock)
        self._strays = StrayStreams(backend, self._held, clock)
        self._follower = LogFollower(backend, self._broke, clock)
        self._news = LogNews(news, self.replica)
        self._clock = clock
        self._attended_at = clock()
        self._attending: set[tuple[Owner, str]] = set()
        self._left: set[tuple[Owner, str]] = set()
        self.is_checked = self.may_lack_keys = self._has_beaten = False
        self._is_draining = False
        self._soon = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None

    def start(self, listener: StreamListener) -> None:
        """Begin to send heartbeats, and report to a listener from now on."""
        self._held.listener = listener
        self._backend.on_available(self._check_soon)
        self._news.subscribe(self._hear, self._check_soon)
        self._beating = asyncio.create_task(self._beat_for_ever())

    async def aclose(self) -> None:
        """Stop the heartbeat, and stop following. Running streams that were not released become orphans at once."""
        self._is_draining = True
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._held.aclose()
        await self._follower.aclose()
        await self._backend.aclose()
        with suppress(StateUnavailable):
            await self._backend.retire()

    async def recovered(self, within: float) -> bool:
        """Wait until Redis can be used again, at most until ``within`` seconds after the failure.

        Return whether Redis can be used. If the failure is older, the method returns at once.
        """
        return await self._backend.recovered(within)

    # Streams and keys

    async def open(
        self, stream: NewStream, *, max_running: int, replacing: str | None = None
    ) -> Opened | Taken | OverLimit | OverQuota:
        """Claim the stream's key and create the stream, in one step.

        Args:
            stream: the stream.
            max_running: the maximum number of the owner's running streams on all replicas.
            replacing: the id of the earlier stream of the key that the new stream replaces. If the key belongs to a
                different stream meanwhile, the answer is ``Taken``.
        """
        answer = await self._backend.open(stream, max_running=max_running, replacing=replacing)
        if isinstance(answer, Opened):
            self._held.add(answer.lease, answer.record.length)
            if stream.conversation is not None:
                turn = TurnNews(stream.owner, stream.conversation, stream.id)
                self._news.tell_all(Turned(self.replica, turn))
        return answer

    async def restore(self, stream: NewStream, token: Token | None) -> tuple[Lease, int] | None:
        """Create the record of a stream that runs already, since the store was unavailable or has lost the record.

        The stream's key is claimed only if the key is free. The owner's limits are not checked. The store keeps the
        entries that this holder has appended before.

        Args:
            stream: the stream.
            token: the token of the stream's lease; ``None`` if the stream has no lease.

        Returns:
            The lease and the number of entries in the store, or ``None`` if another replica holds the stream.
        """
        if token is not None and not self._held.may_restore(stream.id):
            self._held.drop(stream.id)
            return None
        restored = await self._backend.restore(stream, token)
        if restored is None:
            self._held.drop(stream.id)
        else:
            self._held.add(*restored)
            self._held.attended(stream.id, may_return=True)
        return restored

    async def find(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Return the owner's stream with an id, or ``None``."""
        return await self._backend.find(owner, stream_id)

    async def at_key(self, owner: Owner, key: str) -> StreamRecord | None:
        """Return the stream that was started with the owner's key, or ``None``."""
        return await self._backend.at_key(owner, key)

    async def of(self, owner: Owner) -> list[StreamRecord]:
        """Return the owner's streams, oldest first. Evicted streams are left out."""
        return await self._backend.of(owner)

    async def remove(self, lease: Lease) -> None:
        """Remove a stream, with its entries, its key and its readers. A stale lease removes nothing."""
        self._held.drop(lease.stream_id)
        await self._backend.remove(lease)

    # Entries

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Append to several streams in one round trip. The answers have the order of ``appends``.

        The appends are independent of each other. Pass at most one append for each stream.
        """
        answers = await self._backend.append(appends)
        return [self._held.answered(one, answer) for one, answer in zip(appends, answers, strict=True)]

    async def read(self, owner: Owner, stream_id: str, after: int, count: int) -> Page | None:
        """Return at most ``count`` entries after a position, or ``None`` if these entries do not exist any more."""
        return await self._backend.read(Place(owner, stream_id, after), count)

    def follow(self, owner: Owner, stream_id: str, after: int, mirror: Mirror) -> Following:
        """Send a stream's entries after a position to a mirror, as they come, until the stream's end.

        While Redis is unavailable, the mirror waits. Then the mirror continues at its own position.
        """
        return self._follower.follow(owner, stream_id, after, mirror)

    # Readers and cancellation

    async def attend(self, owner: Owner, stream_id: str) -> None:
        """Register that this replica has readers of a stream that another replica holds.

        The registration lasts until ``leave``, or until this replica's heartbeat expires. If Redis is unavailable, the
        store registers the readers later.
        """
        self._attending.add((owner, stream_id))
        self._left.discard((owner, stream_id))
        attendance = await self._backend.attend(owner, stream_id)
        if attendance is not None:
            self._news.tell(attendance.holder, Attended(stream_id, may_return=False))

    async def leave(self, owner: Owner, stream_id: str, *, may_return: bool) -> None:
        """Register that this replica has no more readers of a stream, and tell the holder.

        Args:
            owner: the stream's owner.
            stream_id: the stream's id.
            may_return: whether this replica has detached the last reader, so that the reader may return.
        """
        self._attending.discard((owner, stream_id))
        self._left.add((owner, stream_id))
        attendance = await self._backend.leave(owner, stream_id)
        if (owner, stream_id) not in self._attending:
            self._left.discard((owner, stream_id))
        if attendance is not None:
            self._news.tell(attendance.holder, Attended(stream_id, may_return=may_return))

    async def readers(self, owner: Owner, stream_id: str) -> int:
        """Return the number of other living replicas that have readers of a stream."""
        attendance = await self._backend.attendance(owner, stream_id)
        return 0 if attendance is None else self._held.others(attendance.replicas)

    async def cancel(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Ask the stream's holder to cancel a running stream. Return the record, or ``None`` if there is no stream.

        The store keeps the request. If the holder crashes, the next holder gets the request. Follow the stream to see
        the end.
        """
        record = await self._backend.cancel(owner, stream_id)
        if record is not None and record.is_cancelled:
            self._news.tell(record.holder, Cancelled(stream_id))
        return record

    # Holders

    async def take_over(self, record: StreamRecord) -> Opened | None:
        """Become the holder of a stream without a living holder. The earlier holder's appends are refused from now on.

        Call ``report_readers`` when the listener knows the stream.

        Args:
            record: the record from ``StreamListener.orphaned``.

        Returns:
            The new record and lease, or ``None`` if another replica was faster, or the stream has ended.
        """
        opened = await self._backend.take_over(record)
        if opened is not None:
            self._held.add(opened.lease, opened.record.length)
        return opened

    def report_readers(self, stream_id: str) -> None:
        """Report soon which replicas have readers of a stream that this replica has taken over."""
        self._held.report_readers(stream_id)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Release streams, because this replica drains. A message tells the other replicas immediately.

        Call the method after the last append was answered. Later appends with the leases are fenced. Orphans are
        no longer reported to this replica.
        """
        self._is_draining = True
        for lease in leases:
            self._held.drop(lease.stream_id)
        try:
            await asyncio.gather(*(self._backend.release(lease) for lease in leases))
        finally:
            self._news.tell_all(Released(self.replica))

    # Heartbeats

    async def beat(self) -> None:
        """Send a heartbeat, and check what has changed. ``start`` calls this method regularly."""
        self._liveness.begin()
        try:
            beat = await self._backend.beat(again=self._has_beaten)
        except StateUnavailable:
            self._liveness.failed()
            self.is_checked = False
            raise
        self._has_beaten, self.may_lack_keys = True, beat.has_lost_data
        has_forgotten = beat.expired_at is None
        dead = self._liveness.dead
        self._liveness.beaten(beat)
        if has_forgotten or not self.is_checked:
            await self._check()
        elif dead != self._liveness.dead:
            self._held.count_readers()
        await self._held.renew()
        if self._clock() - self._attended_at > self._backend.limits.running / RENEWALS:
            await self._attend_again()
        await self._report_orphans(beat)

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                await self.beat()
            except StateUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - without heartbeats, the other replicas would take all streams
                self._broke(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._backend.limits.lease / BEATS_PER_LEASE):
                    await self._soon.wait()
            self._soon.clear()

    def _broke(self, error: Exception) -> None:
        if self._held.listener is not None:
            self._held.listener.broke(error)

    def _check_soon(self) -> None:
        self.is_checked = False
        self._soon.set()

    async def _check(self) -> None:
        """Store again what the store may have lost, and read again what lost messages may have reported."""
        self.is_checked, is_done = True, False
        try:
            await self._held.check_all()
            await self._attend_again()
            is_done = True
        finally:
            self.is_checked = self.is_checked and is_done
        if self._held.listener is not None:
            self._held.listener.available()

    async def _attend_again(self) -> None:
        """Register this replica's readers again."""
        self._attended_at = self._clock()
        await asyncio.gather(*(self.attend(*stream) for stream in self._attending))
        await asyncio.gather(*(self.leave(*stream, may_return=True) for stream in self._left))

    async def _report_orphans(self, beat: Beat) -> None:
        listener = self._held.listener
        if listener is None or self._is_draining:
            return
        replicas = [RELEASED, *(beat.dead if self._liveness.may_take_over else ())]
        searches = (self._backend.held_by(one, ORPHANS) for one in replicas)
        for found in await asyncio.gather(self._strays.find(beat.listed), *searches):
            if found:
                listener.orphaned(found)

    def _hear(self, message: Message) -> None:
        match message:
            case Attended(stream_id, may_return):
                self._held.attended(stream_id, may_return=may_return)
            case Cancelled(stream_id):
                self._held.cancelled(stream_id)
            case Released(replica) if replica != self.replica:
                self._soon.set()
            case Turned(replica, turn) if replica != self.replica and self._held.listener is not None:
                self._held.listener.turn_opened(turn)
            case _:
                pass
