from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import BadUserInput
from resolvers.streams.block import ENTRY_BYTES
from resolvers.streams.entries import PIECE
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
from resolvers.streams.log import Leave, Reader, StreamLog, read_events

deltas = st.one_of(
    st.builds(TextDelta, message_id=st.sampled_from(["a", "b", None]), text=st.text(min_size=1, max_size=5)),
    st.builds(ReasoningDelta, message_id=st.sampled_from(["a", None]), text=st.text(min_size=1, max_size=5)),
    st.builds(ToolCallDelta, index=st.integers(0, 1), arguments_delta=st.text(min_size=1, max_size=5)),
    st.builds(Raw),
)


def said(events: list[Event]) -> dict[tuple[str, object], str]:
    """What a reader has, per kind and message, once it has concatenated its deltas."""
    has: dict[tuple[str, object], str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            key = (type(event).__name__, event.message_id)
            has[key] = has.get(key, "") + event.text
        elif isinstance(event, ToolCallDelta):
            key = ("call", event.index)
            has[key] = has.get(key, "") + event.arguments_delta
    return has


def filled(events: list[Event]) -> StreamLog:
    log = StreamLog()
    for event in [Started(stream_id="s"), *events, Ended(outcome=StreamOutcome.COMPLETED)]:
        log.append(event)
    return log


async def read(log: StreamLog, after: str | None, coalesce: float) -> list[Event]:
    return [event async for event in read_events(log, after, coalesce=coalesce, max_waiting=1 << 30)]


@given(st.lists(deltas, max_size=20), st.data(), st.sampled_from([0, 0.001]))
def test_the_text_after_any_cursor_concatenated_is_exact(
    events: list[Event], data: st.DataObject, coalesce: float
) -> None:
    log = filled(events)
    whole = asyncio.run(read(log, None, coalesce))
    cut = data.draw(st.integers(1, len(whole)))
    before, cursor = whole[:cut], whole[cut - 1].cursor
    if isinstance(whole[cut - 1], Ended):
        return
    after = asyncio.run(read(log, cursor, coalesce))
    assert said([*before, *after]) == said(events)
    assert [type(event) for event in [*before, *after]].count(Ended) == 1
    cursors = [int(event.cursor) for event in [*before, *after]]
    assert cursors == sorted(set(cursors))


def test_nothing_comes_after_the_end() -> None:
    log = filled([])
    with pytest.raises(RuntimeError):
        log.append(TextDelta(text="more"))


@pytest.mark.parametrize("cursor", ["-1", "3", "x", "", "٣", "9" * 20])
async def test_a_cursor_of_no_event(cursor: str) -> None:
    with pytest.raises(BadUserInput):
        await read(filled([]), cursor, 0)


async def test_a_burst_is_no_slowness() -> None:
    log = StreamLog()
    log.append(Started(stream_id="s"))
    prompt = read_events(log, None, coalesce=0, max_waiting=1000, slow_after=3600)
    await anext(prompt)
    for _ in range(20):
        log.append(TextDelta(text="x" * 1000))
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    assert [type(event) async for event in prompt] == [TextDelta] * 20 + [Ended]


async def test_a_slow_reader_is_let_go_with_a_cursor_and_the_others_are_not() -> None:
    log = StreamLog()
    log.append(Started(stream_id="s"))
    slow = read_events(log, None, coalesce=0.001, max_waiting=1000)
    first = await anext(slow)
    for _ in range(20):
        log.append(TextDelta(text="x" * 100))
    detached = await anext(slow)
    assert isinstance(detached, Detached)
    assert (detached.reason, detached.cursor) == (DetachReason.SLOW, first.cursor)
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    rest = await read(log, detached.cursor, 0)
    assert sum(len(event.text) for event in rest if isinstance(event, TextDelta)) == 2000


async def detached(log: StreamLog, leave: Leave, **how: Any) -> list[Event]:
    async with asyncio.timeout(5):
        return [event async for event in read_events(log, None, max_waiting=1000, leave=leave, **how)]


@pytest.mark.parametrize("coalesce", [0, 30])
async def test_a_reader_that_is_let_go_gets_what_has_come_and_a_cursor_after_it(coalesce: float) -> None:
    log, leave = StreamLog(), Leave()
    log.append(Started(stream_id="s"))
    log.append(TextDelta(text="a"))
    leave.now(DetachReason.DRAINING)
    *told, last = await detached(log, leave, coalesce=coalesce)
    assert [type(event) for event in told] == [Started, TextDelta]
    assert last == Detached(cursor="2", reason=DetachReason.DRAINING)


async def test_a_reader_that_is_let_go_between_two_waits_does_not_wait_for_another_event() -> None:
    log, leave = StreamLog(), Leave()
    log.append(Started(stream_id="s"))
    events = read_events(log, None, coalesce=0, max_waiting=1000, leave=leave)
    assert isinstance(await anext(events), Started)
    leave.now(DetachReason.DRAINING)
    async with asyncio.timeout(5):
        assert await anext(events) == Detached(cursor="1", reason=DetachReason.DRAINING)


async def test_a_reader_that_is_let_go_at_the_end_gets_the_end() -> None:
    log, leave = StreamLog(), Leave()
    log.append(Started(stream_id="s"))
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    leave.now(DetachReason.DRAINING)
    assert isinstance((await detached(log, leave, coalesce=0))[-1], Ended)


@given(st.lists(st.tuples(deltas, st.binary(max_size=5)), min_size=1, max_size=40), st.integers(1, 3000), st.data())
@settings(max_examples=30, deadline=None)
def test_packed_entries_are_what_they_were(some: list[tuple[Event, bytes]], count: int, data: st.DataObject) -> None:
    log, plain = StreamLog(), []
    log.append(Started(stream_id="s"))
    for number in range(count):
        event, raw = some[number % len(some)]
        log.append(copy.copy(event), raw)
        plain.append((number + 2, event, raw))
    log.append(Ended(outcome=StreamOutcome.COMPLETED))
    assert len(log.entries) == count + 2
    found = [(entry.seq, entry.event, entry.raw) for entry in log.entries][1:-1]
    assert [(seq, _bare(event), raw) for seq, event, raw in found] == [(seq, _bare(ev), raw) for seq, ev, raw in plain]
    assert [entry.event.cursor for entry in log.entries] == [str(entry.seq) for entry in log.entries]
    assert log.entries[-1].event is log.ended
    start, stop = sorted(data.draw(st.tuples(st.integers(0, count + 2), st.integers(0, count + 2))))
    assert [entry.seq for entry in log.entries[start:stop]] == list(range(start + 1, stop + 1))
    assert log.entries.text == "".join(event.text for _, event, _ in plain if type(event) is TextDelta)
    assert log.size == sum(event.size for _, event, _ in plain)


@given(
    st.lists(st.tuples(deltas, st.binary(max_size=200)), min_size=1, max_size=40),
    st.integers(1, 1500),
    st.integers(1, 400),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_reader_takes_all_bytes_however_far_it_is_behind(
    some: list[tuple[Event, bytes]], count: int, pause: int, replays: bool
) -> None:
    log, told = StreamLog(), [some[number % len(some)] for number in range(count)]
    log.entries.replays_raw = replays
    with log.reading(0) as quick, log.reading(0) as slow:
        taken: dict[Reader, list[bytes]] = {quick: [], slow: []}
        for number, (event, raw) in enumerate(told, 1):
            log.append(copy.copy(event), raw)
            for reader in (quick, slow) if number % pause == 0 or number == count else (quick,):
                while reader.position < len(log.entries):
                    batch = log.entries.after(reader.position)
                    taken[reader] += [entry.raw for entry in batch]
                    log.moved(reader, reader.position + len(batch))
    raws = [raw for _, raw in told]
    assert list(taken.values()) == [raws, raws]
    assert [_bare(entry.event) for entry in log.entries] == [_bare(event) for event, _ in told]
    kept = [entry.raw for entry in log.entries]
    assert kept == raws if replays else all(have in {b"", had} for have, had in zip(kept, raws, strict=True))


def test_entries_that_readers_have_taken_are_packed() -> None:
    log, raw = StreamLog(), b'data: {"choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
    with log.reading(0) as reader:
        for number in range(1, 401):
            log.append(TextDelta(text="token"), raw)
            log.moved(reader, number)
    unpacked = PIECE * 2
    assert log.weight <= unpacked * (ENTRY_BYTES + len(raw) + 5) + 400 * 40


def _bare(event: Event) -> Event:
    bare = copy.copy(event)
    bare.cursor = ""
    return bare
