"""The bounds of streams: frames, memory, readers, and how far a source is read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext

import pytest

from clients.errors import Conflict, NotFound, Overloaded, RateLimited
from resolvers.streams.block import ENTRY_BYTES
from resolvers.streams.entries import PIECE
from resolvers.streams.events import (
    Delivery,
    Detached,
    DetachReason,
    Ended,
    Event,
    OnDisconnect,
    Raw,
    ReasoningDelta,
    Started,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import OWNERS
from resolvers.streams.log import Leave
from resolvers.streams.memory import MemoryLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.reading import read_events
from resolvers.streams.registry import STREAM_BYTES
from resolvers.streams.stream import Stream
from tests.resolvers.test_hub import END, RAW, Scripted, end_of, hub, read, refuses, starting, upstream_bytes

MB = 1024 * 1024


class Flowing(Scripted):
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
        yield END, b""


async def settled(source: Flowing) -> int:
    """How much of a source has been read when it is not read further."""
    before = -1
    async with asyncio.timeout(10):
        while before != source.taken:
            before = source.taken
            for _ in range(50):
                await asyncio.sleep(0)
    return source.taken


def text_in(heard: list[Delivery[Event]]) -> str:
    return "".join(one.event.text for one in heard if isinstance(one.event, TextDelta))


@pytest.mark.parametrize(
    "delta",
    [
        TextDelta(text="x" * (MAX_FRAME_BYTES + 1)),
        TextDelta(text="й" * MAX_FRAME_BYTES),
        ReasoningDelta(message_id="m", text="😀" * MAX_FRAME_BYTES),
        ToolCallDelta(index=1, tool_call_id="c", name="f", arguments_delta="y" * (3 * MAX_FRAME_BYTES)),
    ],
)
async def test_a_large_delta_comes_in_frames_with_a_cursor_each(delta: Event) -> None:
    streams, _ = hub(coalesce=0.001)
    source = Scripted(Started(), delta, END)
    async with starting(streams, source) as stream:
        await end_of(stream)
        heard = await read(streams, stream)
        pieces = heard[1:-1]
        assert all(0 < one.event.size <= MAX_FRAME_BYTES for one in pieces)
        assert len(pieces) > 1
        rest = await read(streams, stream, pieces[0].cursor)
    assert [one.cursor for one in rest[:-1]] == [one.cursor for one in pieces[1:]]
    if isinstance(delta, ToolCallDelta):
        events = [one.event for one in pieces if isinstance(one.event, ToolCallDelta)]
        assert "".join(event.arguments_delta for event in events) == delta.arguments_delta
        assert [(event.tool_call_id, event.name) for event in events] == [("c", "f")] + [(None, None)] * 2
    else:
        assert text_in(pieces) == delta.text


@pytest.mark.bound("delta")
@pytest.mark.parametrize(("size", "frames"), [(MAX_FRAME_BYTES, 1), (MAX_FRAME_BYTES + 1, 2)])
async def test_a_frame_holds_so_many_bytes(size: int, frames: int) -> None:
    streams, _ = hub(coalesce=0.001)
    source = Scripted(Started(), TextDelta(text="x" * size), END)
    async with starting(streams, source) as stream:
        await end_of(stream)
        heard = await read(streams, stream)
    assert sum(isinstance(one.event, TextDelta) for one in heard) == frames


@pytest.mark.parametrize("size", [4, 6000])
async def test_waiting_events_are_delivered_in_frames(size: int) -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    for _ in range(36_000 if size == 4 else 300):
        log.append(TextDelta(text="x" * size), b"y" * size)
    log.append(END)
    heard = [one async for one in read_events(log, None, coalesce=0.016, max_waiting=1 << 40)]
    assert max(one.event.size for one in heard) <= MAX_FRAME_BYTES
    assert len(heard) < 3 + 2 * log.size / MAX_FRAME_BYTES
    assert text_in(heard) == log.text


async def test_a_long_replay_lets_others_run_between_its_frames() -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    for number in range(3000):  # interleaved, so that nothing can be joined
        log.append((ReasoningDelta if number % 2 else TextDelta)(text="x"))
    log.append(END)
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    heard = [one async for one in read_events(log, None, coalesce=0.016, max_waiting=1 << 40)]
    task.cancel()
    assert len(heard) == 3002
    assert rounds >= 3000


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
async def test_a_source_continues_for_another_reader_or_without_any(how: OnDisconnect) -> None:
    streams, _ = hub(coalesce=0.001, max_lead=MB, slow_after=3600)
    source = Flowing(count=100, size=100_000)
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(starting(streams, source, on_disconnect=how))
        slow = await stack.enter_async_context(aclosing(streams.events(stream, None)))
        await anext(slow)
        if how is OnDisconnect.CANCEL:
            assert await settled(source) < 100
            reading = await stack.enter_async_context(streams.attached(stream))
            assert len(text_in(await read(streams, reading))) == 100 * 100_000
        assert (await end_of(stream)).outcome is StreamOutcome.COMPLETED


async def test_a_slow_reader_does_not_delay_a_wait_for_the_end() -> None:
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


@pytest.mark.bound("reader-waiting")
@pytest.mark.parametrize(("waiting", "last"), [(1000, Ended), (1001, Detached)])
async def test_a_slow_reader_is_detached_past_the_bound_on_what_waits(waiting: int, last: type) -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    log.append(TextDelta(text="y"))
    heard = read_events(log, None, coalesce=0.001, max_waiting=1000, slow_after=0)
    assert isinstance((await anext(heard)).event, Started)
    assert isinstance((await anext(heard)).event, TextDelta)
    log.append(TextDelta(text="x" * waiting))
    log.append(END)
    assert isinstance([one async for one in heard][-1].event, last)


async def test_a_reader_that_was_detached_can_come_back() -> None:
    streams, _ = hub(coalesce=0.001, max_waiting=1000, slow_after=0)
    more = asyncio.Event()
    script = [TextDelta(text="x" * 100_000) for _ in range(5)]
    source = Scripted(Started(), *script, more, END)
    async with starting(streams, source) as stream:
        heard = await read(streams, stream)
    assert heard[-1].event == Detached(reason=DetachReason.SLOW)
    assert source.closed == 0
    again = streams.get(stream.id, "user")
    more.set()
    async with streams.attached(again):
        await end_of(again)
        streams.limits = hub()[0].limits
        rest = await read(streams, again, heard[-1].cursor)
    assert len(text_in([*heard, *rest])) == 500_000
    assert isinstance(rest[-1].event, Ended)


async def run(streams: StreamHub, owner: str, size: int, *, end: Event | Exception = END, **how: object) -> Stream:
    """A stream that has ended, with an answer of ``size`` bytes."""
    source = Scripted(Started(), *([TextDelta(text="x" * size)] if size else []), end)
    async with starting(streams, source, owner=owner, on_disconnect=OnDisconnect.CONTINUE, **how) as stream:
        await end_of(stream)
    return stream


def small(**more: float) -> StreamHub:
    """Streams with a quota of a megabyte for each owner."""
    return hub(memory=OWNERS * MB, **more)[0]


@asynccontextmanager
async def holding(streams: StreamHub, owner: str, size: int) -> AsyncIterator[None]:
    """A stream that runs, and takes so many bytes with its request."""
    source = Scripted(Started(), asyncio.Event())
    async with starting(streams, source, owner=owner, request_bytes=size - STREAM_BYTES):
        yield


@pytest.mark.bound("stream-memory-user")
@pytest.mark.parametrize("past", [0, 1])
async def test_a_users_streams_hold_as_much_as_the_bound_and_not_a_byte_more(past: int) -> None:
    streams = small()
    async with holding(streams, "ada", MB // 2):
        assert streams.memory == MB // 2
        with refuses(RateLimited, "STREAM_MEMORY") if past else nullcontext():
            await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES + past)
        await run(streams, "grace", 0, request_bytes=MB - STREAM_BYTES)


@pytest.mark.bound("stream-memory-user")
@pytest.mark.parametrize("past", [0, 1])
async def test_an_answer_is_evicted_for_one_byte_past_its_owners_bound(past: int) -> None:
    streams = small()
    first = await run(streams, "ada", MB // 2)
    room = MB - streams.memory - STREAM_BYTES
    async with holding(streams, "ada", STREAM_BYTES + room + past):
        if past:
            with pytest.raises(NotFound):
                streams.get(first.id, "ada")
        else:
            assert streams.get(first.id, "ada") is first


async def test_an_owners_ended_streams_make_room_for_its_own_and_not_for_anothers() -> None:
    streams = small()
    first = await run(streams, "ada", MB // 2, key="k")
    for _ in range(20):
        await run(streams, "grace", MB // 2)
    assert streams.get(first.id, "ada").text == "x" * (MB // 2)
    await run(streams, "ada", MB // 2)
    with pytest.raises(NotFound):
        streams.get(first.id, "ada")
    assert streams.attaches("ada", "k")
    with refuses(Conflict, "ANSWER_DROPPED"):
        await run(streams, "ada", 0, key="k")


@pytest.mark.parametrize(("looks", "restarts"), [(True, False), (False, True)])
async def test_a_key_with_an_evicted_answer_restarts_if_nothing_is_done_twice(looks: bool, restarts: bool) -> None:
    """The gateway searches for a turn first; a stream that failed starts again if it may."""
    streams = small()
    terms = {"key": "k", "looks": looks, "restarts": restarts}
    first = await run(streams, "ada", MB // 2, end=END if looks else Overloaded("Failed."), **terms)
    await run(streams, "ada", MB // 2)
    again = await run(streams, "ada", 10, **terms)
    assert first.evicted
    assert again.restarted
    assert again.text == "x" * 10


async def test_a_stream_that_is_read_stays_and_takes_room() -> None:
    streams = small()
    stream = await run(streams, "ada", MB)
    async with streams.attached(stream), aclosing(streams.events(stream, None)) as heard:
        await anext(heard)
        with refuses(RateLimited, "STREAM_MEMORY"):
            await run(streams, "ada", 0)
        await run(streams, "grace", 0)
        assert len(text_in([one async for one in heard])) == MB
    await run(streams, "ada", 0)


async def test_running_streams_are_too_large_together_and_the_small_one_continues() -> None:
    streams = small()
    more = asyncio.Event()
    tiny = Scripted(Started(), more, TextDelta(text="x"), END)
    large = [Scripted(Started(), TextDelta(text="x" * (MB // 2)), more, END) for _ in range(2)]
    async with AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(starting(streams, source)) for source in (tiny, *large)]
        failed = await end_of(others[1])
        assert failed.error is not None
        assert (failed.error.code.value, failed.error.reason) == ("RATE_LIMITED", "STREAM_MEMORY")
        other = await run(streams, "grace", 0)
        assert (await end_of(other)).outcome is StreamOutcome.COMPLETED
        more.set()
        assert [(await end_of(one)).outcome for one in (first, others[0])] == [StreamOutcome.COMPLETED] * 2


async def test_a_request_counts_while_its_stream_runs() -> None:
    streams = small()
    more = asyncio.Event()
    source = Scripted(Started(), more, END)
    async with starting(streams, source, request_bytes=MB // 2) as stream:
        await run(streams, "user", 0)
        with pytest.raises(RateLimited):
            await run(streams, "user", 0, request_bytes=MB // 2)
        more.set()
        await end_of(stream)
        await run(streams, "user", 0, request_bytes=MB // 2)


@pytest.mark.bound("stream-memory")
@pytest.mark.parametrize("past", [0, 1])
async def test_all_streams_hold_as_much_as_the_bound_and_not_a_byte_more(past: int) -> None:
    streams = small()
    async with AsyncExitStack() as stack:
        for owner in range(OWNERS - 1):
            await stack.enter_async_context(holding(streams, str(owner), MB))
        await stack.enter_async_context(holding(streams, "small", MB // 2))
        assert streams.memory == OWNERS * MB - MB // 2
        with refuses(Overloaded, "STREAM_MEMORY") if past else nullcontext():
            await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES + past)


async def test_new_streams_are_refused_if_all_take_too_much_and_old_ones_stay() -> None:
    streams = small()
    kept: list[Stream] = []

    async def fill() -> None:
        while len(kept) < 100:
            kept.append(await run(streams, f"user {len(kept)}", MB - 2 * STREAM_BYTES))

    with pytest.raises(Overloaded) as refused:
        await fill()
    assert refused.value.reason == "STREAM_MEMORY"
    assert refused.value.retry_after_seconds is not None
    assert len(kept) >= OWNERS
    assert all(len(streams.get(one.id, one.owner).text) == MB - 2 * STREAM_BYTES for one in kept)


@pytest.mark.bound("readers")
@pytest.mark.parametrize(("bound", "refused"), [(3, False), (2, True)])
async def test_a_user_reads_so_many_streams_at_a_time(bound: int, refused: bool) -> None:
    streams = small(max_readers_per_user=bound)
    stream = await run(streams, "ada", 10)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(streams.attached(stream))
        with refuses(RateLimited, "READERS") if refused else nullcontext():
            await run(streams, "ada", 0)
        await run(streams, "grace", 0)
    await run(streams, "ada", 0)


async def test_an_ended_stream_takes_little_and_reads_the_same() -> None:
    streams, _ = hub(coalesce=0.001)

    class Talking(Scripted):
        async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
            yield Started(), b""
            for number in range(300):
                yield TextDelta(text=f"{number} "), RAW
            yield END, b"data: [DONE]\n\n"

    for key, least in ((None, 0), ("k", 300 * len(RAW))):
        async with starting(streams, Talking(), key=key) as stream:
            await end_of(stream)
            before = await read(streams, stream)
            weight = stream.log.weight
        assert stream.log.weight < weight / 5
        async with streams.attached(stream):
            assert text_in(await read(streams, stream)) == text_in(before)
            assert sum(map(len, await upstream_bytes(stream.log))) >= least
            half = await read(streams, stream, "150")
        assert text_in(half) == "".join(f"{number} " for number in range(149, 300))


async def test_all_readers_share_one_joined_text() -> None:
    log = MemoryLog("stream:1")
    for _ in range(3000):
        log.append(TextDelta(text="x" * 100))
    texts = [log.text for _ in range(100)]
    assert len({id(text) for text in texts}) == 1
    log.append(TextDelta(text="y"))
    assert log.text == texts[0] + "y"


async def test_a_reader_detached_between_frames_gets_a_cursor() -> None:
    log, leave = MemoryLog("stream:1"), Leave()
    for _ in range(100):
        log.append(TextDelta(text="x" * 10_000))
    events = read_events(log, None, coalesce=0.001, max_waiting=1 << 40, leave=leave)
    heard = [await anext(events)]
    leave.now(DetachReason.DRAINING)
    heard += [one async for one in events]
    assert isinstance(heard[-1].event, Detached)
    assert len(text_in(heard)) == 100 * 10_000
    assert heard[-1].cursor == "100"


async def test_raw_events_are_not_delivered() -> None:
    log = MemoryLog("stream:1")
    for _ in range(5000):
        log.append(Raw(), b"data: x\n\n")
    log.append(END)
    assert [type(one.event) async for one in read_events(log, None, coalesce=0.001, max_waiting=1)] == [Ended]


def test_entries_that_readers_have_taken_are_packed() -> None:
    log = MemoryLog("stream:1")
    with log.reading(0) as reader:
        for number in range(1, 401):
            log.append(TextDelta(text="token"), RAW)
            log.moved(reader, number)
    assert log.weight <= 2 * PIECE * (ENTRY_BYTES + len(RAW) + 5) + 400 * 40
