"""Reads streams that other replicas hold.

A mirror is a stream whose log receives its entries from the store. All readers of this process share the mirror.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

import msgspec

from clients.codes import Reason
from clients.errors import GatewayError, Service, UpstreamTimeout
from clients.owned import ConversationRef
from clients.state.errors import StateUnavailable
from clients.state.streams.follower import Following
from clients.state.streams.records import Page, StreamRecord
from clients.state.streams.redis_records import unreadable
from clients.state.streams.store import StreamStore
from resolvers.streams.codec import EventCodec
from resolvers.streams.presence import Presence
from resolvers.streams.registry import WEIGHED_BYTES, StreamRegistry
from resolvers.streams.shared_log import SharedLog, gap
from resolvers.streams.stored import finish, mirrored, renew
from resolvers.streams.stream import Stream
from resolvers.streams.unavailable import unavailable

FETCH_SECONDS = 5.0
"""The maximum time for which a request waits for the next entries of its stream, in seconds."""

IDLE_SECONDS = 10.0
"""The time for which a running stream that nobody reads stays in this process's memory, in seconds."""

IDLE_BYTES = 32 * 1024 * 1024
"""The maximum memory of all running streams that nobody reads, in bytes."""

END_SECONDS = 10.0
"""The maximum time for which a request waits until another replica has cancelled a stream, in seconds."""


class Mirrors:
    """The streams of other replicas that this process reads."""

    def __init__(
        self,
        store: StreamStore,
        codec: EventCodec,
        registry: StreamRegistry,
        on_begun: Callable[[Stream], None],
        retention: float,
    ) -> None:
        self._on_begun = on_begun
        self._retention = timedelta(seconds=retention)
        self._store = store
        self._codec = codec
        self._registry = registry
        self._presence = Presence(store)
        self._streams: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        self._followed: dict[str, _Followed] = {}
        self._idle = _Idle()

    def of(self, record: StreamRecord) -> Stream:
        """Return the mirror of a record's stream."""
        stream = self._streams.get(record.id)
        if stream is not None and stream in self._idle and log_of(stream).holder != record.holder:
            self._idle.take(stream)  # the next holder may have fewer entries
            stream = None
        if stream is None:
            stream = self._mirror(record)
        self._renew(stream, record)
        return stream

    def _mirror(self, record: StreamRecord) -> Stream:
        """Create a mirror. Raises UpstreamError."""
        try:
            stream = mirrored(record, SharedLog(record.id, record.holder), self._codec)
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            raise unreadable() from error
        stream.is_mirrored = True
        self.adopt(stream)
        return stream

    def adopt(self, stream: Stream) -> None:
        """Read a stream from the store from now on."""
        log = log_of(stream)
        self._streams[stream.id] = stream
        log.fetch, log.longest = self._fetch, self._longest

    def _renew(self, stream: Stream, record: StreamRecord) -> None:
        log = log_of(stream)
        log.holder = record.holder
        try:
            ended = renew(stream, record, self._codec)
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            raise unreadable() from error
        log.goal = max(log.goal, record.length)
        if ended is not None and log.ended is None:
            log.ended = ended
        _open(stream)

    def attach(self, stream: Stream) -> None:
        """Follow a stream for its first reader."""
        self._follow(stream)
        if not log_of(stream).is_whole:
            self._presence.attend(stream)

    def drop(self, stream: Stream) -> None:
        """Stop reading a stream from the store, because this process holds the stream now."""
        self._idle.take(stream)
        self._presence.leave(stream)
        self._streams.pop(stream.id, None)
        if (followed := self._followed.pop(stream.id, None)) is not None:
            followed.close()

    def detach(self, stream: Stream) -> None:
        """Stop following a stream after its last reader has detached."""
        self._presence.leave(stream)
        self._unfollow(stream, self._followed.get(stream.id))

    @contextmanager
    def following(self, stream: Stream) -> Iterator[None]:
        """Follow a stream during a ``with`` block, without a reader."""
        followed = self._follow(stream)
        try:
            yield
        finally:
            self._unfollow(stream, followed)

    async def aclose(self) -> None:
        """Stop following all streams."""
        for followed in list(self._followed.values()):
            followed.close()
        self._followed.clear()
        self._idle.clear()
        await self._presence.aclose()

    def _follow(self, stream: Stream) -> _Followed | None:
        followed = self._followed.get(stream.id)
        self._idle.take(stream)
        if followed is None and not log_of(stream).is_whole:
            self._registry.show(stream)
            log_of(stream).failure = None
            followed = self._followed[stream.id] = _Followed(
                stream, self._store, self._codec, self._registry, self._on_begun, self._retention
            )
        if followed is not None:
            followed.users += 1
        return followed

    def _unfollow(self, stream: Stream, followed: _Followed | None) -> None:
        if followed is None or self._followed.get(stream.id) is not followed:
            return  # the stream was whole, or this process has held the stream in the meantime
        followed.users -= 1
        if followed.users:
            return
        followed.close()
        del self._followed[stream.id]
        log = log_of(stream)
        if log.is_whole:
            log.pack()
            now = datetime.now(UTC)
            stream.expires_at = stream.expires_at or now + self._retention
            if self._registry.retain(stream):
                stream.start_timer(max(0.0, (stream.expires_at - now).total_seconds()), self._registry.remove)
        else:
            self._registry.remove(stream)
            if log.failure is None:
                self._idle.put(stream)

    async def _fetch(self, stream_id: str, position: int) -> None:
        """Wait until a mirror's log has the entries up to a position, or all entries. Raises UpstreamTimeout."""
        stream = self._streams[stream_id]
        log = log_of(stream)
        with self.following(stream):
            while not log.has(position) and log.failure is None:
                length = log.length
                try:
                    async with asyncio.timeout(FETCH_SECONDS):
                        await log.reached(position)
                except TimeoutError as error:
                    if log.length > length:
                        continue
                    message = "Redis did not send the stream's events in time. Retry the request."
                    raise UpstreamTimeout(message, reason=Reason.DEADLINE, service=Service.REDIS) from error

    async def ended(self, stream: Stream) -> None:
        """Wait until a followed stream has ended. Raises UpstreamTimeout."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await stream.log.end()
        except TimeoutError as error:
            message = "The gateway process that runs the stream did not end the stream in time. Retry the request."
            raise UpstreamTimeout(message, reason=Reason.DEADLINE, service=Service.REDIS) from error

    async def _longest(self, stream_id: str) -> int:
        stream = self._streams[stream_id]
        try:
            record = await self._store.find(stream.owner, stream.id)
        except StateUnavailable as error:
            raise unavailable() from error
        if record is None:
            return 0
        self._renew(stream, record)
        return record.length


class _Idle:
    """Running streams that this process does not read at the moment.

    A client that polls a stream's text then receives only the new entries from the store.
    """

    def __init__(self) -> None:
        self._streams: dict[str, tuple[Stream, int]] = {}
        self._bytes = 0

    def put(self, stream: Stream) -> None:
        """Keep a stream for ``IDLE_SECONDS``, or until newer streams need the memory."""
        self.take(stream)
        weight = stream.log.weight
        self._streams[stream.id] = stream, weight
        self._bytes += weight
        stream.start_timer(IDLE_SECONDS, self.take)
        while self._bytes > IDLE_BYTES:
            self.take(next(iter(self._streams.values()))[0])

    def take(self, stream: Stream) -> None:
        """Stop keeping a stream."""
        if (kept := self._streams.pop(stream.id, None)) is not None:
            self._bytes -= kept[1]
            kept[0].stop_timer()

    def __contains__(self, stream: Stream) -> bool:
        return stream.id in self._streams

    def clear(self) -> None:
        """Keep nothing."""
        for stream, _ in list(self._streams.values()):
            self.take(stream)


class _Followed:
    """A stream whose entries this process receives. ``users`` counts the reasons to receive the entries."""

    def __init__(
        self,
        stream: Stream,
        store: StreamStore,
        codec: EventCodec,
        registry: StreamRegistry,
        on_begun: Callable[[Stream], None],
        retention: timedelta,
    ) -> None:
        self.users = 0
        self._on_begun = on_begun
        self._retention = retention
        self._stream = stream
        self._log = log_of(stream)
        self._codec = codec
        self._registry = registry
        self._following: Following | None = store.follow(stream.owner, stream.id, self._log.length, self)

    def close(self) -> None:
        """Receive no more entries."""
        if self._following is not None:
            self._following.close()
            self._following = None

    def entries_came(self, page: Page) -> None:
        """Add the next entries to the mirror's log."""
        conversation = self._stream.conversation
        owned = conversation if isinstance(conversation, ConversationRef) else None
        try:
            if page.outcome is not None:
                self._stream.expires_at = self._stream.expires_at or datetime.now(UTC) + self._retention
                finish(self._stream, page.outcome, self._codec)
            for seq, row in enumerate(page.entries, page.after + 1):
                self._log.came(self._codec.decode(seq, row, owned))
            if self._log.weight > self._stream.weighed + WEIGHED_BYTES:
                self._registry.grown(self._stream)
        except (KeyError, TypeError, msgspec.MsgspecError):
            self._fail(unreadable())
        except GatewayError as error:
            self._fail(error)
        self._check_begun()
        _open(self._stream)

    def _check_begun(self) -> None:
        stream, log = self._stream, self._log
        if log.length and log.started is not None:
            stream.reported_run_id = stream.reported_run_id or log.started.run_id
        if log.length and stream.refusal is None and not stream.begun:
            stream.begun = True
            self._on_begun(stream)

    def entries_lost(self) -> None:
        """Fail the mirror's readers, because the next entries do not exist."""
        self._fail(gap())

    def _fail(self, error: GatewayError) -> None:
        self.close()
        self._log.fail(error)


def log_of(stream: Stream) -> SharedLog:
    """Return the log of a stream that the store has."""
    if not isinstance(stream.log, SharedLog):
        raise TypeError("the stream is not shared")
    return stream.log


def _open(stream: Stream) -> None:
    """Tell waiting requests that the service has begun to answer, or has refused the request."""
    if stream.opened.done():
        return
    if stream.refusal is not None:
        stream.opened.set_exception(stream.refusal)
        stream.opened.exception()  # otherwise, asyncio reports an error that no request has retrieved
    elif stream.begun or stream.log.ended is not None:
        stream.opened.set_result(None)
