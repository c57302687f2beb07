"""What a reader of a stream gets: frames, cursors, and the detaching of slow readers."""

from __future__ import annotations

import asyncio

import pytest

from resolvers.streams.events import (
    Detached,
    DetachReason,
    Ended,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.log import Leave
from resolvers.streams.memory import MemoryLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.reading import read_events
from tests.support.scripted_streams import USER, ScriptedSource, end_of, hub, starting, text_in


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
    source = ScriptedSource(Started(), delta, Ended(outcome=StreamOutcome.COMPLETED))
    async with starting(streams, source) as stream:
        await end_of(stream)
        heard = [one async for one in streams.events(stream, None)]
        pieces = heard[1:-1]
        assert all(0 < one.event.size <= MAX_FRAME_BYTES for one in pieces)
        assert len(pieces) > 1
        rest = [one async for one in streams.events(stream, pieces[0].cursor)]
    assert [one.cursor for one in rest[:-1]] == [one.cursor for one in pieces[1:]]
    if isinstance(delta, ToolCallDelta):
        events = [one.event for one in pieces if isinstance(one.event, ToolCallDelta)]
        assert "".join(event.arguments_delta for event in events) == delta.arguments_delta
        assert [(event.tool_call_id, event.name) for event in events] == [("c", "f")] + [(None, None)] * 2
    else:
        assert isinstance(delta, TextDelta | ReasoningDelta)
        assert text_in(pieces) == delta.text


@pytest.mark.bound("delta")
@pytest.mark.parametrize(("size", "frames"), [(MAX_FRAME_BYTES, 1), (MAX_FRAME_BYTES + 1, 2)])
async def test_a_frame_has_at_most_its_bound_of_bytes(size: int, frames: int) -> None:
    streams, _ = hub(coalesce=0.001)
    source = ScriptedSource(Started(), TextDelta(text="x" * size), Ended(outcome=StreamOutcome.COMPLETED))
    async with starting(streams, source) as stream:
        await end_of(stream)
        heard = [one async for one in streams.events(stream, None)]
    assert sum(isinstance(one.event, TextDelta) for one in heard) == frames


@pytest.mark.parametrize("size", [4, 6000])
async def test_unread_events_come_a_frame_at_a_time(size: int) -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    for _ in range(36_000 if size == 4 else 300):
        log.append(TextDelta(text="x" * size), b"y" * size)
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    heard = [one async for one in read_events(log, None, coalesce=0.016, max_waiting=1 << 40)]
    assert max(one.event.size for one in heard) <= MAX_FRAME_BYTES
    assert len(heard) < 3 + 2 * log.size / MAX_FRAME_BYTES
    assert text_in(heard) == log.text


async def test_a_long_replay_lets_others_run_between_its_frames() -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    for number in range(3000):  # interleaved, so that nothing can be joined
        log.append((ReasoningDelta if number % 2 else TextDelta)(text="x"))
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
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


@pytest.mark.bound("reader-waiting")
@pytest.mark.parametrize(("waiting", "last"), [(1000, Ended), (1001, Detached)])
async def test_a_slow_reader_is_detached_past_the_bound_on_unread_events(waiting: int, last: type) -> None:
    log = MemoryLog("stream:1")
    log.append(Started())
    log.append(TextDelta(text="y"))
    heard = read_events(log, None, coalesce=0.001, max_waiting=1000, slow_after=0)
    assert isinstance((await anext(heard)).event, Started)
    assert isinstance((await anext(heard)).event, TextDelta)
    log.append(TextDelta(text="x" * waiting))
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    assert isinstance([one async for one in heard][-1].event, last)


async def test_a_reader_that_was_detached_can_come_back() -> None:
    streams, _ = hub(coalesce=0.001, max_waiting=1000, slow_after=0)
    more = asyncio.Event()
    script = [TextDelta(text="x" * 100_000) for _ in range(5)]
    source = ScriptedSource(Started(), *script, more, Ended(outcome=StreamOutcome.COMPLETED))
    async with starting(streams, source) as stream:
        heard = [one async for one in streams.events(stream, None)]
    assert heard[-1].event == Detached(reason=DetachReason.SLOW)
    assert source.closed == 0
    again = streams.get(stream.id, USER)
    more.set()
    async with streams.attached(again):
        await end_of(again)
        streams.limits = hub()[0].limits
        rest = [one async for one in streams.events(again, heard[-1].cursor)]
    assert len(text_in([*heard, *rest])) == 500_000
    assert isinstance(rest[-1].event, Ended)


async def test_one_that_is_detached_between_frames_gets_a_cursor() -> None:
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


async def test_upstream_events_that_mean_nothing_are_no_frames() -> None:
    log = MemoryLog("stream:1")
    for _ in range(5000):
        log.append(Raw(), b"data: x\n\n")
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    assert [type(one.event) async for one in read_events(log, None, coalesce=0.001, max_waiting=1)] == [Ended]
