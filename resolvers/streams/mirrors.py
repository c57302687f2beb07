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
from clients.errors import GatewayError, Service, UpstreamError, UpstreamTimeout
from clients.owned import ConversationRef
from clients.state.errors import StateUnavailable
from clients.state.log_follower import Following
from clients.state.logs import Page, StreamRecord
from clients.state.stream_store import StreamStore
from resolvers.streams.codec import EventCodec
from resolvers.streams.presence import Presence
from resolvers.streams.registry import WEIGHED_BYTES, StreamRegistry
from resolvers.streams.shared_log import SharedLog, gap
from resolvers.streams.stored import finish, mirrored, renew
from resolvers.streams.stream import Stream
from resolvers.streams.unavailable import unavailable

FETCH_SECONDS = 5.0
"""The maximum time for which a request waits until a mirror has the entries of its stream, in seconds."""

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

    def of(self, record: StreamRecord) -> Stream:
        """Return the mirror of a record's stream."""
        stream = self._streams.get(record.id)
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
        self._presence.leave(stream)
        self._streams.pop(stream.id, None)
        if (followed := self._followed.pop(stream.id, None)) is not None:
            followed.close()

    def detach(self, stream: Stream) -> None:
        """Stop following a stream after its last reader has detached."""
        self._presence.leave(stream)
        self._unfollow(stream)

    @contextmanager
    def following(self, stream: Stream) -> Iterator[None]:
        """Follow a stream during a ``with`` block, without a reader."""
        self._follow(stream)
        try:
            yield
        finally:
            self._unfollow(stream)

    async def aclose(self) -> None:
        """Stop following all streams."""
        for followed in list(self._followed.values()):
            followed.close()
        self._followed.clear()
        await self._presence.aclose()

    def _follow(self, stream: Stream) -> None:
        followed = self._followed.get(stream.id)
        if followed is None and not log_of(stream).is_whole:
            self._registry.show(stream)
            log_of(stream).failure = None
            followed = self._followed[stream.id] = _Followed(
                stream, self._store, self._codec, self._registry, self._on_begun, self._retention
            )
        if followed is not None:
            followed.users += 1

    def _unfollow(self, stream: Stream) -> None:
        followed = self._followed.get(stream.id)
        if followed is None:
            return
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

    async def _fetch(self, stream_id: str) -> None:
        """Wait until a mirror's log has the entries up to ``goal``. Raises UpstreamTimeout."""
        stream = self._streams[stream_id]
        log = log_of(stream)
        with self.following(stream):
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    await log.reached()
            except TimeoutError as error:
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


def unreadable() -> UpstreamError:
    """Return the error for a stream that a different version of the gateway wrote."""
    message = "The gateway cannot read the stream, because a different version of the gateway runs the stream."
    return UpstreamError(message, reason=Reason.DECODE, service=Service.REDIS)


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
