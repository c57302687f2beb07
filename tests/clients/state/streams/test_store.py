"""What the store of streams promises, in Redis and in its twin in memory."""

from __future__ import annotations

import asyncio

import pytest

from clients.state.streams.backend import QUOTA_STEP, RECORD_BYTES, LogLimits
from clients.state.streams.records import Append, AppendStatus, OverLimit, OverQuota, StreamState, Taken
from tests.support.stack import until
from tests.support.stream_stores import ALICE, BOB, Stores, new

pytestmark = pytest.mark.timeout(20)

LIMITS = LogLimits(lease=20)

# Streams and keys


async def test_a_stream_is_found_by_every_replica(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(key="key", fingerprint="f", conversation="conv-1", terms=b"\x00\xff", recipe=b"r")
        opened = await a.opened(stream)
        assert (opened.record.holder, opened.record.state) == ("a", StreamState.RUNNING)
        assert not opened.record.has_replaced
        for found in (
            await b.store.find(ALICE, stream.id),
            await b.store.at_key(ALICE, "key"),
            (await b.store.of(ALICE))[0],
        ):
            assert found == opened.record
            assert (found.terms, found.recipe, found.fingerprint) == (b"\x00\xff", b"r", "f")
        assert await b.store.find(BOB, stream.id) is None
        assert await b.store.at_key(BOB, "key") is None
        assert await b.store.of(BOB) == []


async def test_streams_are_listed_oldest_first(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        ids = []
        for one in (a, b, a):
            ids.append((await one.opened(new())).record.id)
            await asyncio.sleep(0.002)
        assert [record.id for record in await a.store.of(ALICE)] == ids


async def test_a_key_has_one_stream(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        stores_ = [(await replicas.replica(name)).store for name in "abcd"]
        answers = await asyncio.gather(*(one.open(new(key="key"), max_running=10) for one in stores_))
        taken = [answer for answer in answers if isinstance(answer, Taken)]
        assert len(taken) == 3
        assert len({answer.record.id for answer in taken}) == 1
        assert len(await stores_[0].of(ALICE)) == 1


async def test_an_opening_can_be_repeated(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new(key="key")
        opened = await a.opened(stream)
        assert await a.opened(stream) == opened
        taken = await b.store.take_over(opened.record)
        assert taken is not None
        assert await a.store.open(stream, max_running=10) == Taken(taken.record), "another replica is the holder now"


async def test_a_new_stream_replaces_the_expected_one_alone(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        first = (await a.opened(new(key="key"))).record
        second = (await b.opened(new(key="key"), replacing=first.id)).record
        assert second.has_replaced
        assert second.first_began == first.started_at
        late = await a.store.open(new(key="key"), max_running=10, replacing=first.id)
        assert isinstance(late, Taken)
        assert late.record == second
        third = (await b.opened(new(key="key"), replacing=second.id)).record
        assert third.first_began == first.started_at
        found = await a.store.find(ALICE, first.id)
        assert found is not None, "the earlier stream can still be read"


async def test_a_removed_stream_leaves_nothing(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new(key="key"))
        await a.stored(opened.lease, 0, b"1")
        await b.store.attend(ALICE, opened.record.id)
        await a.store.remove(opened.lease)
        assert await b.store.find(ALICE, opened.record.id) is None
        assert await b.store.at_key(ALICE, "key") is None
        assert await b.store.of(ALICE) == []
        assert await b.store.read(ALICE, opened.record.id, 0, 10) is None
        assert (await a.append(opened.lease, 1, b"2")).status is AppendStatus.MISSING


async def test_running_streams_are_counted_on_all_replicas(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        first = await a.opened(new(), max_running=2)
        await b.opened(new(), max_running=2)
        assert await a.store.open(new(), max_running=2) == OverLimit(2)
        await b.opened(new(BOB), max_running=2)
        await a.stored(first.lease, 0, b"end", outcome=b"done")
        await b.opened(new(), max_running=2)
        assert await a.store.open(new(key="key"), max_running=2) == OverLimit(2)
        assert await a.store.at_key(ALICE, "key") is None


# Entries


async def test_entries_are_read_by_position(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        lease, stream_id = opened.lease, opened.record.id
        assert await a.stored(lease, 0, b"1", b"", b"\xff\x00") == 3
        assert await a.stored(lease, 3, b"4") == 4
        for after, count, entries in ((0, 10, [b"1", b"", b"\xff\x00", b"4"]), (1, 2, [b"", b"\xff\x00"]), (4, 1, [])):
            page = await b.store.read(ALICE, stream_id, after, count)
            assert page is not None
            assert (page.after, page.entries, page.outcome) == (after, entries, None)
        assert await b.store.read(ALICE, stream_id, 5, 10) is None
        found = await b.store.find(ALICE, stream_id)
        assert found is not None
        assert found.length == 4


async def test_a_repeated_append_stores_nothing_twice(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new())
        for after, entries in ((0, b"12"), (0, b"12"), (0, b"123"), (1, b"234"), (3, b"4"), (2, b"3")):
            await a.stored(opened.lease, after, *(bytes([entry]) for entry in entries))
        page = await a.store.read(ALICE, opened.record.id, 0, 10)
        assert page is not None
        assert page.entries == [b"1", b"2", b"3", b"4"]


async def test_an_append_after_lost_entries_stores_nothing(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new())
        await a.stored(opened.lease, 0, b"1")
        answer = await a.append(opened.lease, 2, b"3", outcome=b"done")
        assert (answer.status, answer.length) == (AppendStatus.BEHIND, 1)
        assert await a.stored(opened.lease, 1, b"2", b"3", outcome=b"done") == 3


async def test_a_stream_has_one_end(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new(key="key"))
        for outcome in (b"done", b"done", b"failed"):
            assert await a.stored(opened.lease, 0, b"1", b"end", outcome=outcome) == 2
        assert await a.stored(opened.lease, 2, b"more") == 2
        found = await b.store.at_key(ALICE, "key")
        assert found is not None
        assert (found.state, found.outcome, found.length) == (StreamState.ENDED, b"done", 2)
        assert found.expires_at is not None
        assert 290 < found.expires_at - found.started_at <= 301
        page = await b.store.read(ALICE, found.id, 0, 1)
        assert page is not None
        assert (page.entries, page.outcome) == ([b"1"], None)
        for after, entries in ((0, [b"1", b"end"]), (1, [b"end"]), (2, [])):
            page = await b.store.read(ALICE, found.id, after, 10)
            assert page is not None
            assert (page.entries, page.outcome) == (entries, b"done")


async def test_an_append_replaces_the_recipe(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new(recipe=b"first"))
        await a.stored(opened.lease, 0, b"1", recipe=b"second")
        await a.stored(opened.lease, 1, b"2")
        found = await b.store.find(ALICE, opened.record.id)
        assert found is not None
        assert found.recipe == b"second"
        assert (await b.store.of(ALICE))[0].recipe == b"second"


@pytest.mark.parametrize("by_append", [True, False])
async def test_an_unretained_stream_expires_soon(stores: Stores, by_append: bool) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new(key="key", is_retained=by_append))
        await a.stored(opened.lease, 0, b"end", outcome=b"done", is_retained=not by_append)
        assert await a.store.at_key(ALICE, "key") is None
        assert await a.store.of(ALICE) == []
        found = await a.store.find(ALICE, opened.record.id)
        assert found is not None, "readers have time to read the end"
        assert found.expires_at is not None
        assert found.expires_at - found.started_at < 12
        page = await a.store.read(ALICE, found.id, 0, 10)
        assert page is not None
        assert page.entries == [b"end"]


async def test_an_ended_stream_expires_with_its_key(stores: Stores) -> None:
    async with stores(LogLimits(lease=20, retention=0.02)) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new(key="key"))
        await a.stored(opened.lease, 0, b"end", outcome=b"done")

        async def is_gone() -> bool:
            return await a.store.find(ALICE, opened.record.id) is None

        await until(is_gone)
        assert await a.store.at_key(ALICE, "key") is None
        assert await a.store.of(ALICE) == []
        assert await a.store.read(ALICE, opened.record.id, 0, 10) is None
        assert not (await a.opened(new(key="key"))).record.has_replaced


async def test_appends_of_many_streams_are_independent(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a = await replicas.replica("a")
        leases = [(await a.opened(new(owner))).lease for owner in (ALICE, BOB, ALICE)]
        await a.store.remove(leases[1])
        appends = [Append(lease=lease, after=0, entries=[b"1"]) for lease in leases]
        answers = await a.store.append(appends)
        assert [answer.status.name for answer in answers] == ["STORED", "MISSING", "STORED"]
        assert await a.store.append([]) == []


# Quotas


async def test_an_owner_over_the_quota_loses_the_oldest_ended_streams(stores: Stores) -> None:
    size = 2 * QUOTA_STEP
    async with stores(LogLimits(lease=20, owner_bytes=3 * (size + 2 * RECORD_BYTES))) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        running = await a.opened(new())
        ended = []
        for number in range(3):
            ended.append(await a.opened(new(key=str(number))))
            await a.stored(ended[-1].lease, 0, bytes(size))
            await a.stored(ended[-1].lease, 1, outcome=b"done")
            await asyncio.sleep(0.002)
        copy = b.follow(ended[0].record, 1)
        await a.stored(running.lease, 0, bytes(size))
        first = await b.store.at_key(ALICE, "0")
        assert first is not None, "the key stays in use"
        assert (first.state, first.outcome, first.length) == (StreamState.EVICTED, b"done", 0)
        assert await b.store.read(ALICE, first.id, 0, 1) is None
        assert ended[0].record.id not in {record.id for record in await b.store.of(ALICE)}
        page = await b.store.read(ALICE, ended[1].record.id, 0, 1)
        assert page is not None
        assert copy.outcome in {b"done", None}


async def test_a_running_stream_that_exceeds_the_quota_can_only_end(stores: Stores) -> None:
    async with stores(LogLimits(lease=20, owner_bytes=2 * QUOTA_STEP)) as replicas:
        a = await replicas.replica("a")
        opened = await a.opened(new())
        await a.stored(opened.lease, 0, bytes(QUOTA_STEP))
        answer = await a.append(opened.lease, 1, bytes(QUOTA_STEP))
        assert (answer.status, answer.length) == (AppendStatus.OVER_QUOTA, 1)
        assert await a.store.open(new(terms=bytes(QUOTA_STEP)), max_running=10) == OverQuota()
        await a.opened(new(BOB))
        assert await a.stored(opened.lease, 1, b"end", outcome=b"too large") == 2
        await a.opened(new(terms=bytes(QUOTA_STEP)))


@pytest.mark.bound("streams-kept")
async def test_the_number_of_an_owners_streams_is_bounded(stores: Stores) -> None:
    async with stores(LogLimits(lease=20, max_listed=3)) as replicas:
        a = await replicas.replica("a")
        first = await a.opened(new(key="first"))
        await a.stored(first.lease, 0, b"end", outcome=b"done")
        running = [await a.opened(new()), await a.opened(new())]
        assert len(await a.store.of(ALICE)) == 3
        running.append(await a.opened(new()))
        found = await a.store.at_key(ALICE, "first")
        assert found is not None
        assert found.state is StreamState.EVICTED
        assert await a.stored(first.lease, 0, b"end") == 1, "the holder must not store an evicted stream again"
        assert {one.id for one in await a.store.of(ALICE)} == {one.record.id for one in running}
        assert await a.store.open(new(), max_running=10) == OverQuota()
