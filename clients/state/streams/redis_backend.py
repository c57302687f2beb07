"""Stores streams in Redis. A log is a Redis stream, and an entry's id begins with the entry's number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from clients.errors import UpstreamError
from clients.origin import Owner
from clients.state.connection import RedisConnection
from clients.state.link import Argument, ErrorReply, Reply
from clients.state.names import REPLICAS, STREAM_LOSS
from clients.state.streams import scripts
from clients.state.streams.backend import RELEASED, Attendance, Beat, LogLimits, Place
from clients.state.streams.keys import (
    held_key,
    index_key,
    key_key,
    prefixes,
    readers_key,
    stream_keys,
)
from clients.state.streams.records import (
    Append,
    Appended,
    AppendStatus,
    Lease,
    NewStream,
    Opened,
    OverLimit,
    OverQuota,
    Page,
    StreamRecord,
    StreamState,
    Taken,
    Token,
)
from clients.state.streams.redis_records import opened_of, readable, record_of
from clients.state.streams.tail import LogTail

_ENCODER = msgspec.msgpack.Encoder()
_MEMBER = msgspec.msgpack.Decoder(tuple[Owner, str])

GROUP = 32
"""The maximum number of streams to which one command appends."""


class RedisLogs:
    """Streams in Redis, on behalf of one replica. See ``LogBackend``."""

    def __init__(self, connection: RedisConnection, replica: str, limits: LogLimits) -> None:
        self.replica = replica
        self.limits = limits
        self._redis = connection
        self._tail = LogTail(connection, replica)
        self._running = _milliseconds(max(limits.running, 2 * limits.retention))  # the index outlives ended streams
        self.states = self._tail.states
        self.next_pages = self._tail.next_pages
        self.wake = self._tail.wake
        self.aclose = self._tail.aclose

    def on_available(self, listener: Callable[[], None]) -> None:
        """Call a listener whenever Redis can be used again."""
        self._redis.on_change(lambda is_up: listener() if is_up else None)

    async def recovered(self, within: float) -> bool:
        """Wait until Redis can be used again, at most until ``within`` seconds after the failure."""
        return await self._redis.recovered(within)

    # Streams and keys

    async def open(
        self, stream: NewStream, *, max_running: int, replacing: str | None
    ) -> Opened | Taken | OverLimit | OverQuota:
        """Claim the stream's key and create the stream."""
        self._list(self.replica, stream.owner, stream.id)
        keys, arguments = self._creation(stream)
        earlier = "" if replacing is None else _id_in_key(stream.owner, replacing)
        reply = await self._redis.script(scripts.OPEN, keys, (*arguments, max_running, earlier, self.limits.max_listed))
        match bytes(reply[0]):
            case b"opened":
                return opened_of(record_of(reply[1]))
            case b"taken":
                answer: Taken | OverLimit | OverQuota = Taken(record_of(reply[1]))
            case b"over limit":
                answer = OverLimit(reply[1])
            case _:
                answer = OverQuota()
        self._let_go(stream.owner, stream.id)
        return answer

    async def restore(self, stream: NewStream, token: Token | None) -> tuple[Lease, int] | None:
        """Create the record of a stream that runs already. Return the lease and the number of entries."""
        self._list(self.replica, stream.owner, stream.id)
        keys, arguments = self._creation(stream)
        reply = await self._redis.script(scripts.RESTORE, keys, (*arguments, token or 0))
        if reply is None:
            self._let_go(stream.owner, stream.id)
            return None
        record = record_of(reply)
        return Lease(record.owner, record.id, record.token), record.length

    def _creation(self, stream: NewStream) -> tuple[list[str], tuple[str | bytes | int, ...]]:
        keys = [*stream_keys(stream.owner, stream.id), index_key(stream.owner)]
        if stream.key is not None:
            keys.append(key_key(stream.owner, stream.key))
        return keys, (
            _id_in_key(stream.owner, stream.id),
            _ENCODER.encode(msgspec.structs.replace(stream, recipe=b"")),
            stream.recipe,
            self.replica,
            int(stream.is_retained),
            self._running,
            _milliseconds(self.limits.retention),
            self.limits.owner_bytes,
        )

    async def find(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Return a stream."""
        reply = await self._described(owner, stream_id)
        return None if reply is None else record_of(reply)

    async def _described(self, owner: Owner, stream_id: str) -> Reply:
        return await self._redis.script(scripts.DESCRIBE, stream_keys(owner, stream_id), ())

    async def at_key(self, owner: Owner, key: str) -> StreamRecord | None:
        """Return a key's stream."""
        reply = await self._redis.script(scripts.AT_KEY, [key_key(owner, key)], prefixes(owner))
        return None if reply is None else record_of(reply)

    async def of(self, owner: Owner) -> list[StreamRecord]:
        """Return an owner's streams."""
        return readable(await self._redis.script(scripts.LIST, [index_key(owner)], prefixes(owner)))

    async def remove(self, lease: Lease) -> None:
        """Remove a stream."""
        keys = (*stream_keys(lease.owner, lease.stream_id), readers_key(lease.owner, lease.stream_id))
        await self._redis.script(scripts.REMOVE, keys, [lease.token])
        self._let_go(lease.owner, lease.stream_id)

    # Entries

    async def append(self, appends: Sequence[Append], *, renews: bool = False) -> list[Appended]:
        """Append to several streams."""
        groups = (appends[start : start + GROUP] for start in range(0, len(appends), GROUP))
        replies = await self._append([_append_arguments(group, renews=renews) for group in groups])
        answers = [answer for reply in replies for answer in _answers(reply)]
        for one, answer in zip(appends, answers, strict=True):
            is_stored = answer.status is AppendStatus.STORED
            if answer.status is AppendStatus.FENCED or (one.outcome is not None and is_stored):
                self._let_go(one.lease.owner, one.lease.stream_id)
        return answers

    async def _append(self, groups: list[list[Argument]]) -> list[Reply]:
        """Append to groups of streams in a pipeline."""
        futures = [self._redis.submit("EVALSHA", scripts.APPEND.digest, *group) for group in groups]
        replies: list[Reply] = []
        try:
            for future, group in zip(futures, groups, strict=True):
                try:
                    replies.append(await future)
                except ErrorReply as error:
                    if error.word != "NOSCRIPT":
                        raise error.unavailable() from error
                    replies.append(await self._redis.command("EVAL", scripts.APPEND.text, *group))
        finally:
            for future in futures[len(replies) :]:
                future.add_done_callback(_retrieve)
        return replies

    async def read(self, place: Place, count: int) -> Page | None:
        """Return a stream's entries, or ``None`` if the stream does not exist or was evicted."""
        state, page = await asyncio.gather(self.states([place]), self._tail.range(place, count))
        found, length = state[0]
        if found in {None, StreamState.EVICTED} or length < place.after:
            return None
        return page

    # Readers and cancellation

    async def attend(self, owner: Owner, stream_id: str) -> Attendance | None:
        """Register this replica's readers of a stream."""
        return await self._attendance(owner, stream_id, "attend")

    async def leave(self, owner: Owner, stream_id: str) -> Attendance | None:
        """End the registration of this replica's readers of a stream."""
        return await self._attendance(owner, stream_id, "leave")

    async def attendance(self, owner: Owner, stream_id: str) -> Attendance | None:
        """Return the replicas with readers of a stream."""
        return await self._attendance(owner, stream_id, "")

    async def _attendance(self, owner: Owner, stream_id: str, act: str) -> Attendance | None:
        keys = (*stream_keys(owner, stream_id), readers_key(owner, stream_id))
        reply = await self._redis.script(scripts.READERS, keys, (act, self.replica))
        return None if reply is None else Attendance(reply[0].decode(), _texts(reply[1]))

    async def cancel(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Mark a running stream as cancelled."""
        reply = await self._redis.script(scripts.CANCEL, stream_keys(owner, stream_id), ())
        return None if reply is None else record_of(reply)

    async def take_over(self, record: StreamRecord) -> Opened | None:
        """Become the holder of a stream."""
        self._list(self.replica, record.owner, record.id)
        keys = stream_keys(record.owner, record.id)
        reply = await self._redis.script(scripts.TAKE_OVER, keys, (record.token, self.replica))
        if reply is None:
            self._let_go(record.owner, record.id)
            return None
        if record.holder != self.replica:
            self._submit("SREM", held_key(record.holder), _member(record.owner, record.id))
        return opened_of(record_of(reply))

    async def release(self, lease: Lease) -> None:
        """Make ``RELEASED`` the holder of a running stream."""
        self._list(RELEASED, lease.owner, lease.stream_id)
        keys = stream_keys(lease.owner, lease.stream_id)
        await self._redis.script(scripts.TAKE_OVER, keys, (lease.token, RELEASED))
        self._let_go(lease.owner, lease.stream_id)

    # Replicas

    async def beat(self, *, again: bool) -> Beat:
        """Store this replica's heartbeat."""
        keys = (REPLICAS.key("all"), held_key(self.replica), STREAM_LOSS.key("all"))
        lease, retention = _milliseconds(self.limits.lease), _milliseconds(self.limits.retention)
        arguments = (self.replica, lease, self._running, int(again), retention)
        now, before, living, dead, listed, lost = await self._redis.script(scripts.BEAT, keys, arguments)
        expired_at = None if before is None else float(before)
        return Beat(now, expired_at, _texts(living), _texts(dead), listed, bool(lost))

    async def hold(self, leases: Sequence[Lease]) -> None:
        """Add streams to the set of streams that this replica holds."""
        if leases:
            members = [_member(lease.owner, lease.stream_id) for lease in leases]
            await self._redis.command("SADD", held_key(self.replica), *members)
            await self._redis.command("PEXPIRE", held_key(self.replica), self._running)

    async def listed(self) -> list[tuple[Owner, str]]:
        """Return the set of streams that this replica holds, as far as Redis knows."""
        members: list[bytes] = await self._redis.command("SMEMBERS", held_key(self.replica))
        return [_MEMBER.decode(member) for member in members]

    async def unlist(self, owner: Owner, stream_id: str) -> None:
        """Remove a stream from the set of streams that this replica holds."""
        await self._redis.command("SREM", held_key(self.replica), _member(owner, stream_id))

    async def retire(self) -> None:
        """Let this replica's heartbeat expire now."""
        await self._redis.command("ZADD", REPLICAS.key("all"), "XX", 0, self.replica)

    async def held_by(self, replica: str, count: int) -> list[StreamRecord]:
        """Return some of a replica's running streams, in random order. Remove a dead replica without streams."""
        members: list[bytes] = await self._redis.command("SRANDMEMBER", held_key(replica), count)
        if not members and replica != RELEASED:
            await self._redis.script(scripts.BURY, [REPLICAS.key("all"), held_key(replica)], [replica])
        places = [_MEMBER.decode(member) for member in members]
        found = await asyncio.gather(*(self._described(owner, stream_id) for owner, stream_id in places))
        held: list[StreamRecord] = []
        for member, reply in zip(members, found, strict=True):
            with suppress(UpstreamError):  # a replica of the other version takes the stream over
                record = None if reply is None else record_of(reply)
                if record is not None and record.holder == replica and record.state is StreamState.RUNNING:
                    held.append(record)
                else:
                    self._submit("SREM", held_key(replica), member)
        return held

    def _list(self, replica: str, owner: Owner, stream_id: str) -> None:
        """Add a stream to a replica's set, before the stream's record names the replica."""
        key = held_key(replica)
        self._submit("SADD", key, _member(owner, stream_id))
        self._submit("PEXPIRE", key, self._running)

    def _let_go(self, owner: Owner, stream_id: str) -> None:
        self._submit("SREM", held_key(self.replica), _member(owner, stream_id))

    def _submit(self, *command: Any) -> None:
        """Send a command whose reply nobody needs."""
        self._redis.submit(*command).add_done_callback(_retrieve)


def _append_arguments(appends: Sequence[Append], *, renews: bool) -> list[Argument]:
    keys: list[Argument] = [str(2 * len(appends))]
    values: list[Argument] = []
    for one in appends:
        lease, flags, entries = one.lease, "t" if renews else "", one.entries
        if one.outcome is not None:
            flags, entries = flags + ("o" if one.is_retained else "on"), [*entries, one.outcome]
        if one.recipe is not None:
            flags, entries = flags + "r", [*entries, one.recipe]
        keys += stream_keys(lease.owner, lease.stream_id)
        values += (f"{lease.token} {one.after} {len(entries)}{flags}", *entries)
    return keys + values


def _answers(reply: Reply) -> Iterator[Appended]:
    numbers = iter(reply)
    for status, length, is_cancelled in zip(numbers, numbers, numbers, strict=True):
        yield Appended(scripts.STATUSES[status], length, bool(is_cancelled))


def _id_in_key(owner: Owner, stream_id: str) -> str:
    return stream_keys(owner, stream_id)[0].removeprefix(prefixes(owner)[0])


def _member(owner: Owner, stream_id: str) -> bytes:
    return _ENCODER.encode((owner, stream_id))


def _texts(values: Sequence[bytes]) -> frozenset[str]:
    return frozenset(value.decode() for value in values)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _retrieve(reply: asyncio.Future[Reply]) -> None:
    if not reply.cancelled():
        reply.exception()
