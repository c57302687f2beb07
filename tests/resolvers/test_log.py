"""The contract of every adapter of a stream's log: append, read after a cursor, wait, and read for the graph."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import BadUserInput
from resolvers.streams.events import (
    Delivery,
    Detached,
    DetachReason,
    Ended,
    Entry,
    Event,
    Raw,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)
from resolvers.streams.log import Leave, Reader, StreamLog
from resolvers.streams.memory import MemoryLog
from resolvers.streams.reading import read_events
from tests.support.scripted_streams import COMPLETED

ADAPTERS: list[type[StreamLog]] = [MemoryLog]
pytestmark = pytest.mark.parametrize("adapter", ADAPTERS)

deltas = st.one_of(
    st.builds(TextDelta, message_id=st.sampled_from(["a", "b", None]), text=st.text(min_size=1, max_size=5)),
    st.builds(ReasoningDelta, message_id=st.sampled_from(["a", None]), text=st.text(min_size=1, max_size=5)),
    st.builds(ToolCallDelta, index=st.integers(0, 1), arguments_delta=st.text(min_size=1, max_size=5)),
    st.builds(Raw),
)


class Whole(Event, frozen=True):
    """An event that only its source knows, which a log stores unchanged."""

    message: str


def concatenated(events: list[Event]) -> dict[tuple[str, object], str]:
    """Return a reader's texts by kind and message, with the deltas concatenated."""
    has: dict[tuple[str, object], str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            key: tuple[str, object] = (type(event).__name__, event.message_id)
            has[key] = has.get(key, "") + event.text
        elif isinstance(event, ToolCallDelta):
            key = ("call", event.index)
            has[key] = has.get(key, "") + event.arguments_delta
    return has


def events_of(heard: list[Delivery[Event]]) -> list[Event]:
    return [one.event for one in heard]


def filled(adapter: type[StreamLog], *events: Event, ended: bool = True) -> StreamLog:
    log = adapter("stream:1")
    for event in [Started(), *events, *([COMPLETED] if ended else [])]:
        log.append(event)
    return log


async def entries_of(log: StreamLog, position: int = 0) -> list[Entry]:
    found: list[Entry] = []
    while batch := await log.after(position + len(found)):
        found += batch
    return found


async def read(log: StreamLog, after: str | None, coalesce: float) -> list[Delivery[Event]]:
    return [one async for one in read_events(log, after, coalesce=coalesce, max_waiting=1 << 30)]


@given(st.lists(deltas, max_size=20), st.data(), st.sampled_from([0, 0.001]))
def test_the_text_before_and_after_any_cursor_is_exact(
    adapter: type[StreamLog], events: list[Event], data: st.DataObject, coalesce: float
) -> None:
    log = filled(adapter, *events)
    whole = asyncio.run(read(log, None, coalesce))
    cut = data.draw(st.integers(1, len(whole)))
    if whole[cut - 1].event is COMPLETED:
        return
    heard = [*whole[:cut], *asyncio.run(read(log, whole[cut - 1].cursor, coalesce))]
    assert concatenated(events_of(heard)) == concatenated(events)
    assert events_of(heard).count(COMPLETED) == 1
    cursors = [int(one.cursor) for one in heard]
    assert cursors == sorted(set(cursors))
    assert {one.stream_id for one in heard} == {"stream:1"}


def test_nothing_comes_after_the_end(adapter: type[StreamLog]) -> None:
    log = filled(adapter)
    with pytest.raises(RuntimeError):
        log.append(TextDelta(text="more"))


@pytest.mark.parametrize("cursor", ["-1", "3", "x", "", "٣", "9" * 20])
async def test_an_unknown_cursor_is_refused(adapter: type[StreamLog], cursor: str) -> None:
    with pytest.raises(BadUserInput):
        await read(filled(adapter), cursor, 0)


async def test_a_reader_waits_for_an_entry_and_for_the_end(adapter: type[StreamLog]) -> None:
    log = filled(adapter, ended=False)
    waiting = [asyncio.create_task(log.more(1)), asyncio.create_task(log.more(1)), asyncio.create_task(log.more(2))]
    await log.more(0)
    await asyncio.sleep(0)
    log.append(TextDelta(text="a"))
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting[:2])
        ending = asyncio.create_task(log.end())
        await asyncio.sleep(0)
        log.append(COMPLETED)
        await waiting[2]
        await log.more(3)
        assert await ending is COMPLETED


async def test_an_evicted_log_keeps_only_its_end(adapter: type[StreamLog]) -> None:
    log = filled(adapter, TextDelta(text="a"), Whole(message="m"))
    log.pack()
    assert [entry.event for entry in await entries_of(log)] == [
        Started(),
        TextDelta(text="a"),
        Whole(message="m"),
        COMPLETED,
    ]
    assert await log.whole_events() == [Started(), Whole(message="m"), COMPLETED]
    log.evict()
    assert (log.started, log.ended, log.length, log.text) == (None, COMPLETED, 0, "")
    assert not any([await entries_of(log), await log.whole_events(), await log.joined_events()])


async def test_a_source_waits_for_the_furthest_reader(adapter: type[StreamLog]) -> None:
    log = filled(adapter, TextDelta(text="abc"), TextDelta(text="de"), ended=False)
    assert log.lead == 0
    with log.reading(0), log.reading(1) as ahead:
        assert log.lead == 5
        waiting = asyncio.create_task(log.caught_up(2))
        await asyncio.sleep(0)
        assert not waiting.done()
        log.moved(ahead, 2)
        async with asyncio.timeout(5):
            await waiting
        assert log.lead == 2
    assert log.lead == 0


async def test_a_burst_does_not_detach_a_reader(adapter: type[StreamLog]) -> None:
    log = filled(adapter, ended=False)
    prompt = read_events(log, None, coalesce=0, max_waiting=1000, slow_after=3600)
    await anext(prompt)
    for _ in range(20):
        log.append(TextDelta(text="x" * 1000))
    log.append(COMPLETED)
    assert [type(one.event) async for one in prompt] == [TextDelta] * 20 + [Ended]


async def test_a_detached_slow_reader_can_continue_from_its_cursor(adapter: type[StreamLog]) -> None:
    log = filled(adapter, ended=False)
    slow = read_events(log, None, coalesce=0.001, max_waiting=1000)
    first = await anext(slow)
    for _ in range(20):
        log.append(TextDelta(text="x" * 100))
    detached = await anext(slow)
    assert (detached.event, detached.cursor) == (Detached(reason=DetachReason.SLOW), first.cursor)
    log.append(COMPLETED)
    rest = await read(log, detached.cursor, 0)
    assert len(concatenated(events_of(rest))["TextDelta", None]) == 2000


async def detached(log: StreamLog, leave: Leave, **how: Any) -> list[Delivery[Event]]:
    async with asyncio.timeout(5):
        return [one async for one in read_events(log, None, max_waiting=1000, leave=leave, **how)]


@pytest.mark.parametrize("coalesce", [0, 30])
async def test_a_detached_reader_gets_the_events_so_far_and_their_last_cursor(
    adapter: type[StreamLog], coalesce: float
) -> None:
    log, leave = filled(adapter, TextDelta(text="a"), ended=False), Leave()
    leave.now(DetachReason.DRAINING)
    heard = await detached(log, leave, coalesce=coalesce)
    assert events_of(heard) == [Started(), TextDelta(text="a"), Detached(reason=DetachReason.DRAINING)]
    assert heard[-1].cursor == "2"


async def test_a_reader_that_is_detached_between_two_waits_does_not_wait_for_another_event(
    adapter: type[StreamLog],
) -> None:
    log, leave = filled(adapter, ended=False), Leave()
    events = read_events(log, None, coalesce=0, max_waiting=1000, leave=leave)
    assert (await anext(events)).event == Started()
    leave.now(DetachReason.DRAINING)
    async with asyncio.timeout(5):
        assert await anext(events) == Delivery("stream:1", "1", Detached(reason=DetachReason.DRAINING))


async def test_a_reader_that_is_detached_at_the_end_gets_the_end(adapter: type[StreamLog]) -> None:
    log, leave = filled(adapter), Leave()
    leave.now(DetachReason.DRAINING)
    assert (await detached(log, leave, coalesce=0))[-1].event is COMPLETED


@given(st.lists(st.tuples(deltas, st.binary(max_size=5)), min_size=1, max_size=40), st.integers(1, 3000), st.data())
@settings(max_examples=30, deadline=None)
def test_entries_are_read_as_they_were_appended(
    adapter: type[StreamLog], some: list[tuple[Event, bytes]], count: int, data: st.DataObject
) -> None:
    log = filled(adapter, ended=False)
    plain = [Entry(number + 2, *some[number % len(some)]) for number in range(count)]
    for entry in plain:
        log.append(entry.event, entry.raw)
    log.append(COMPLETED)
    assert log.length == count + 2
    position = data.draw(st.integers(0, log.length))
    assert (
        asyncio.run(entries_of(log, position)) == [Entry(1, Started()), *plain, Entry(count + 2, COMPLETED)][position:]
    )
    assert log.text == "".join(entry.event.text for entry in plain if type(entry.event) is TextDelta)
    assert log.size == sum(entry.event.size for entry in plain)
    joined = asyncio.run(log.joined_events())
    assert concatenated(joined) == concatenated([entry.event for entry in plain])


@given(
    st.lists(st.tuples(deltas, st.binary(max_size=200)), min_size=1, max_size=40),
    st.integers(1, 1500),
    st.integers(1, 400),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_slow_reader_gets_all_bytes(
    adapter: type[StreamLog], some: list[tuple[Event, bytes]], count: int, pause: int, replays: bool
) -> None:
    log, given = adapter("stream:1"), [some[number % len(some)] for number in range(count)]
    log.replays_raw = replays

    async def taken_by(quick: Reader, slow: Reader) -> list[list[bytes]]:
        taken: dict[Reader, list[bytes]] = {quick: [], slow: []}
        for number, (event, raw) in enumerate(given, 1):
            log.append(event, raw)
            for reader in (quick, slow) if number % pause == 0 or number == count else (quick,):
                while batch := await log.after(reader.position):
                    taken[reader] += [entry.raw for entry in batch]
                    log.moved(reader, reader.position + len(batch))
        return list(taken.values())

    raws = [raw for _, raw in given]
    with log.reading(0) as quick, log.reading(0) as slow:
        assert asyncio.run(taken_by(quick, slow)) == [raws, raws]
    entries = asyncio.run(entries_of(log))
    assert [entry.event for entry in entries] == [event for event, _ in given]
    kept = [entry.raw for entry in entries]
    assert kept == raws if replays else all(have in {b"", had} for have, had in zip(kept, raws, strict=True))


def test_bytes_that_every_reader_has_taken_are_dropped_at_once(adapter: type[StreamLog]) -> None:
    log = adapter("stream:1")
    log.replays_raw = False
    for number in range(4):
        log.append(TextDelta(text=str(number)), b"x" * 1000)
    full = log.weight
    with log.reading(0) as quick, log.reading(0) as slow:
        log.moved(quick, 3)
        assert log.weight == full
        log.moved(slow, 2)
        assert full - log.weight == 2000
    kept = asyncio.run(entries_of(log))
    assert [len(entry.raw) for entry in kept] == [0, 0, 1000, 1000]
    assert log.text == "0123"
