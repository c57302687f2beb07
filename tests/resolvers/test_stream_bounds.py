"""What streams hold: of frames, of memory, of readers, and how far a source is read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from clients.errors import Conflict, NotFound, Overloaded, RateLimited
from resolvers.streams.events import (
    Ended,
    OnDisconnect,
    Started,
    StreamOutcome,
    TextDelta,
)
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import OWNERS
from resolvers.streams.registry import STREAM_BYTES
from resolvers.streams.stream import Stream, StreamRequest
from tests.support.scripted_streams import ScriptedSource, end_of, hub, starting, text_in

MB = 1024 * 1024


async def run(streams: StreamHub, owner: str, size: int, key: str | None = None, **how: Any) -> Stream:
    """A stream that has ended, with an answer of ``size`` bytes."""
    pieces = [TextDelta(text="x" * size)] if size else []
    source = ScriptedSource(Started(), *pieces, Ended(outcome=StreamOutcome.COMPLETED))
    request = StreamRequest(
        owner_id=owner, kind="turn", source=lambda: source, on_disconnect=OnDisconnect.CONTINUE, key=key, **how
    )
    async with streams.start(request) as stream:
        await end_of(stream)
    return stream


def small(**more: Any) -> StreamHub:
    """Streams of which an owner's may hold a megabyte."""
    return hub(memory=OWNERS * MB, **more)[0]


@asynccontextmanager
async def holding(streams: StreamHub, owner: str, size: int) -> AsyncIterator[None]:
    """A stream that runs, and takes so many bytes with its request."""
    source = ScriptedSource(Started(), asyncio.Event())
    request = StreamRequest(
        owner_id=owner,
        kind="turn",
        source=lambda: source,
        on_disconnect=OnDisconnect.CANCEL,
        request_bytes=size - STREAM_BYTES,
    )
    async with streams.start(request):
        yield


@pytest.mark.bound("stream-memory-user")
@pytest.mark.parametrize("past", [0, 1])
async def test_a_users_streams_hold_as_much_as_the_bound_and_not_a_byte_more(past: int) -> None:
    streams = small()
    async with holding(streams, "ada", MB // 2):
        assert streams.memory == MB // 2
        if past:
            with pytest.raises(RateLimited) as refused:
                await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES + past)
            assert refused.value.reason == "STREAM_MEMORY"
            await run(streams, "grace", 0, request_bytes=MB - STREAM_BYTES)
        else:
            await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES)


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
    with pytest.raises(Conflict) as dropped:
        await run(streams, "ada", 0, key="k")
    assert dropped.value.reason == "ANSWER_DROPPED"


@pytest.mark.parametrize(("looks", "restarts"), [(True, False), (False, True)])
async def test_a_key_whose_answer_was_evicted_begins_again_where_nothing_is_done_twice(
    looks: bool, restarts: bool
) -> None:
    """A turn is looked for first; what broke off begins again where that was asked for."""
    streams = small()
    end = None if looks else Overloaded("Failed.")
    source = ScriptedSource(Started(), TextDelta(text="x" * (MB // 2)), *([end] if end else []))
    if looks:
        source = ScriptedSource(Started(), TextDelta(text="x" * (MB // 2)), Ended(outcome=StreamOutcome.COMPLETED))
    request = StreamRequest(
        owner_id="ada",
        kind="turn",
        source=lambda: source,
        on_disconnect=OnDisconnect.CONTINUE,
        key="k",
        looks=looks,
        restarts=restarts,
    )
    async with streams.start(request) as first:
        await end_of(first)
    await run(streams, "ada", MB // 2)
    again = await run(streams, "ada", 10, key="k", looks=looks, restarts=restarts)
    assert first.evicted
    assert again.restarted
    assert again.text == "x" * 10


async def test_a_stream_that_is_read_stays_and_takes_room() -> None:
    streams = small()
    stream = await run(streams, "ada", MB)
    async with streams.attached(stream), aclosing(streams.events(stream, None)) as heard:
        await anext(heard)
        with pytest.raises(RateLimited) as refused:
            await run(streams, "ada", 0)
        assert refused.value.reason == "STREAM_MEMORY"
        await run(streams, "grace", 0)
        assert len(text_in([one async for one in heard])) == MB
    await run(streams, "ada", 0)


async def test_running_streams_are_too_large_together_and_the_small_one_goes_on() -> None:
    streams = small()
    more = asyncio.Event()
    end = Ended(outcome=StreamOutcome.COMPLETED)
    tiny = ScriptedSource(Started(), more, TextDelta(text="x"), end)
    large = [ScriptedSource(Started(), TextDelta(text="x" * (MB // 2)), more, end) for _ in range(2)]
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
    source = ScriptedSource(Started(), more, Ended(outcome=StreamOutcome.COMPLETED))
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
        if past:
            with pytest.raises(Overloaded) as refused:
                await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES + past)
            assert refused.value.reason == "STREAM_MEMORY"
        else:
            await run(streams, "ada", 0, request_bytes=MB // 2 - STREAM_BYTES)


async def test_new_streams_are_refused_where_all_hold_too_much_and_old_ones_stay() -> None:
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
    assert all(len(streams.get(one.id, one.owner_id).text) == MB - 2 * STREAM_BYTES for one in kept)


@pytest.mark.bound("readers")
@pytest.mark.parametrize(("bound", "refused"), [(3, False), (2, True)])
async def test_a_user_reads_so_many_streams_at_a_time(bound: int, refused: bool) -> None:
    streams = small(max_readers_per_user=bound)
    stream = await run(streams, "ada", 10)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(streams.attached(stream))
        if refused:
            with pytest.raises(RateLimited) as error:
                await run(streams, "ada", 0)
            assert error.value.reason == "READERS"
            await run(streams, "grace", 0)
        else:
            await run(streams, "ada", 0)
    await run(streams, "ada", 0)
