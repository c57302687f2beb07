"""What replicas tell each other about streams, and how a stream changes its holder."""

from __future__ import annotations

import asyncio

import pytest

from clients.state.streams.backend import LogLimits
from clients.state.streams.listeners import TurnNews
from clients.state.streams.records import AppendStatus, NewStream, Opened, StreamState
from tests.support.stack import until
from tests.support.stream_stores import ALICE, BOB, Replica, Stores, new

pytestmark = pytest.mark.timeout(20)

LIMITS = LogLimits(lease=20)
BRIEF = LogLimits(lease=0.3)
"""A short lease, for tests that wait until a replica dies."""


# Readers and cancellation


async def test_the_holder_counts_readers_at_other_replicas(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b, c = [await replicas.replica(name) for name in "abc"]
        stream_id = (await a.opened(new())).record.id
        for act, readers in (
            (b.store.attend(ALICE, stream_id), (stream_id, 1, False)),
            (c.store.attend(ALICE, stream_id), (stream_id, 2, False)),
            (b.store.leave(ALICE, stream_id, may_return=True), (stream_id, 1, True)),
            (c.store.leave(ALICE, stream_id, may_return=False), (stream_id, 0, False)),
        ):
            count = len(a.heard.readers)
            await act
            await until(lambda count=count: len(a.heard.readers) > count)
            assert a.heard.readers[-1] == readers
            assert await a.store.readers(ALICE, stream_id) == readers[1]
        assert b.heard.readers == c.heard.readers == []


async def test_the_holders_own_readers_do_not_count(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        stream_id = (await a.opened(new())).record.id
        await a.store.attend(ALICE, stream_id)
        assert await a.store.readers(ALICE, stream_id) == 0
        assert await a.store.readers(BOB, stream_id) == 0


async def test_a_new_replicas_readers_count_before_its_first_heartbeat(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b", starts=False)
        stream_id = (await a.opened(new())).record.id
        await b.store.attend(ALICE, stream_id)
        await until(lambda: a.heard.readers == [(stream_id, 1, False)])


async def test_a_crashed_replicas_readers_do_not_count(stores: Stores) -> None:
    async with stores(BRIEF) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream_id = (await a.opened(new())).record.id
        await b.store.attend(ALICE, stream_id)
        await until(lambda: a.heard.readers == [(stream_id, 1, False)])
        await replicas.crash("b")
        await until(lambda: a.heard.readers[1:] == [(stream_id, 0, True)])
        assert await a.store.readers(ALICE, stream_id) == 0


async def test_the_holder_receives_a_cancellation(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        record = await b.store.cancel(ALICE, opened.record.id)
        assert record is not None
        assert record.is_cancelled
        await until(lambda: a.heard.cancels == [record.id])
        answer = await a.append(opened.lease, 0, b"1")
        assert (answer.status, answer.is_cancelled) == (AppendStatus.STORED, True)
        await a.stored(opened.lease, 1, b"end", outcome=b"cancelled")
        assert await b.store.cancel(BOB, record.id) is None
        assert await b.store.cancel(ALICE, "stream:none") is None


async def test_an_ended_stream_is_not_cancelled(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        await a.stored(opened.lease, 0, b"end", outcome=b"done")
        record = await b.store.cancel(ALICE, opened.record.id)
        assert record is not None
        assert (record.is_cancelled, record.outcome) == (False, b"done")
        assert a.heard.cancels == []


async def test_a_conversations_turn_is_reported_to_other_replicas(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        await a.opened(new())
        stream = new(conversation="conv-1")
        await a.opened(stream)
        await until(lambda: b.heard.turns == [TurnNews(ALICE, "conv-1", stream.id)])
        assert a.heard.turns == []


# Holders


async def taken_over(replica: Replica, stream: NewStream) -> Opened:
    """Take over a stream that has no living holder."""
    record = await until(lambda: replica.heard.orphans.get(stream.id))
    opened = await replica.store.take_over(record)
    assert opened is not None
    return opened


async def test_one_replica_takes_over_a_crashed_replicas_streams(stores: Stores) -> None:
    async with stores(BRIEF) as replicas:
        a = await replicas.replica("a", starts=False)
        await a.store.beat()
        stream = new(conversation="conv-1", recipe=b"r")
        opened = await a.opened(stream)
        ended = await a.opened(new())
        await a.stored(opened.lease, 0, b"1", recipe=b"r2")
        await a.stored(ended.lease, 0, b"end", outcome=b"done")
        others = [await replicas.replica(name) for name in "bcd"]
        copy = others[0].follow(stream)
        records = [await until(lambda one=one: one.heard.orphans.get(stream.id)) for one in others]
        assert records[0].recipe == b"r2"
        answers = await asyncio.gather(
            *(one.store.take_over(record) for one, record in zip(others, records, strict=True))
        )
        holders = [(one, answer) for one, answer in zip(others, answers, strict=True) if answer is not None]
        assert len(holders) == 1, "exactly one replica is the holder"
        b, taken = holders[0]
        assert (taken.record.holder, taken.record.length) == (b.name, 1)
        assert taken.lease.token > opened.lease.token
        answer = await a.append(opened.lease, 1, b"late", outcome=b"late")
        assert (answer.status, answer.length) == (AppendStatus.FENCED, 1)
        await b.stored(taken.lease, 1, b"2", outcome=b"done")
        await until(lambda: copy.outcome == b"done")
        assert copy.entries == [b"1", b"2"]
        assert ended.record.id not in b.heard.orphans


async def test_a_takeover_can_be_repeated(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b, c = [await replicas.replica(name) for name in "abc"]
        opened = await a.opened(new())
        first = await b.store.take_over(opened.record)
        assert first is not None
        assert await b.store.take_over(opened.record) == first
        assert await c.store.take_over(opened.record) is None
        await b.stored(first.lease, 0, b"end", outcome=b"done")
        assert await c.store.take_over(first.record) is None


async def test_a_living_replicas_streams_are_no_orphans(stores: Stores) -> None:
    async with stores(BRIEF) as replicas:
        a = await replicas.replica("a", starts=False)
        await a.store.beat()
        lost = (await a.opened(new())).record
        b, c = await replicas.replica("b"), await replicas.replica("c")
        held = (await b.opened(new())).record
        await until(lambda: lost.id in c.heard.orphans)
        assert held.id not in c.heard.orphans


async def test_released_streams_are_taken_over_at_once(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(recipe=b"r")
        opened = await a.opened(stream)
        await a.stored(opened.lease, 0, b"1")
        await a.store.release([opened.lease])
        await a.store.release([opened.lease])
        taken = await taken_over(b, stream)
        assert (taken.record.recipe, taken.record.length) == (b"r", 1)
        assert (await a.append(opened.lease, 1, b"late")).status is AppendStatus.FENCED
        await a.store.beat()
        assert a.heard.orphans == {}, "a draining replica takes nothing over"


async def test_a_released_stream_waits_for_a_replica(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        stream = new()
        opened = await a.opened(stream)
        await a.store.release([opened.lease])
        await a.store.aclose()
        b = await replicas.replica("b")
        await taken_over(b, stream)


async def test_a_closed_replicas_streams_are_orphans(stores: Stores) -> None:
    async with stores(BRIEF) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new()
        await a.opened(stream)
        await a.store.aclose()
        await taken_over(b, stream)


async def test_the_next_holder_sees_a_cancellation_and_readers(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b, c = [await replicas.replica(name) for name in "abc"]
        stream = new()
        opened = await a.opened(stream)
        await c.store.attend(ALICE, stream.id)
        await c.store.cancel(ALICE, stream.id)
        await a.store.release([opened.lease])
        taken = await taken_over(b, stream)
        assert taken.record.is_cancelled
        for _ in range(2):  # the listener is told again, because it may not have known the stream
            b.heard.readers.clear()
            b.store.report_readers(stream.id)
            await until(lambda: b.heard.readers == [(stream.id, 1, True)])


# Losses


async def test_a_holder_restores_what_the_store_has_lost(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(key="key", recipe=b"r")
        opened = await a.opened(stream)
        await a.stored(opened.lease, 0, b"1")
        await b.store.attend(ALICE, stream.id)
        await until(lambda: a.heard.readers)
        await replicas.flush()
        assert (await a.append(opened.lease, 1, b"2")).status is AppendStatus.MISSING
        await a.store.beat()
        assert a.heard.losses == [stream.id]
        lease, length = await a.store.restore(stream, opened.lease.token) or (None, -1)
        assert lease == opened.lease
        assert length == 0
        assert await a.store.restore(stream, opened.lease.token) == (lease, 0)
        await a.stored(lease, 0, b"1", b"2")
        record = await b.store.at_key(ALICE, "key")
        assert record is not None
        assert (record.id, record.length, record.recipe) == (stream.id, 2, b"r")
        assert await a.store.readers(ALICE, stream.id) == 0
        await b.store.beat()
        assert await a.store.readers(ALICE, stream.id) == 1, "the reader's replica has registered again"
        await until(lambda: a.heard.readers[-1][1] == 1)
        assert (stream.id, 0, False) not in a.heard.readers, "the readers were not gone"


async def test_all_replicas_know_that_the_store_has_lost_its_keys(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        before = a.store.may_lack_keys
        await replicas.flush()
        await a.store.beat()
        later = await replicas.replica("b")
        assert (before, a.store.may_lack_keys, later.store.may_lack_keys) == (False, True, True)


async def test_lost_entries_are_reported(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        stream = new()
        opened = await a.opened(stream)
        await a.stored(opened.lease, 0, b"1", b"2")
        await replicas.flush()
        restored = await a.store.restore(stream, opened.lease.token)
        assert restored is not None
        assert (await a.append(restored[0], 2, b"3")).status is AppendStatus.BEHIND


async def test_a_stream_that_began_without_the_store_is_stored_later(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(key="key")
        restored = await a.store.restore(stream, None)
        assert restored is not None
        assert await a.store.restore(stream, None) == restored
        assert await b.store.restore(stream, None) is None
        assert restored[1] == 0
        taken = await b.store.at_key(ALICE, "key")
        assert taken is not None
        assert (taken.id, taken.state, taken.holder) == (stream.id, StreamState.RUNNING, "a")
        other = new(key="key")
        assert await b.store.restore(other, None) is not None, "the stream runs without its key"
        assert await b.store.at_key(ALICE, "key") == taken
        assert len(await b.store.of(ALICE)) == 2


async def test_the_later_holder_wins_after_a_loss(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(key="key")
        opened = await a.opened(stream)
        await a.stored(opened.lease, 0, b"1")
        taken = await b.store.take_over(opened.record)
        assert taken is not None
        await b.stored(taken.lease, 1, b"2")
        await replicas.flush()
        assert await a.store.restore(stream, opened.lease.token) is not None
        await a.stored(opened.lease, 0, b"1", b"wrong")
        assert (await b.append(taken.lease, 2, b"3")).status is AppendStatus.MISSING
        assert await b.store.restore(stream, taken.lease.token) == (taken.lease, 0)
        await b.stored(taken.lease, 0, b"1", b"2", b"3")
        assert (await a.append(opened.lease, 2, b"wrong")).status is AppendStatus.FENCED
        assert await a.store.restore(stream, opened.lease.token) is None
        page = await b.store.read(ALICE, stream.id, 0, 10)
        assert page is not None
        assert page.entries == [b"1", b"2", b"3"]
        found = await b.store.at_key(ALICE, "key")
        assert found is not None
        assert found.holder == "b"


async def test_a_suspended_replica_does_not_restore_streams(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        stream = new()
        opened = await a.opened(stream)
        a.clock.ahead += LIMITS.lease + 1
        await replicas.flush()
        assert (await a.append(opened.lease, 0, b"1")).status is AppendStatus.FENCED
        assert await a.store.restore(stream, opened.lease.token) is None
        assert (await a.opened(new())).record.holder == "a", "new streams are not concerned"


async def test_a_fenced_stream_is_reported(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        assert await b.store.take_over(opened.record) is not None
        a.clock.ahead += LIMITS.running
        await a.store.beat()
        assert a.heard.fences == [opened.record.id]
        await a.store.beat()
        assert a.heard.fences == [opened.record.id]


async def test_a_stream_whose_opening_was_lost_is_reported_to_its_holder(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        held, lost, stray = await a.opened(new()), new(key="key"), new()
        for stream in (lost, stray):  # the store executes the call, but the answer does not arrive
            await a.backend.open(stream, max_running=10, replacing=None)
        await a.store.beat()
        assert a.heard.orphans == {}, "the answer may be on its way"
        a.clock.ahead += LIMITS.lease
        await a.store.beat()
        assert set(a.heard.orphans) == {lost.id, stray.id}
        assert await a.store.restore(lost, None) is not None
        taken = await a.store.take_over(a.heard.orphans[stray.id])
        assert taken is not None
        await a.stored(taken.lease, 0, b"end", outcome=b"failed")
        a.heard.orphans.clear()
        a.clock.ahead += LIMITS.lease
        await a.store.beat()
        await a.store.beat()
        assert a.heard.orphans == b.heard.orphans == {}
        assert await a.stored(held.lease, 0, b"1") == 1
