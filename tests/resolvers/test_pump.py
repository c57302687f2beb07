"""How far a source is read ahead of its readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from resolvers.streams.events import Ended, Event, OnDisconnect, Started, StreamOutcome, TextDelta
from tests.support.scripted_streams import ScriptedSource, end_of, hub, starting, text_in

MB = 1024 * 1024


class Flowing(ScriptedSource):
    """A source of ``count`` pieces of ``size`` characters, that counts how many were taken. ``go`` lets it begin."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.count, self.size, self.taken = count, size, 0
        self.go = asyncio.Event()
        self.go.set()

    async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
        yield Started(), b""
        await self.go.wait()
        for _ in range(self.count):
            self.taken += 1
            yield TextDelta(text="x" * self.size), b""
            await asyncio.sleep(0)
        yield Ended(outcome=StreamOutcome.COMPLETED), b""


async def settled(source: Flowing) -> int:
    """How much of a source is taken once no more of it is."""
    before = -1
    async with asyncio.timeout(10):
        while before != source.taken:
            before = source.taken
            for _ in range(50):
                await asyncio.sleep(0)
    return source.taken


@pytest.mark.bound("source-lead")
@pytest.mark.parametrize(("lead", "taken"), [(999, 10), (1000, 11)])
async def test_a_source_is_paused_one_byte_past_the_bound_on_its_lead(lead: int, taken: int) -> None:
    """Ten pieces of a hundred bytes wait: as many as the bound, or one byte more than it."""
    streams, _ = hub(coalesce=0.001, max_lead=lead, slow_after=3600)
    source = Flowing(count=100, size=100)
    source.go.clear()
    async with starting(streams, source) as stream, aclosing(streams.events(stream, None)) as heard:
        assert isinstance((await anext(heard)).event, Started)
        source.go.set()
        assert await settled(source) == taken


async def test_a_source_is_not_read_far_ahead_of_its_only_reader() -> None:
    streams, _ = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with starting(streams, source) as stream, aclosing(streams.events(stream, None)) as heard:
        first = await anext(heard)
        assert isinstance(first.event, Started)
        assert await settled(source) <= 12
        rest = [one async for one in heard]
    assert len(text_in(rest)) == 100 * 100_000
    assert isinstance(rest[-1].event, Ended)


@pytest.mark.parametrize("how", [OnDisconnect.CONTINUE, OnDisconnect.CANCEL])
async def test_a_source_goes_on_for_another_reader_or_without_any(how: OnDisconnect) -> None:
    streams, _ = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(starting(streams, source, on_disconnect=how))
        slow = await stack.enter_async_context(aclosing(streams.events(stream, None)))
        await anext(slow)
        if how is OnDisconnect.CANCEL:
            assert await settled(source) < 100
            reading = await stack.enter_async_context(streams.attached(stream))
            fast = [one async for one in streams.events(reading, None)]
            assert len(text_in(fast)) == 100 * 100_000
        assert (await end_of(stream)).outcome is StreamOutcome.COMPLETED


async def test_a_slow_reader_does_not_delay_a_request_that_waits_for_the_end() -> None:
    streams, _ = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with starting(streams, source) as stream, aclosing(streams.events(stream, None)) as slow:
        await anext(slow)
        assert await settled(source) < 100
        async with asyncio.timeout(10):
            assert (await stream.log.end()).outcome is StreamOutcome.COMPLETED


async def test_a_paused_source_is_closed_when_its_reader_leaves() -> None:
    streams, metrics = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with starting(streams, source) as stream, aclosing(streams.events(stream, None)) as slow:
        await anext(slow)
        assert await settled(source) < 100
    async with asyncio.timeout(10):
        assert (await end_of(stream)).outcome is StreamOutcome.CANCELLED
    assert source.closed == 1
    assert metrics.ended == ["cancelled"]
