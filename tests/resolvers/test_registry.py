from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.bounded import Quotas
from clients.errors import Conflict, NotFound, Overloaded, RateLimited
from clients.origin import Owner
from resolvers.streams.events import OnDisconnect, Started, StreamOutcome, TextDelta
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import OWNERS
from resolvers.streams.memory import MemoryLog
from resolvers.streams.registry import KEY_BYTES, STREAM_BYTES, StreamRegistry
from resolvers.streams.stream import Stream
from tests.support.scripted_streams import (
    ADA,
    COMPLETED,
    GRACE,
    USER,
    ScriptedSource,
    end_of,
    failure_of,
    finished,
    hub,
    refuses,
    starting,
    text_in,
)

EACH = 10 * STREAM_BYTES


def stream(name: str, *, owner: Owner = ADA, key: str | None = None, fingerprint: str = "a") -> Stream:
    return Stream(
        id=name,
        owner=owner,
        kind="completion",
        source=None,
        on_disconnect=OnDisconnect.CANCEL,
        log=MemoryLog(name),
        key=key,
        fingerprint=fingerprint,
    )


def registry_of(quota: int = EACH, in_all: int = 100 * EACH) -> tuple[Quotas, StreamRegistry]:
    quotas = Quotas(in_all, quota)
    return quotas, StreamRegistry(quotas)


def has_room(registry: StreamRegistry, owner: Owner = ADA) -> bool:
    try:
        registry.check_room(owner, 0, 100)
    except RateLimited as error:
        return error.reason != "STREAM_MEMORY"
    return True


def added(registry: StreamRegistry, name: str, key: str | None = None) -> Stream:
    one = stream(name, key=key)
    registry.add(one)
    return one


def end(registry: StreamRegistry, one: Stream, size: int) -> bool:
    one.log.append(TextDelta(text="x" * size))
    one.log.append(COMPLETED)
    return registry.retain(one)


async def test_only_running_streams_count_towards_the_limit() -> None:
    _, registry = registry_of()
    first, second, third = (stream(name) for name in ("first", "second", "third"))
    for one in (first, second):
        registry.check_room(ADA, 0, 2)
        registry.add(one)
    with refuses(RateLimited, "STREAMS"):
        registry.check_room(ADA, 0, 2)
    registry.check_room(GRACE, 0, 2)
    end(registry, first, 1)
    registry.check_room(ADA, 0, 2)
    registry.add(third)
    for one in (second, second, third, first):
        registry.remove(one)
    registry.check_room(ADA, 0, 1)
    assert not registry.all()


async def test_the_oldest_ended_streams_are_evicted_and_running_ones_stay() -> None:
    quotas, registry = registry_of()
    running, *others = [added(registry, name) for name in ("running", "first", "second", "third")]
    assert [end(registry, one, 3 * STREAM_BYTES) for one in others] == [True] * 3
    kept = registry.of(ADA)
    assert kept[0] is running
    assert others[-1] in kept
    with pytest.raises(NotFound):
        registry.get("first", ADA)
    end(registry, running, 2 * EACH)  # larger than the quota by itself, and still to be read
    assert registry.of(ADA) == [running]
    assert has_room(registry)  # it makes room for another
    assert (registry.of(ADA), quotas.total) == ([], 0)


async def test_a_key_outlives_its_answer() -> None:
    quotas, registry = registry_of()
    first = added(registry, "first", "k")
    end(registry, first, EACH)
    second = added(registry, "second")
    end(registry, second, EACH)
    with pytest.raises(NotFound):
        registry.get("first", ADA)
    assert registry.at_key(ADA, "k") is first
    assert first.evicted
    with pytest.raises(NotFound):
        assert first.text == ""
    assert quotas.held(ADA) < EACH + 2 * STREAM_BYTES + KEY_BYTES
    registry.remove(first)
    registry.remove(second)
    assert registry.at_key(ADA, "k") is None
    assert quotas.total == 0


async def test_a_stream_that_is_being_read_is_not_evicted_and_counts_for_its_owner() -> None:
    _, registry = registry_of()
    read = added(registry, "read")
    read.readers = 1
    end(registry, read, EACH)
    end(registry, added(registry, "other"), EACH)
    assert registry.get("read", ADA) is read
    assert not has_room(registry)
    read.readers = 0
    assert has_room(registry)


async def test_only_large_running_streams_exceed_the_quota() -> None:
    _, registry = registry_of()
    small, large = added(registry, "small"), added(registry, "large")
    large.log.append(TextDelta(text="x" * EACH))
    with pytest.raises(RateLimited):
        registry.grown(large)
    small.log.append(TextDelta(text="x"))
    registry.grown(small)
    assert not has_room(registry)
    assert has_room(registry, GRACE)


async def test_a_removed_stream_frees_its_key() -> None:
    quotas, registry = registry_of()
    one = added(registry, "one", "k")
    assert registry.at_key(ADA, "k") is one
    assert registry.at_key(GRACE, "k") is None
    registry.remove(one)
    registry.remove(one)
    assert registry.at_key(ADA, "k") is None
    assert end(registry, one, 1) is False
    assert (registry.of(ADA), registry.all(), quotas.total) == ([], [], 0)


steps = st.lists(st.tuples(st.sampled_from([ADA, GRACE]), st.integers(0, 2), st.integers(0, EACH), st.booleans()))


@given(steps)
@settings(deadline=None)
def test_the_retained_streams_of_one_owner_do_not_depend_on_another(some: list[tuple[Owner, int, int, bool]]) -> None:
    async def after(owners: set[Owner]) -> dict[Owner, list[tuple[str, bool]]]:
        """Return the streams of each owner after these steps of some owners."""
        _, registry = registry_of()
        found: dict[Owner, list[tuple[str, bool]]] = {}
        for number, (owner, act, size, keyed) in enumerate(some):
            if owner not in owners:
                continue
            running = [one for one in registry.of(owner) if one.log.ended is None]
            if act == 0:
                registry.add(stream(str(number), owner=owner, key=str(number) if keyed else None))
            elif act == 1 and running:
                running[0].log.append(TextDelta(text="x" * size))
                with suppress(RateLimited):
                    registry.grown(running[0])
            elif running:
                end(registry, running[-1], size)
        for owner in owners:
            found[owner] = [(one.id, one.log.ended is None) for one in registry.of(owner)]
            keys = ((str(number), registry.at_key(owner, str(number))) for number in range(len(some)))
            found[owner] += [(key, one.evicted) for key, one in keys if one is not None]
        return found

    both = asyncio.run(after({ADA, GRACE}))
    assert both == asyncio.run(after({ADA})) | asyncio.run(after({GRACE}))


MB = 1024 * 1024


async def run(streams: StreamHub, owner: Owner, size: int, key: str | None = None, **how: Any) -> Stream:
    """Run a stream to its end, with an answer of ``size`` bytes."""
    pieces = [TextDelta(text="x" * size)] if size else []
    source = finished(*pieces)
    async with starting(streams, source, owner=owner, on_disconnect=OnDisconnect.CONTINUE, key=key, **how) as stream:
        await end_of(stream)
    return stream


def small(**more: Any) -> StreamHub:
    """Return a hub of streams that keeps a megabyte per owner."""
    return hub(memory=OWNERS * MB, **more)[0]


@asynccontextmanager
async def holding(streams: StreamHub, owner: Owner, size: int) -> AsyncIterator[None]:
    """Run a stream whose request takes this number of bytes."""
    source = ScriptedSource(Started(), asyncio.Event())
    async with starting(streams, source, owner=owner, request_bytes=size - STREAM_BYTES):
        yield


@pytest.mark.bound("stream-memory-user")
@pytest.mark.parametrize("past", [0, 1])
async def test_a_stream_one_byte_past_the_users_bound_is_refused(past: int) -> None:
    streams = small()
    async with holding(streams, ADA, MB // 2):
        assert streams.memory == MB // 2
        if past:
            with refuses(RateLimited, "STREAM_MEMORY"):
                await run(streams, ADA, 0, request_bytes=MB // 2 - STREAM_BYTES + past)
            await run(streams, GRACE, 0, request_bytes=MB - STREAM_BYTES)
        else:
            await run(streams, ADA, 0, request_bytes=MB // 2 - STREAM_BYTES)


@pytest.mark.bound("stream-memory-user")
@pytest.mark.parametrize("past", [0, 1])
async def test_an_answer_is_evicted_one_byte_past_its_owners_bound(past: int) -> None:
    streams = small()
    first = await run(streams, ADA, MB // 2)
    room = MB - streams.memory - STREAM_BYTES
    async with holding(streams, ADA, STREAM_BYTES + room + past):
        if past:
            with pytest.raises(NotFound):
                await streams.get(first.id, ADA)
        else:
            assert await streams.get(first.id, ADA) is first


async def test_ended_streams_are_evicted_for_their_owner_only() -> None:
    streams = small()
    first = await run(streams, ADA, MB // 2, key="k")
    for _ in range(20):
        await run(streams, GRACE, MB // 2)
    assert (await streams.get(first.id, ADA)).text == "x" * (MB // 2)
    await run(streams, ADA, MB // 2)
    with pytest.raises(NotFound):
        await streams.get(first.id, ADA)
    assert await streams.attaches(ADA, "k")
    with refuses(Conflict, "ANSWER_DROPPED"):
        await run(streams, ADA, 0, key="k")


@pytest.mark.parametrize(("can_search", "restarts"), [(True, False), (False, True)])
async def test_a_key_with_an_evicted_answer_restarts_if_that_repeats_nothing(can_search: bool, restarts: bool) -> None:
    """The source of a turn searches for it before it sends it again; only a failed completion is restarted."""
    streams = small()
    source = ScriptedSource(
        Started(), TextDelta(text="x" * (MB // 2)), COMPLETED if can_search else Overloaded("Failed.")
    )
    how = {
        "owner": ADA,
        "on_disconnect": OnDisconnect.CONTINUE,
        "key": "k",
        "can_search": can_search,
        "restarts": restarts,
    }
    async with starting(streams, source, **how) as first:
        await end_of(first)
    await run(streams, ADA, MB // 2)
    again = await run(streams, ADA, 10, key="k", can_search=can_search, restarts=restarts)
    assert first.evicted
    assert again.restarted
    assert again.text == "x" * 10


async def test_a_stream_with_readers_is_not_evicted() -> None:
    streams = small()
    stream = await run(streams, ADA, MB)
    async with streams.attached(stream), aclosing(streams.events(stream, None)) as heard:
        await anext(heard)
        with refuses(RateLimited, "STREAM_MEMORY"):
            await run(streams, ADA, 0)
        await run(streams, GRACE, 0)
        assert len(text_in([one async for one in heard])) == MB
    await run(streams, ADA, 0)


async def test_running_streams_past_the_quota_fail_except_small_ones() -> None:
    streams, more = small(), asyncio.Event()
    tiny = finished(more, TextDelta(text="x"))
    large = [finished(TextDelta(text="x" * (MB // 2)), more) for _ in range(2)]
    async with AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(starting(streams, source)) for source in (tiny, *large)]
        failure = failure_of(await end_of(others[1]))
        assert (failure.code.value, failure.reason) == ("RATE_LIMITED", "STREAM_MEMORY")
        other = await run(streams, GRACE, 0)
        assert (await end_of(other)).outcome is StreamOutcome.COMPLETED
        more.set()
        assert [(await end_of(one)).outcome for one in (first, others[0])] == [StreamOutcome.COMPLETED] * 2


async def test_a_request_counts_while_its_stream_runs() -> None:
    streams, more = small(), asyncio.Event()
    async with starting(streams, finished(more), request_bytes=MB // 2) as stream:
        await run(streams, USER, 0)
        with pytest.raises(RateLimited):
            await run(streams, USER, 0, request_bytes=MB // 2)
        more.set()
        await end_of(stream)
        await run(streams, USER, 0, request_bytes=MB // 2)


@pytest.mark.bound("stream-memory")
@pytest.mark.parametrize("past", [0, 1])
async def test_a_stream_one_byte_past_the_bound_of_all_is_refused(past: int) -> None:
    streams = small()
    async with AsyncExitStack() as stack:
        for owner in range(OWNERS - 1):
            await stack.enter_async_context(holding(streams, Owner(str(owner)), MB))
        await stack.enter_async_context(holding(streams, Owner("small"), MB // 2))
        assert streams.memory == OWNERS * MB - MB // 2
        if past:
            with refuses(Overloaded, "STREAM_MEMORY"):
                await run(streams, ADA, 0, request_bytes=MB // 2 - STREAM_BYTES + past)
        else:
            await run(streams, ADA, 0, request_bytes=MB // 2 - STREAM_BYTES)


async def test_new_streams_are_refused_if_all_hold_too_much() -> None:
    streams = small()
    kept: list[Stream] = []

    async def fill() -> None:
        while len(kept) < 100:
            kept.append(await run(streams, Owner(f"user {len(kept)}"), MB - 2 * STREAM_BYTES))

    with pytest.raises(Overloaded) as refused:
        await fill()
    assert refused.value.reason == "STREAM_MEMORY"
    assert refused.value.retry_after_seconds is not None
    assert len(kept) >= OWNERS
    assert {len((await streams.get(one.id, one.owner)).text) for one in kept} == {MB - 2 * STREAM_BYTES}


@pytest.mark.bound("readers")
@pytest.mark.parametrize(("bound", "refused"), [(3, False), (2, True)])
async def test_the_bound_on_the_streams_that_a_user_reads_at_a_time(bound: int, refused: bool) -> None:
    streams = small(max_readers_per_user=bound)
    stream = await run(streams, ADA, 10)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(streams.attached(stream))
        if refused:
            with refuses(RateLimited, "READERS"):
                await run(streams, ADA, 0)
            await run(streams, GRACE, 0)
        else:
            await run(streams, ADA, 0)
    await run(streams, ADA, 0)
