from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from functools import partial
from unittest.mock import AsyncMock
from weakref import WeakSet

import pytest

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict
from clients.state.streams import follower
from clients.state.streams.records import Append, StreamState
from resolvers.streams import mirrors
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import OnDisconnect, Started, TextDelta
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import COMPLETED, USER, finished, refuses, run_to_end, starting
from tests.support.shared_hubs import LEASE, Spoken, eventually, shared_hubs, spoken, words


def has(stream: Stream, entries: int) -> bool:
    """Return whether a stream's log has a number of entries."""
    return stream.log.length == entries


async def test_a_reader_of_an_answer_that_is_evicted_meanwhile_gets_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.0)
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(2))
        starts = starting(holder.streams, source, on_disconnect=OnDisconnect.CONTINUE, key="k")
        stream = await stack.enter_async_context(starts)
        await eventually(lambda: stream.log.length == 3)
        there = await other.found(stream.id)
        reading = asyncio.create_task(other.read(there))
        await eventually(lambda: there.log.length == 3)
        other.backend.sends.clear()
        other.backend.wake()
        await eventually(lambda: other.backend.held_back)
        source.say(*words(1, 2), COMPLETED)
        stored = hubs.world.streams[USER, stream.id]
        await eventually(lambda: stored.state is StreamState.ENDED)
        stored.state, stored.entries, stored.is_listed = StreamState.EVICTED, [], False
        with refuses(Conflict, Reason.ANSWER_DROPPED):  # now, the other replica knows that the stream has ended
            await run_to_end(other.streams, finished(), key="k")
        other.backend.sends.set()
        await eventually(lambda: hubs.world.waiting)
        other.backend.wake()
        with refuses(BadUserInput, Reason.GAP):
            await reading


async def test_a_reader_is_still_served_after_two_takeovers_and_the_end_of_another_use() -> None:
    async with shared_hubs(LEASE) as hubs, AsyncExitStack() as stack:
        first, here, last = [await hubs.hub(name) for name in "abc"]
        last.backend.take_over, take_over = AsyncMock(return_value=None), last.backend.take_over  # type: ignore[method-assign]
        starts = starting(first.streams, Spoken(), on_disconnect=OnDisconnect.CONTINUE)
        opening = asyncio.create_task(stack.enter_async_context(starts))
        await eventually(lambda: hubs.world.streams)
        [(_, stream_id)] = hubs.world.streams
        known = stack.enter_context(here.streams.known(USER))
        await known.refresh()  # follows the stream until the first event
        hubs.world.crashed.add("a")
        await eventually(lambda: here.continued)
        stream = await here.found(stream_id)
        await stack.enter_async_context(here.streams.attached(stream))
        await eventually(lambda: stream.log.length == 1)
        last.backend.take_over = take_over  # type: ignore[method-assign]
        record = await last.store.find(USER, stream_id)
        assert record is not None
        opened = await last.store.take_over(record)
        assert opened is not None
        here.continued[0].say(*words(1))
        await eventually(lambda: stream.is_mirrored)
        await known.refresh()
        row = EventCodec().encode(words(1)[0])
        await last.store.append([Append(lease=opened.lease, after=1, entries=[row])])
        await eventually(partial(has, stream, 2))
        opening.cancel()


async def test_a_client_that_polls_a_text_costs_only_the_new_events() -> None:
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        source = Spoken(Started(), *words(50))
        stream = await stack.enter_async_context(starting(holder.streams, source))
        await eventually(lambda: stream.log.length == 51)
        for count in (50, 50, 53):
            source.say(*words(count - 50, 50))
            await eventually(partial(has, stream, count + 1))
            there = await other.found(stream.id)
            await there.log.filled()
            assert there.text == spoken(count)
            del there
        assert (other.backend.sent, other.streams.memory) == (54, 0)


async def test_streams_that_nobody_reads_use_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "IDLE_BYTES", 10_000)
    async with shared_hubs() as hubs, AsyncExitStack() as stack:
        holder, other = await hubs.hub("a"), await hubs.hub("b")
        known: WeakSet[Stream] = WeakSet()
        for _ in range(4):
            source = Spoken(Started(), TextDelta(text="x" * 4_000))
            stream = await stack.enter_async_context(starting(holder.streams, source))
            await eventually(partial(has, stream, 2))
            there = await other.found(stream.id)
            await there.log.filled()
            known.add(there)
            del there
        gc.collect()
        assert len(known) == 2
