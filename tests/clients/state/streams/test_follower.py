from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from clients.state.errors import StateCause, StateUnavailable
from clients.state.streams import follower
from clients.state.streams.backend import QUOTA_STEP, RECORD_BYTES, LogLimits, Place
from clients.state.streams.records import Append, Page
from tests.support.stack import until
from tests.support.stream_stores import ALICE, Copy, Stores, new

pytestmark = pytest.mark.timeout(20)

LIMITS = LogLimits(lease=20)


async def test_a_mirror_receives_a_stream_from_its_position_to_its_end(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        await a.stored(opened.lease, 0, b"1", b"2")
        whole, rest = b.follow(opened.record), b.follow(opened.record, 1)
        await until(lambda: whole.entries == [b"1", b"2"] and rest.entries == [b"2"])
        await a.stored(opened.lease, 2, b"3")
        await until(lambda: whole.entries == [b"1", b"2", b"3"] and rest.entries == [b"2", b"3"])
        await a.stored(opened.lease, 3, b"end", outcome=b"done")
        await until(lambda: whole.outcome == rest.outcome == b"done")
        late, last = b.follow(opened.record), b.follow(opened.record, 4)
        await until(lambda: late.outcome == last.outcome == b"done")
        assert (late.entries, last.entries) == ([b"1", b"2", b"3", b"end"], [])
        assert whole.entries == late.entries


async def test_an_added_mirror_does_not_wait_for_others(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        quiet, busy = await a.opened(new()), await a.opened(new())
        waiting = b.follow(quiet.record)
        await asyncio.sleep(0.02)  # the follower blocks
        await a.stored(busy.lease, 0, b"1")
        began = asyncio.get_running_loop().time()
        copy = b.follow(busy.record)
        await until(lambda: copy.entries == [b"1"])
        assert asyncio.get_running_loop().time() - began < 0.5, "less than a blocking read"
        assert waiting.entries == []


async def test_a_long_stream_arrives_in_pages(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        entries = [b"%d" % number for number in range(3 * follower.STREAM_ENTRIES)]
        await a.stored(opened.lease, 0, *entries, outcome=b"done")
        pages: list[int] = []

        class Counting(Copy):
            def entries_came(self, page: Page) -> None:
                pages.append(len(page.entries))
                super().entries_came(page)

        copy = Counting()
        b.store.follow(ALICE, opened.record.id, 0, copy)
        await until(lambda: copy.outcome)
        assert copy.entries == entries
        assert max(pages) <= follower.STREAM_ENTRIES


async def test_many_streams_arrive_together(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = [await a.opened(new()) for _ in range(50)]
        copies = [b.follow(one.record) for one in opened]
        for after in range(5):
            await a.store.append([Append(lease=one.lease, after=after, entries=[b"%d" % after]) for one in opened])
        await until(lambda: all(copy.entries == [b"0", b"1", b"2", b"3", b"4"] for copy in copies))


async def test_a_closed_mirror_receives_nothing(stores: Stores) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        copy, other = Copy(), b.follow(opened.record)
        following = b.store.follow(ALICE, opened.record.id, 0, copy)
        following.close()
        following.close()
        await a.stored(opened.lease, 0, b"1")
        await until(lambda: other.entries)
        assert copy.entries == []


async def test_a_mirror_of_an_evicted_stream_fails(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.02)
    async with stores(LogLimits(lease=20, owner_bytes=2 * QUOTA_STEP + 3 * RECORD_BYTES)) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        evicted, other, wake = await a.opened(new()), await a.opened(new()), await a.opened(new())
        await a.stored(evicted.lease, 0, bytes(QUOTA_STEP))
        await a.stored(evicted.lease, 1, outcome=b"done")
        await a.stored(other.lease, 0, bytes(QUOTA_STEP + 2 * RECORD_BYTES))
        copy = b.follow(evicted.record, 1)
        running = b.follow(wake.record)

        async def is_told() -> bool:
            await a.stored(wake.lease, len(running.entries), b"1")
            return copy.is_lost

        await until(is_told)


async def test_a_mirror_waits_until_a_lost_stream_is_restored(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.02)
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        stream = new()
        opened = await a.opened(stream)
        await a.stored(opened.lease, 0, b"1", b"2")
        copy = b.follow(stream)
        await until(lambda: copy.entries == [b"1", b"2"])
        await replicas.flush()
        await asyncio.sleep(0.05)
        restored = await a.store.restore(stream, opened.lease.token)
        assert restored is not None
        for after, entry in enumerate([b"1", b"2", b"3"], restored[1]):
            await a.stored(restored[0], after, entry)
        await until(lambda: copy.entries == [b"1", b"2", b"3"])
        assert not copy.is_lost


async def test_a_mirror_of_a_stream_that_stays_lost_fails(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(follower, "LOST_SECONDS", 0.02)
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened, other = await a.opened(new()), await b.opened(new())
        copy = b.follow(opened.record)
        running = b.follow(other.record)
        await a.store.remove(opened.lease)

        async def is_told() -> bool:
            await b.store.append([Append(lease=other.lease, after=len(running.entries), entries=[b"1"])])
            return copy.is_lost

        await until(is_told)
        assert not running.is_lost


async def test_a_read_that_takes_too_long_is_repeated_for_fewer_entries(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(LIMITS) as replicas:
        a, b = await replicas.replica("a"), await replicas.replica("b")
        opened = await a.opened(new())
        entries = [b"%d" % number for number in range(40)]
        await a.stored(opened.lease, 0, *entries)
        counts: list[int] = []
        read = b.backend.next_pages

        async def slowly(places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
            counts.append(count)
            if count > 20:
                raise StateUnavailable(StateCause.TIMEOUT)
            return await read(places, count)

        monkeypatch.setattr(b.backend, "next_pages", slowly)
        copy = b.follow(opened.record)
        await until(lambda: copy.entries == entries)
        assert counts[0] == follower.STREAM_ENTRIES
