from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.bounded import Quotas
from clients.errors import Conflict, NotFound, RateLimited
from resolvers.streams.events import Ended, OnDisconnect, StreamOutcome, TextDelta
from resolvers.streams.memory import MemoryLog
from resolvers.streams.registry import KEY_BYTES, STREAM_BYTES, StreamRegistry
from resolvers.streams.stream import Stream
from tests.resolvers.test_hub import refuses

EACH = 10 * STREAM_BYTES


def stream(name: str, *, owner: str = "ada", key: str | None = None, fingerprint: str = "a") -> Stream:
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


def has_room(registry: StreamRegistry, owner: str = "ada") -> bool:
    try:
        registry.check_room(owner, 0, 100)
    except RateLimited as error:
        return error.reason != "STREAM_MEMORY"
    return True


def end(registry: StreamRegistry, one: Stream, size: int) -> bool:
    one.log.append(TextDelta(text="x" * size))
    one.log.append(Ended(outcome=StreamOutcome.COMPLETED))
    return registry.retain(one)


async def test_only_running_streams_are_counted() -> None:
    _, registry = registry_of()
    first, second, third = (stream(name) for name in ("first", "second", "third"))
    for one in (first, second):
        registry.check_room("ada", 0, 2)
        registry.add(one)
    with refuses(RateLimited, "STREAMS"):
        registry.check_room("ada", 0, 2)
    registry.check_room("grace", 0, 2)
    end(registry, first, 1)
    registry.check_room("ada", 0, 2)
    registry.add(third)
    for one in (second, second, third, first):
        registry.remove(one)
    registry.check_room("ada", 0, 1)
    assert not registry._running


async def test_the_oldest_ended_streams_are_evicted_and_running_ones_stay() -> None:
    quotas, registry = registry_of()
    running, *others = [stream(name) for name in ("running", "first", "second", "third")]
    for one in (running, *others):
        registry.add(one)
    assert [end(registry, one, 3 * STREAM_BYTES) for one in others] == [True] * 3
    kept = registry.of("ada")
    assert kept[0] is running
    assert others[-1] in kept
    with pytest.raises(NotFound):
        registry.get("first", "ada")
    end(registry, running, 2 * EACH)  # larger than the quota by itself, and still to be read
    assert registry.of("ada") == [running]
    assert has_room(registry)  # it makes room for another
    assert (registry.of("ada"), quotas.total) == ([], 0)


async def test_a_key_outlives_its_answer() -> None:
    quotas, registry = registry_of()
    first, second = stream("first", key="k"), stream("second")
    registry.add(first)
    end(registry, first, EACH)
    registry.add(second)
    end(registry, second, EACH)
    with pytest.raises(NotFound):
        registry.get("first", "ada")
    assert registry.by_key("ada", "k", "a") is first
    assert first.evicted
    with pytest.raises(NotFound):
        assert first.text == ""
    assert quotas.held("ada") < EACH + 2 * STREAM_BYTES + KEY_BYTES
    with pytest.raises(Conflict):
        registry.by_key("ada", "k", "b")
    registry.remove(first)
    registry.remove(second)
    assert registry.by_key("ada", "k", "b") is None
    assert quotas.total == 0


async def test_a_stream_with_readers_is_not_evicted_and_counts() -> None:
    _, registry = registry_of()
    read = stream("read")
    registry.add(read)
    read.readers = 1
    end(registry, read, EACH)
    other = stream("other")
    registry.add(other)
    end(registry, other, EACH)
    assert registry.get("read", "ada") is read
    assert not has_room(registry)
    read.readers = 0
    assert has_room(registry)


async def test_only_large_running_streams_are_too_large() -> None:
    _, registry = registry_of()
    small, large = stream("small"), stream("large")
    for one in (small, large):
        registry.add(one)
    large.log.append(TextDelta(text="x" * EACH))
    with pytest.raises(RateLimited):
        registry.grown(large)
    small.log.append(TextDelta(text="x"))
    registry.grown(small)
    assert not has_room(registry)
    assert has_room(registry, "grace")


async def test_a_removed_stream_leaves_its_key_free_and_does_not_come_back() -> None:
    quotas, registry = registry_of()
    one = stream("one", key="k")
    registry.add(one)
    assert registry.by_key("ada", "k", "a") is one
    assert registry.by_key("grace", "k", "a") is None
    with pytest.raises(Conflict):
        registry.by_key("ada", "k", "b")
    registry.remove(one)
    registry.remove(one)
    assert registry.by_key("ada", "k", "b") is None
    assert end(registry, one, 1) is False
    assert (registry.of("ada"), registry.all(), quotas.total) == ([], [], 0)


steps = st.lists(st.tuples(st.sampled_from(["ada", "grace"]), st.integers(0, 2), st.integers(0, EACH), st.booleans()))


@given(steps)
@settings(deadline=None)
def test_the_retained_streams_of_one_owner_do_not_depend_on_another(some: list[tuple[str, int, int, bool]]) -> None:
    async def after(owners: set[str]) -> dict[str, list[tuple[str, bool]]]:
        """What each owner has after these steps of some owners."""
        _, registry = registry_of()
        found: dict[str, list[tuple[str, bool]]] = {}
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

    both = asyncio.run(after({"ada", "grace"}))
    assert both == asyncio.run(after({"ada"})) | asyncio.run(after({"grace"}))
