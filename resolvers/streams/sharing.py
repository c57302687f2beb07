"""Connects this process's streams to the store that replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Protocol

from clients.errors import GatewayError, NotFound, UpstreamError
from clients.origin import Owner
from clients.state.errors import StateUnavailable
from clients.state.streams.listeners import TurnNews
from clients.state.streams.records import Lease, StreamRecord, StreamState
from clients.state.streams.store import StreamStore
from resolvers.streams.codec import EventCodec
from resolvers.streams.mirrors import Mirrors
from resolvers.streams.opening import Opening
from resolvers.streams.registry import StreamRegistry, gone
from resolvers.streams.replicator import Held, Replicator
from resolvers.streams.shared_log import gap
from resolvers.streams.stream import Stream
from resolvers.streams.takeover import Resume, Takeover
from resolvers.streams.unavailable import unavailable


class Runner(Protocol):
    """Runs the streams that this process holds."""

    def cancel(self, stream: Stream) -> None:
        """Close the stream's upstream call, and end the stream."""

    def abort(self, stream: Stream, error: GatewayError | None) -> None:
        """Close the stream's upstream call. If there is an error, fail the stream."""

    def reader_left(self, stream: Stream) -> None:
        """Act if the stream has no more readers."""

    def abandon(self, stream: Stream) -> None:
        """Cancel the stream if the stream has no more readers."""

    def run(self, stream: Stream) -> None:
        """Copy the source of a stream that another replica has begun."""

    def broke(self, error: Exception) -> None:
        """Report an internal error."""

    def begun(self, stream: Stream) -> None:
        """Wake the tasks that wait for the stream's turn."""


class Known(Protocol):
    """A list of an owner's streams."""

    owner: Owner

    async def refresh(self) -> None:
        """Read the list again."""


class Sharing:
    """Opens streams in the store, and finds the streams of other replicas.

    Args:
        store: the store.
        codec: encodes the streams' events.
        registry: the streams that this process has.
        runner: runs the streams that this process holds.
        retention: how long an ended stream can be read, in seconds.
        resume: makes the sources of streams whose replicas have stopped.
    """

    def __init__(
        self,
        store: StreamStore,
        codec: EventCodec,
        registry: StreamRegistry,
        runner: Runner,
        retention: float,
        resume: Resume,
    ) -> None:
        self._store = store
        self._registry = registry
        self._runner = runner
        self.mirrors = Mirrors(store, codec, registry, runner.begun, retention)
        self._replicator = Replicator(store, codec, self)
        self.opening = Opening(store, self._replicator, retention, self._hold, self.stream_of)
        self._takeover = Takeover(store, self.mirrors, self._replicator, resume, self._continue, runner.broke)
        self._helds: dict[str, Held] = {}
        self._leases: list[Lease] = []
        self._known: set[Known] = set()
        self._tasks: set[asyncio.Task[object]] = set()

    # Look-ups

    async def find(self, owner: Owner, stream_id: str) -> Stream | None:
        """Return the owner's stream, if the store has the stream. Raises UpstreamUnavailable."""
        try:
            record = await self._store.find(owner, stream_id)
        except StateUnavailable as error:
            raise unavailable() from error
        return None if record is None or record.state is StreamState.EVICTED else self.stream_of(record)

    async def at_key(self, owner: Owner, key: str) -> Stream | None:
        """Return the key's stream, if the store has the stream. If the store is unavailable, return ``None``."""
        try:
            record = await self._store.at_key(owner, key)
        except StateUnavailable:
            return None
        return None if record is None else self.stream_of(record)

    async def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first. Raises UpstreamUnavailable."""
        try:
            records = await self._store.of(owner)
        except StateUnavailable as error:
            raise unavailable() from error
        found: dict[str, Stream] = {}
        for record in records:
            with suppress(UpstreamError):  # a different version of the gateway runs the stream
                found[record.id] = self.stream_of(record)
        found |= {stream.id: stream for stream in self._registry.of(owner)}
        return sorted(found.values(), key=lambda stream: stream.started_at)

    def stream_of(self, record: StreamRecord) -> Stream:
        """Return the stream of a record: this process's stream, or a mirror."""
        try:
            stream = self._registry.get(record.id, record.owner)
        except NotFound:
            return self.mirrors.of(record)
        return self.mirrors.of(record) if stream.is_mirrored else stream

    # Streams of other replicas

    async def cancel(self, stream: Stream) -> None:
        """Ask the stream's holder to cancel the stream, and wait until the stream ends. Raises UpstreamUnavailable."""
        with self.mirrors.following(stream):
            try:
                record = await self._store.cancel(stream.owner, stream.id)
            except StateUnavailable as error:
                raise unavailable() from error
            if record is None:
                raise gone()
            await self.mirrors.ended(stream)

    def abandon(self, stream: Stream) -> None:
        """Cancel a stream without readers, unless other replicas have readers of which the news has not arrived."""
        if stream.id in self._helds:
            self._spawn(self._abandon(stream))
        else:
            self._runner.abandon(stream)

    async def _abandon(self, stream: Stream) -> None:
        with suppress(StateUnavailable):
            if await self._store.readers(stream.owner, stream.id):
                self._store.report_readers(stream.id)
                return
        self._runner.abandon(stream)

    def known(self, known: Known) -> None:
        """Keep a list of an owner's streams up to date."""
        self._known.add(known)

    def unknown(self, known: Known) -> None:
        """Stop keeping a list up to date."""
        self._known.discard(known)

    # What the store reports (``StreamListener``)

    def turn_opened(self, news: TurnNews) -> None:
        """Find the new stream of a conversation for the tasks that wait for turns."""
        for known in list(self._known):
            if known.owner == news.owner:
                self._spawn(known.refresh())

    def cancel_requested(self, stream_id: str) -> None:
        """Cancel a stream for a client of another replica."""
        if (held := self._helds.get(stream_id)) is not None:
            self.cancelled(held)

    def readers_changed(self, stream_id: str, replicas: int, *, may_return: bool) -> None:
        """Count the readers on other replicas."""
        held = self._helds.get(stream_id)
        if held is None:
            return
        stream = held.stream
        stream.elsewhere = replicas
        if replicas:
            stream.was_read = True
            stream.log.reader_may_return = False
            if not stream.log.is_closed:
                stream.stop_timer()
        elif not stream.readers:
            stream.log.reader_may_return = may_return
            self._runner.reader_left(stream)

    def fenced(self, stream_id: str) -> None:
        """Stop holding a stream, because another replica holds the stream."""
        if (held := self._helds.get(stream_id)) is not None:
            self._replicator.lose(held)

    def orphaned(self, records: Sequence[StreamRecord]) -> None:
        """Continue the streams of a replica that has stopped.

        A record can name a stream that this process has opened, but for which the answer was lost.
        """
        for record in records:
            if (held := self._helds.get(record.id)) is not None and held.lease is None:
                self._replicator.restore(held)
        self._takeover.take_over([record for record in records if record.id not in self._helds])

    def _continue(self, held: Held) -> None:
        self._hold(held)
        self._runner.run(held.stream)
        self._store.report_readers(held.stream.id)  # the store may have reported them before this process held the log

    def missing(self, stream_id: str) -> None:
        """Copy a stream again, because the store has lost the stream."""
        if (held := self._helds.get(stream_id)) is not None:
            self._replicator.restore(held)

    def available(self) -> None:
        """Copy what the store does not have, and read again what lost messages may have reported."""
        self._replicator.resume(list(self._helds.values()))
        for known in list(self._known):
            self._spawn(known.refresh())

    def _hold(self, held: Held) -> None:
        self._helds[held.stream.id] = held
        self._replicator.hold(held)

    # What the replicator reports (``Holder``)

    def lost(self, held: Held) -> None:
        """Read a stream from the store from now on."""
        stream, log = held.stream, held.log
        self._helds.pop(stream.id, None)
        if log.ended is not None:  # this replica has ended the stream while the store was unavailable
            self._registry.remove(stream)
            return
        stream.reported_run_id, stream.is_mirrored = stream.run_id, True
        stream.stop_timer()
        self._runner.abort(stream, None)
        log.release()
        self._registry.lose(stream)
        if log.length > log.stored:  # the readers have entries that the other replica does not have
            log.fail(gap())
            self._registry.remove(stream)
            return
        self.mirrors.adopt(stream)
        if stream.readers:
            self.mirrors.attach(stream)

    def refused(self, held: Held, error: GatewayError) -> None:
        """Fail a stream whose entries the store does not get."""
        held.log.drop()
        self._runner.abort(held.stream, error)

    def cancelled(self, held: Held) -> None:
        """Cancel a stream for a client of another replica."""
        self._runner.cancel(held.stream)

    def broke(self, error: Exception) -> None:
        """Report an internal error."""
        self._runner.broke(error)

    def removed(self, stream: Stream) -> None:
        """Stop copying a stream that this process has removed."""
        held = self._helds.get(stream.id)
        if held is not None and stream.log.ended is not None:
            del self._helds[stream.id]
            self._replicator.forget(held)

    def survives(self, stream: Stream) -> bool:
        """Return whether other replicas can serve a running stream after this process has stopped."""
        if not self._replicator.is_available or stream.log.is_closed:
            return False
        started, held = stream.log.started, self._helds.get(stream.id)
        is_movable = held is not None and held.lease is not None and started is not None and started.resumable
        return stream.is_mirrored or is_movable

    def hand_over(self) -> None:
        """Release the streams that other replicas can continue, because this process stops.

        The pumps of these streams must be cancelled before ``aclose``.
        """
        for stream in self._registry.all():
            held = self._helds.get(stream.id)
            if held is not None and held.lease is not None and self.survives(stream):
                stream.is_mirrored = True
                self._leases.append(held.lease)

    def start(self) -> None:
        """Listen to the store."""
        self._store.start(self)

    async def aclose(self) -> None:
        """Send the last entries, and stop."""
        await self._takeover.aclose()
        await self.opening.aclose()
        await self._replicator.aclose()
        with suppress(StateUnavailable):  # the leases expire
            await self._store.release(self._leases)
        await self.mirrors.aclose()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
