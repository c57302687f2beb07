"""How far a source is read ahead of its readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from clients.codes import Reason
from clients.errors import BudgetExceeded, UpstreamError
from clients.usage import Usage
from resolvers.streams.events import (
    Batch,
    Delivery,
    Ended,
    Event,
    OnDisconnect,
    Started,
    StreamOutcome,
    TextDelta,
    batch_of,
)
from resolvers.streams.hub import StreamHub
from resolvers.streams.log import StreamLog
from resolvers.streams.reading import MOST_IN_A_ROW
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import COMPLETED, ScriptedSource, end_of, failure_of, hub, starting, text_in

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


class Billed(ScriptedSource):
    """A source whose usage is known only after the accounting, which waits for ``may_end``."""

    def __init__(self, *script: Event | Exception | asyncio.Event) -> None:
        super().__init__(*script)
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def settle(self, log: StreamLog) -> None:
        assert self.closed == 1, "the upstream call is closed first"
        await self.may_end.wait()
        await super().settle(log)
        if log.ended is None:
            self.usage = Usage(total_tokens=7)


@pytest.mark.parametrize("error", [UpstreamError("cut", reason=Reason.CUT), ValueError("a bug")])
async def test_a_failed_streams_end_has_the_usage_of_the_accounting(error: Exception) -> None:
    streams, _ = hub()
    source = Billed(Started(), error)
    async with starting(streams, source) as stream:
        ended = await end_of(stream)
    assert (ended.outcome, ended.usage) == (StreamOutcome.FAILED, Usage(total_tokens=7))
    assert source.settled == [None]


async def test_an_abandoned_streams_end_has_the_usage_of_the_accounting() -> None:
    streams, metrics = hub()
    source = Billed(Started(), asyncio.Event())
    async with starting(streams, source) as stream:
        pass
    assert (await end_of(stream)).usage == Usage(total_tokens=7)
    assert (source.settled, metrics.ended) == ([None], ["cancelled"])


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_source_stops_the_work_of_a_begun_stream_that_was_abandoned(has_begun: bool) -> None:
    streams, _ = hub()
    source = Billed(*[Started()] * has_begun, asyncio.Event())
    async with starting(streams, source) as stream:
        pass
    await end_of(stream)
    assert (stream.abandoned, source.abandonments) == (True, int(has_begun))


async def test_a_source_does_not_stop_the_work_of_a_stream_that_a_client_cancelled() -> None:
    streams, _ = hub()
    source = Billed(Started(), asyncio.Event())
    async with starting(streams, source) as stream:
        streams.cancel(stream)
        await end_of(stream)
    assert source.abandonments == 0


async def test_a_complete_answer_is_accounted_for_once_after_its_end() -> None:
    streams, _ = hub()
    source = Billed(Started(), COMPLETED)
    async with starting(streams, source) as stream:
        assert await end_of(stream) == COMPLETED
        assert stream.pump is not None
        await stream.pump
    assert source.settled == [COMPLETED]


async def test_accounting_continues_if_the_stream_is_cancelled_meanwhile() -> None:
    streams, _ = hub()
    source = Billed(Started(), UpstreamError("cut", reason=Reason.CUT))
    source.may_end.clear()
    async with starting(streams, source) as stream:
        while not source.closed:
            await asyncio.sleep(0)
        streams.cancel(stream)
        ended = await end_of(stream)
        assert ended.outcome is StreamOutcome.FAILED, "the answer failed before the cancellation"
        assert failure_of(ended).reason is Reason.CUT
    source.may_end.set()
    while not source.settled:
        await asyncio.sleep(0)


async def test_a_second_cancellation_does_not_interrupt_the_accounting() -> None:
    streams, _ = hub()
    source = Billed(Started(), asyncio.Event())
    source.may_end.clear()
    async with starting(streams, source) as stream:
        streams.cancel(stream)
        while not source.closed:
            await asyncio.sleep(0)
        streams.cancel(stream)
        asyncio.get_running_loop().call_later(0.01, source.may_end.set)
        assert (await end_of(stream)).usage == Usage(total_tokens=7)


async def test_a_bug_in_the_accounting_does_not_change_how_a_stream_ends() -> None:
    streams, metrics = hub()
    source, bug = Billed(Started(), UpstreamError("cut", reason=Reason.CUT)), ValueError("a bug")

    async def breaks(log: StreamLog) -> None:
        raise bug

    source.settle = breaks  # type: ignore[method-assign]
    async with starting(streams, source) as stream:
        assert failure_of(await end_of(stream)).reason is Reason.CUT
    assert metrics.broken == [bug]


async def test_an_answer_over_its_maximum_cost_is_not_started_again_after_its_reader_has_left() -> None:
    streams, _ = hub()
    source = Billed(Started(), BudgetExceeded("dear", reason=Reason.MAX_COST))
    source.may_end.clear()
    async with starting(streams, source, key="k") as stream:
        while not source.closed:
            await asyncio.sleep(0)
    assert failure_of(await end_of(stream)).reason is Reason.MAX_COST
    again = Billed(Started(), COMPLETED)
    async with starting(streams, again, key="k", restarts=True) as same:
        assert same is stream
    assert again.opened == 0


async def test_a_shutdown_does_not_wait_for_the_accounting() -> None:
    streams, _ = hub()
    source = Billed(Started(), asyncio.Event())
    source.may_end.clear()
    async with starting(streams, source) as stream:
        await streams.aclose()
        assert (await end_of(stream)).outcome is StreamOutcome.FAILED
    assert (source.closed, source.settled) == (1, [])


async def test_a_shutdown_ends_the_accounting_that_is_running() -> None:
    streams, _ = hub()
    source = Billed(Started(), UpstreamError("cut", reason=Reason.CUT))
    source.may_end.clear()
    before = asyncio.all_tasks()
    async with starting(streams, source) as stream:
        while not source.closed:
            await asyncio.sleep(0)
        await streams.aclose()
        assert failure_of(await end_of(stream)).reason is Reason.CUT
    while asyncio.all_tasks() - before:
        await asyncio.sleep(0)
    assert source.settled == []


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


class Together(ScriptedSource):
    """A source whose events arrive together, after ``go``."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.go = asyncio.Event()

    async def events(self) -> AsyncGenerator[Batch]:
        yield batch_of(Started())
        await self.go.wait()
        yield batch_of(*[TextDelta(text=f"{number} ") for number in range(self.count)])
        yield batch_of(COMPLETED)


async def scheduled(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how often a task is scheduled while ``count`` events that have arrived together reach a reader."""
    streams, _ = hub(coalesce=0)
    source, loop, calls = Together(count), asyncio.get_running_loop(), 0
    call_soon = loop.call_soon

    def counted(*args: Any, **more: Any) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return call_soon(*args, **more)

    async with starting(streams, source) as stream, aclosing(streams.events(stream, None)) as reader:
        assert isinstance((await anext(reader)).event, Started)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon", counted)
            source.go.set()
            heard = [one async for one in reader]
        assert text_in(heard) == "".join(f"{number} " for number in range(count))
        assert len(heard) == count + 1, "the deltas are not joined"
    return calls


async def test_events_that_arrive_together_wake_a_reader_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = await scheduled(1, monkeypatch)
    assert await scheduled(MOST_IN_A_ROW - 1, monkeypatch) == one
    assert await scheduled(4 * MOST_IN_A_ROW, monkeypatch) <= MOST_IN_A_ROW, "a wake-up for each event would be 64"
