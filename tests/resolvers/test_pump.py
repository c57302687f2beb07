"""How far a source is read ahead of its readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from resolvers.streams.events import Delivery, Ended, Event, OnDisconnect, Started, StreamOutcome, TextDelta
from resolvers.streams.hub import StreamHub
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import COMPLETED, ScriptedSource, end_of, hub, starting, text_in

MB = 1024 * 1024


class Flowing(ScriptedSource):
    """A source of ``count`` pieces of ``size`` characters that counts the pieces read. ``go`` starts it."""

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
        yield COMPLETED, b""


@asynccontextmanager
async def paused(**how: Any) -> AsyncIterator[tuple[StreamHub, Flowing, Stream, AsyncIterator[Delivery[Event]]]]:
    """Run a source of 10 MB that is paused, because its only reader has read one event."""
    streams, _ = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with starting(streams, source, **how) as stream, aclosing(streams.events(stream, None)) as reader:
        assert isinstance((await anext(reader)).event, Started)
        yield streams, source, stream, reader


async def settled(source: Flowing) -> int:
    """Wait until no more of a source is read. Return the number of pieces read."""
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
    async with paused() as (_, source, _, reader):
        assert await settled(source) <= 12
        rest = [one async for one in reader]
    assert len(text_in(rest)) == 100 * 100_000
    assert isinstance(rest[-1].event, Ended)


@pytest.mark.parametrize("how", [OnDisconnect.CONTINUE, OnDisconnect.CANCEL])
async def test_a_source_continues_for_a_second_reader_or_without_readers(how: OnDisconnect) -> None:
    async with paused(on_disconnect=how) as (streams, source, stream, _):
        if how is OnDisconnect.CANCEL:
            assert await settled(source) < 100
            async with streams.attached(stream):
                fast = [one async for one in streams.events(stream, None)]
            assert len(text_in(fast)) == 100 * 100_000
        assert (await end_of(stream)).outcome is StreamOutcome.COMPLETED


async def test_a_slow_reader_does_not_delay_a_request_that_waits_for_the_end() -> None:
    async with paused() as (_, source, stream, _):
        assert await settled(source) < 100
        async with asyncio.timeout(10):
            assert (await stream.log.end()).outcome is StreamOutcome.COMPLETED


async def test_a_paused_source_is_closed_when_its_reader_leaves() -> None:
    async with paused() as (_, source, stream, _):
        assert await settled(source) < 100
    async with asyncio.timeout(10):
        assert (await end_of(stream)).outcome is StreamOutcome.CANCELLED
    assert source.closed == 1
