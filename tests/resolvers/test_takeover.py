from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from unittest.mock import AsyncMock

import pytest

from clients.errors import NotFound
from resolvers.streams.events import Ended, OnDisconnect, Started, StreamStatus
from tests.support.scripted_streams import COMPLETED, USER, failure_of, starting, text_in
from tests.support.shared_hubs import LEASE, Spoken, eventually, shared_hubs, spoken, words


async def test_a_stream_that_cannot_be_continued_fails() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        stream = await stack.enter_async_context(starting(holder.streams, Spoken(Started(), *words(2))))
        await eventually(lambda: stream.log.length == 3)
        there = await other.found(stream.id)
        other.refuses = NotFound("No agent.")
        hubs.world.crashed.add("a")
        heard = await other.read(there)
        assert text_in(heard) == spoken(2)
        assert isinstance(heard[-1].event, Ended)
        assert failure_of(heard[-1].event).message == "No agent."
        assert other.metrics.broken == [other.refuses]


async def test_a_stream_of_another_version_is_left_to_other_replicas() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        novel = await stack.enter_async_context(starting(holder.streams, Spoken(Started())))
        known = await stack.enter_async_context(starting(holder.streams, Spoken(Started())))
        await eventually(lambda: novel.log.length == known.log.length == 1)
        stored = hubs.world.streams[USER, novel.id]
        stored.stream = type(stored.stream)(id=novel.id, owner=USER, terms=b"\xc1")
        hubs.world.crashed.add("a")
        await eventually(lambda: other.continued)
        assert stored.holder == "a"
        assert hubs.world.streams[USER, known.id].holder == "b"


async def test_a_stream_with_entries_of_another_version_is_left_to_other_replicas() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        novel = await stack.enter_async_context(starting(holder.streams, Spoken(Started(), *words(1))))
        known = await stack.enter_async_context(starting(holder.streams, Spoken(Started())))
        await eventually(lambda: (novel.log.length, known.log.length) == (2, 1))
        stored = hubs.world.streams[USER, novel.id]
        stored.entries[1] = b"\xc1"
        hubs.world.crashed.add("a")
        await eventually(lambda: other.continued)
        assert stored.holder == "a"
        assert hubs.world.streams[USER, known.id].holder == "b"


async def test_readers_on_a_third_replica_keep_a_stream_that_was_taken_over() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, third, taker = [await hubs.hub(name) for name in "acb"]
        source = Spoken(Started(), *words(1))
        starts = starting(holder.streams, source, on_disconnect=OnDisconnect.CONTINUE)
        stream = await stack.enter_async_context(starts)
        await eventually(lambda: stream.log.length == 2)
        reading = asyncio.create_task(third.read(await third.found(stream.id)))
        await eventually(lambda: stream.elsewhere == 1)
        third.backend.take_over = AsyncMock(return_value=None)  # type: ignore[method-assign]
        taker.backend.sends.clear()
        hubs.world.crashed.add("a")
        await eventually(lambda: taker.backend.held_back)
        await asyncio.sleep(0.01)
        taker.backend.sends.set()
        await eventually(lambda: taker.continued)
        here = await taker.found(stream.id)
        await eventually(lambda: here.elsewhere == 1)
        assert here.timer is None, "the stream would be cancelled after the grace period"
        taker.continued[0].say(*words(1, 1), COMPLETED)
        assert text_in(await reading) == spoken(2)


@pytest.mark.parametrize("on_disconnect", OnDisconnect)
async def test_readers_of_a_stopped_process_can_return(on_disconnect: OnDisconnect) -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b", grace=0.05)
        starts = starting(holder.streams, Spoken(Started(), *words(1)), on_disconnect=on_disconnect, key="k")
        stream = await stack.enter_async_context(starts)
        await eventually(lambda: stream.log.length == 2)
        hubs.world.crashed.add("a")
        await eventually(lambda: other.continued)
        there = await other.found(stream.id)
        async with other.streams.attached(there):
            other.continued[0].say(*words(1, 1))
            await eventually(lambda: there.log.length == 3)
            assert there.status is StreamStatus.RUNNING
        if on_disconnect is OnDisconnect.CONTINUE:
            other.continued[0].say(COMPLETED)
        await eventually(lambda: there.log.ended)
        assert there.abandoned is (on_disconnect is OnDisconnect.CANCEL)
        assert there.text == spoken(2)


async def test_a_cancellation_that_the_stopped_process_did_not_see_is_carried_out() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        stream = await stack.enter_async_context(starting(holder.streams, Spoken(Started())))
        await eventually(lambda: stream.log.length == 1)
        there = await other.found(stream.id)
        hubs.world.crashed.add("a")
        await other.streams.cancel_and_wait(there)
        assert there.status is StreamStatus.CANCELLED
