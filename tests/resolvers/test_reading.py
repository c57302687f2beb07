"""Reading a stream: frames, cursors, and the detachment of slow readers."""

from __future__ import annotations

import asyncio

import pytest

from resolvers.streams.events import (
    Delivery,
    Detached,
    DetachReason,
    Ended,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.log import Leave
from resolvers.streams.memory import MemoryLog
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.streams.reading import MOST_IN_A_ROW, read_events
from tests.support.scripted_streams import COMPLETED, USER, end_of, finished, hub, starting, text_in


def log_of(*events: Event) -> MemoryLog:
    log = MemoryLog("stream:1")
    for event in events:
        log.append(event, b"data: x\n\n")
    return log


async def read(log: MemoryLog, max_waiting: int = 1 << 40) -> list[Delivery[Event]]:
    return [one async for one in read_events(log, None, coalesce=0.001, max_waiting=max_waiting)]


@pytest.mark.parametrize(
    "delta",
    [
        TextDelta(text="x" * (MAX_FRAME_BYTES + 1)),
        TextDelta(text="й" * MAX_FRAME_BYTES),
        ReasoningDelta(message_id="m", text="😀" * MAX_FRAME_BYTES),
        ToolCallDelta(index=1, tool_call_id="c", name="f", arguments_delta="y" * (3 * MAX_FRAME_BYTES)),
    ],
)
async def test_a_large_delta_is_split_into_frames_with_cursors(delta: Event) -> None:
    streams, _ = hub(coalesce=0.001)
    source = finished(delta)
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
    async with starting(streams, finished(TextDelta(text="x" * size))) as stream:
        await end_of(stream)
        heard = [one async for one in streams.events(stream, None)]
    assert sum(isinstance(one.event, TextDelta) for one in heard) == frames


@pytest.mark.parametrize("size", [4, 6000])
async def test_unread_events_are_merged_into_bounded_frames(size: int) -> None:
    log = log_of(*[TextDelta(text="x" * size)] * (36_000 if size == 4 else 300), COMPLETED)
    heard = await read(log)
    assert max(one.event.size for one in heard) <= MAX_FRAME_BYTES
    assert len(heard) < 3 + 2 * log.size / MAX_FRAME_BYTES
    assert text_in(heard) == log.text


async def test_a_long_replay_yields_to_other_tasks() -> None:
    log = log_of(*[TextDelta(text="x"), ReasoningDelta(text="x")] * 1500, COMPLETED)  # none can be joined
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert len(await read(log)) == 3001
    task.cancel()
    assert rounds >= 3000 // MOST_IN_A_ROW


@pytest.mark.bound("reader-waiting")
@pytest.mark.parametrize(("waiting", "last"), [(1000, Ended), (1001, Detached)])
async def test_a_slow_reader_is_detached_past_the_bound_on_unread_events(waiting: int, last: type) -> None:
    log = log_of(Started(), TextDelta(text="y"))
    heard = read_events(log, None, coalesce=0.001, max_waiting=1000, slow_after=0)
    assert isinstance((await anext(heard)).event, Started)
    assert isinstance((await anext(heard)).event, TextDelta)
    log.append(TextDelta(text="x" * waiting))
    log.append(COMPLETED)
    assert isinstance([one async for one in heard][-1].event, last)


async def test_a_detached_reader_can_attach_again() -> None:
    streams, _ = hub(coalesce=0.001, max_waiting=1000, slow_after=0)
    more = asyncio.Event()
    source = finished(*[TextDelta(text="x" * 100_000)] * 5, more)
    async with starting(streams, source) as stream:
        heard = [one async for one in streams.events(stream, None)]
    assert heard[-1].event == Detached(reason=DetachReason.SLOW)
    assert source.closed == 0
    again = await streams.get(stream.id, USER)
    more.set()
    async with streams.attached(again):
        await end_of(again)
        streams.limits = hub()[0].limits
        rest = [one async for one in streams.events(again, heard[-1].cursor)]
    assert len(text_in([*heard, *rest])) == 500_000
    assert isinstance(rest[-1].event, Ended)


async def test_a_reader_detached_between_frames_gets_a_cursor() -> None:
    log, leave = log_of(*[TextDelta(text="x" * 10_000)] * 100), Leave()
    events = read_events(log, None, coalesce=0.001, max_waiting=1 << 40, leave=leave)
    heard = [await anext(events)]
    leave.now(DetachReason.DRAINING)
    heard += [one async for one in events]
    assert isinstance(heard[-1].event, Detached)
    assert len(text_in(heard)) == 100 * 10_000
    assert heard[-1].cursor == "100"


async def test_upstream_events_without_content_make_no_frames() -> None:
    heard = await read(log_of(*[Raw()] * 5000, COMPLETED), max_waiting=1)
    assert [one.event for one in heard] == [COMPLETED]
