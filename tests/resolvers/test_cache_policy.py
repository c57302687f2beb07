from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from clients.codes import Reason
from clients.errors import (
    NotFound,
    QueryTooComplex,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from clients.state.cache import MemoryCacheStore, Tag
from clients.state.connection import RedisConnection
from clients.state.redis_cache import RedisCacheStore
from clients.stored import Stored, Unreadable
from resolvers.cache import policy
from resolvers.cache.kinds import FAILED_SECONDS
from resolvers.cache.policy import Cache
from resolvers.cache.reads import Loaded, Read, Source
from resolvers.cache.stale import REVALIDATING, SLOW
from tests.support.cached import GRADUAL, NUMBER, STORED, Counted, Numbers, cache_of, ticks
from tests.support.clock import Clock
from tests.support.stack import until
from tests.support.state import Seen, connected


def one(clock: Clock | None = None, **options: Any) -> tuple[Cache, Numbers, Clock]:
    clock = clock or Clock()
    return cache_of(MemoryCacheStore(), clock=clock, **options), Numbers(clock=clock), clock


async def test_a_record_is_read_once_while_it_is_fresh() -> None:
    seen = Counted()
    cache, numbers, clock = one(seen=seen)
    for _ in range(3):
        assert (await numbers.read(cache)).value == 0
    clock.now = 4.9
    assert (await numbers.read(cache)).value == 0
    assert numbers.calls == 1
    clock.now = 5
    assert (await numbers.read(cache)).stale is None
    assert numbers.calls == 2
    assert seen.outcomes() == {"loaded": 2, "hit": 3}


async def test_equal_reads_share_one_call() -> None:
    seen = Counted()
    cache, numbers, _ = one(seen=seen)
    numbers.is_held = True
    reads = [asyncio.create_task(numbers.read(cache)) for _ in range(200)]
    await ticks()
    assert len(numbers.pending) == numbers.calls == 1
    numbers.pending[0].answer()
    assert {(await read).value for read in reads} == {0}
    assert seen.outcomes() == {"loaded": 1, "joined": 199}


async def test_a_fresh_record_is_found_without_waiting() -> None:
    seen = Counted()
    cache, numbers, clock = one(seen=seen)
    ada, grace = await cache.versions("ada"), await cache.versions("grace")
    assert cache.hit(NUMBER, "ada", "k", ada, STORED) is None
    await numbers.read(cache)
    assert cache.hit(NUMBER, "ada", "k", ada, STORED) == Read(0, 0)
    assert cache.hit(NUMBER, "ada", "of another key", ada, STORED) is None
    assert cache.hit(NUMBER, "grace", "k", grace, STORED) is None
    assert cache.hit(NUMBER, "grace", "k", ada, STORED) is None
    clock.now = 5
    assert cache.hit(NUMBER, "ada", "k", ada, STORED) is None
    clock.now = 4.9
    await numbers.change(cache)
    assert cache.hit(NUMBER, "ada", "k", await cache.versions("ada"), STORED) is None
    assert seen.outcomes() == {"loaded": 1, "hit": 1}


async def test_an_unreadable_record_is_not_found_and_is_loaded_again() -> None:
    class Broken(Stored[int]):
        def decoded(self, data: bytes) -> int:
            raise Unreadable

    seen = Counted()
    cache, numbers, _ = one(seen=seen)
    await numbers.read(cache)
    versions = await cache.versions("ada")
    assert cache.hit(NUMBER, "ada", "k", versions, Broken(int)) is None
    assert cache.memory == 0
    assert (await numbers.read(cache)).value == 0
    assert (numbers.calls, seen.outcomes()) == (2, {"loaded": 2})


async def test_each_user_has_records_of_their_own() -> None:
    cache, numbers, _ = one()
    await numbers.read(cache, owner="ada")
    await numbers.read(cache, owner="grace")
    assert numbers.calls == 2
    await numbers.change(cache, owner="ada")
    assert (await numbers.read(cache, owner="grace")).value == 0
    assert (await numbers.read(cache, owner="ada")).value == 1


async def test_a_read_after_a_mutation_joins_no_earlier_call() -> None:
    cache, numbers, _ = one()
    numbers.is_held = True
    early = asyncio.create_task(numbers.read(cache))
    await ticks()
    assert await numbers.change(cache) == 1
    late = asyncio.create_task(numbers.read(cache))
    await ticks()
    first, second = list(numbers.pending)
    second.answer()
    assert (await late).value == 1
    first.answer()
    assert (await early).value == 0
    assert (await numbers.read(cache)).value == 1, "the earlier call's late answer is not stored as fresh"
    assert numbers.calls == 2


async def test_a_mutation_drops_only_records_with_its_tags() -> None:
    seen = Counted()
    cache, numbers, _ = one(seen=seen)
    await numbers.read(cache)
    await cache.drop("ada", [Tag.SPEND])
    await cache.drop("ada", [])
    await numbers.read(cache)
    assert numbers.calls == 1
    assert dict(seen.drops) == {Tag.SPEND: 1}


async def test_a_stale_record_replaces_a_failed_call_for_a_limited_time() -> None:
    cache, numbers, clock = one()
    await numbers.read(cache)
    numbers.is_down, clock.now = True, 60.0
    read = await numbers.read(cache)
    assert (read.value, read.stale) == (0, (Service.AMS, 60.0, Reason.CONNECT))
    clock.now = FAILED_SECONDS
    with pytest.raises(UpstreamUnavailable):
        await numbers.read(cache)


async def test_after_a_mutation_no_older_record_replaces_a_failed_call() -> None:
    cache, numbers, _ = one()
    await numbers.read(cache)
    await numbers.change(cache)
    numbers.is_down = True
    with pytest.raises(UpstreamUnavailable):
        await numbers.read(cache)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("gone"),
        UpstreamError("key", reason=Reason.CREDENTIAL, service=Service.LITELLM),
        UpstreamError("state", reason=Reason.STATE_MISSING, service=Service.LETTA),
        UpstreamError("gone: 410", reason=Reason.STATUS, service=Service.LETTA, can_retry=False),
        RateLimited("slowly", service=Service.LETTA),
    ],
)
async def test_a_refusal_is_no_outage(error: Exception) -> None:
    cache, numbers, clock = one()
    await numbers.read(cache)
    clock.now = 60

    async def refused() -> Loaded[int]:
        raise error

    with pytest.raises(type(error)):
        await cache.read(NUMBER, "ada", "k", await cache.versions("ada"), Source(STORED, refused, refused))


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("500", reason=Reason.STATUS, service=Service.LETTA),
        UpstreamError("garbage", reason=Reason.DECODE, service=Service.LETTA, can_retry=False),
        UpstreamError("cut", reason=Reason.CUT, service=Service.LETTA),
        UpstreamTimeout("late", reason=Reason.DEADLINE, service=Service.LETTA),
        UpstreamUnavailable("open", reason=Reason.BREAKER_OPEN, service=Service.LETTA),
    ],
)
async def test_a_stale_record_replaces_each_kind_of_outage(error: UpstreamFailure) -> None:
    cache, numbers, clock = one()
    await numbers.read(cache)
    clock.now = 60

    async def failing() -> Loaded[int]:
        raise error

    read = await cache.read(NUMBER, "ada", "k", await cache.versions("ada"), Source(STORED, failing, failing))
    assert (read.value, read.stale) == (0, (Service.AMS, 60.0, error.reason))


async def test_a_reader_that_needs_a_fresh_record_gets_the_error() -> None:
    cache, numbers, clock = one()
    await numbers.read(cache, GRADUAL)
    numbers.is_down, clock.now = True, 6.0
    with pytest.raises(UpstreamUnavailable):
        await cache.read(GRADUAL, "ada", "k", await cache.versions("ada"), Source(STORED, numbers.load))


async def test_a_slowly_changing_record_is_read_again_in_the_background() -> None:
    seen = Counted()
    cache, numbers, clock = one(seen=seen)
    await numbers.read(cache, GRADUAL)
    numbers.value, clock.now = 7, 6.0
    reads = [await numbers.read(cache, GRADUAL) for _ in range(3)]
    assert [(read.value, read.stale) for read in reads] == [(0, (Service.AMS, 6.0, REVALIDATING))] * 3
    await ticks()
    assert ((await numbers.read(cache, GRADUAL)).value, numbers.calls) == (7, 2)
    assert seen.outcomes() == {"loaded": 1, "revalidating": 3, "hit": 1}
    clock.now = 6.0 + 60
    numbers.value = 8
    assert (await numbers.read(cache, GRADUAL)).value == 8, "too old for that"


async def test_a_failed_read_in_the_background_is_tried_again() -> None:
    cache, numbers, clock = one()
    await numbers.read(cache, GRADUAL)
    numbers.is_down, clock.now = True, 6.0
    for calls in (2, 3):
        assert (await numbers.read(cache, GRADUAL)).stale is not None
        await ticks()
        assert numbers.calls == calls


@pytest.mark.bound("cache-refreshes")
async def test_reads_in_the_background_are_limited_and_end_with_the_process() -> None:
    cache, numbers, clock = one()
    for number in range(policy.MAX_REFRESHES + 5):
        await numbers.read(cache, GRADUAL, key=str(number))
    numbers.is_held, clock.now = True, 6.0
    for number in range(policy.MAX_REFRESHES + 5):
        assert (await numbers.read(cache, GRADUAL, key=str(number))).stale is not None
    await ticks()
    assert len(numbers.pending) == policy.MAX_REFRESHES
    await cache.aclose()
    assert numbers.pending == []


async def test_a_stale_record_replaces_a_slow_call_which_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.02)
    cache, numbers, clock = one()
    await numbers.read(cache)
    numbers.value, numbers.is_held, clock.now = 1, True, 6.0
    assert (await numbers.read(cache)).stale == (Service.AMS, 6.0, SLOW)
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 60)
    reads = [await numbers.read(cache) for _ in range(3)]
    assert {(read.value, read.stale) for read in reads} == {(0, (Service.AMS, 6.0, SLOW))}, "no reader waits again"
    assert (numbers.calls, len(numbers.pending)) == (2, 1)
    numbers.pending[0].answer()
    await ticks()
    assert (await numbers.read(cache)) == (1, 6.0, None)
    clock.now = 12
    late = asyncio.create_task(numbers.read(cache))
    await ticks()
    assert not late.done(), "the service is no longer slow, so the reader waits"
    numbers.pending[0].answer()
    assert (await late).stale is None


@pytest.mark.bound("cache-refreshes")
async def test_many_readers_of_a_slow_service_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.02)
    cache, numbers, clock = one()
    records = [str(number) for number in range(policy.MAX_REFRESHES + 5)]
    for key in records:
        await numbers.read(cache, key=key)
    numbers.calls, numbers.is_held, clock.now = 0, True, 6.0
    first = await asyncio.gather(*(numbers.read(cache, key=key) for key in records))
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 60)
    async with asyncio.timeout(5):
        others = [await numbers.read(cache, key=records[0]) for _ in range(2 * policy.MAX_REFRESHES)]
        others += [await numbers.read(cache, key=key) for key in records]
    assert {read.stale and read.stale.reason for read in [*first, *others]} == {SLOW}
    await ticks()
    assert len(numbers.pending) == policy.MAX_REFRESHES
    await cache.aclose()
    assert numbers.pending == []


async def test_one_slow_call_leaves_room_for_reads_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.02)
    cache, numbers, clock = one()
    await numbers.read(cache)
    await numbers.read(cache, GRADUAL)
    numbers.is_held, clock.now = True, 6.0
    await asyncio.gather(*(numbers.read(cache) for _ in range(2 * policy.MAX_REFRESHES)))
    numbers.is_held = False
    assert (await numbers.read(cache, GRADUAL)).stale is not None
    await ticks()
    assert (await numbers.read(cache, GRADUAL)).stale is None, "the record was read again in the background"
    await cache.aclose()


async def test_a_slow_call_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.02)
    cache, numbers, clock = one()
    await numbers.read(cache)
    numbers.is_held, clock.now = True, 6.0
    assert (await numbers.read(cache)).stale is not None
    numbers.pending[0].fail()
    await ticks()
    clock.now = 6 + policy.SLOW_SECONDS
    late = asyncio.create_task(numbers.read(cache))
    await ticks()
    assert not late.done(), "after some time, a reader waits again"
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert (numbers.pending, numbers.calls) == ([], 3)


async def test_the_last_reader_that_leaves_cancels_the_call() -> None:
    cache, numbers, _ = one()
    numbers.is_held = True
    reads = [asyncio.create_task(numbers.read(cache)) for _ in range(2)]
    await ticks()
    reads[0].cancel()
    await ticks()
    assert len(numbers.pending) == 1, "the other reader waits"
    reads[1].cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    numbers.is_held = False
    assert (await numbers.read(cache)).value == 0, "no reader joins a cancelled call"
    assert numbers.pending == []


@pytest.mark.parametrize(
    "error",
    [
        UpstreamTimeout("late", reason=Reason.DEADLINE, service=Service.AMS),
        QueryTooComplex("many", reason=Reason.UPSTREAM_CALLS),
    ],
)
async def test_the_end_of_one_operation_does_not_fail_the_readers_that_have_joined(error: Exception) -> None:
    cache, numbers, _ = one()
    versions = await cache.versions("ada")
    ended = asyncio.get_running_loop().create_future()

    async def ending() -> Loaded[int]:
        return Loaded(await ended, 0.0)

    leader = asyncio.create_task(cache.read(NUMBER, "ada", "k", versions, Source(STORED, ending)))
    await ticks()
    joined = [asyncio.create_task(numbers.read(cache)) for _ in range(5)]
    await ticks()
    ended.set_exception(error)
    with pytest.raises(type(error)):
        await leader
    assert [(await read).value for read in joined] == [0] * 5
    assert numbers.calls == 1


async def test_a_reader_that_has_joined_a_call_does_not_wait_beyond_its_own_deadline() -> None:
    cache, numbers, _ = one()
    versions, numbers.is_held = await cache.versions("ada"), True
    leader = asyncio.create_task(numbers.read(cache))
    await ticks()
    late = Source(STORED, numbers.load, deadline=time.monotonic() + 0.02)
    with pytest.raises(UpstreamTimeout) as failed:
        await cache.read(NUMBER, "ada", "k", versions, late)
    assert (failed.value.reason, failed.value.service) == (Reason.DEADLINE, Service.AMS)
    numbers.pending[0].answer()
    assert ((await leader).value, numbers.calls) == (0, 1)


async def test_an_abandoned_call_that_fails_is_not_reported_as_a_crash() -> None:
    cache, numbers, _ = one()
    crashes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, crash: crashes.append(crash))
    numbers.is_held = True

    async def failing_late() -> Loaded[int]:
        try:
            return await numbers.load()
        except asyncio.CancelledError:
            raise UpstreamUnavailable("AMS is down.", reason=Reason.CONNECT, service=Service.AMS) from None

    source = Source(STORED, failing_late, failing_late)
    reader = asyncio.create_task(cache.read(NUMBER, "ada", "k", await cache.versions("ada"), source))
    await ticks()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await ticks()
    gc.collect()
    assert crashes == []


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("down", reason=Reason.CONNECT, service=Service.AMS),
        UpstreamTimeout("408", reason=Reason.TOTAL, service=Service.AMS),
        RateLimited("slowly", service=Service.AMS),
        NotFound("gone"),
    ],
)
async def test_an_error_reaches_all_readers_and_is_not_cached(error: Exception) -> None:
    cache, numbers, _ = one()
    versions, calls = await cache.versions("ada"), 0

    async def failing() -> Loaded[int]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise error

    reads = [cache.read(NUMBER, "ada", "k", versions, Source(STORED, failing)) for _ in range(5)]
    assert await asyncio.gather(*reads, return_exceptions=True) == [error] * 5
    assert calls == 1
    assert (await numbers.read(cache)).value == 0


async def test_records_that_cannot_be_cached_are_read_each_time() -> None:
    cache, _, clock = one()
    calls = 0

    async def load() -> Loaded[Any]:
        nonlocal calls
        calls += 1
        return Loaded(object() if calls < 3 else 1, clock())

    versions, stored = await cache.versions("ada"), Stored[Any](int)
    for _ in range(2):
        await cache.read(NUMBER, "ada", "k", versions, Source(stored, load))
    for _ in range(2):
        await cache.read(NUMBER, "ada", "k", versions, Source(stored, load, keeps=lambda _: False))
    assert calls == 4


@pytest.mark.bound("cache-memory")
@pytest.mark.bound("cache-memory-user")
async def test_each_user_and_all_users_together_have_bounded_memory() -> None:
    cache, numbers, _ = one(memory=80_000)
    for number in range(200):
        await numbers.read(cache, key=f"{number}")
        assert cache.memory <= 10_000, "one user's eighth"
    for number in range(200):
        await numbers.read(cache, owner=f"user {number}")
        assert cache.memory <= 80_000


async def test_records_that_are_too_old_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "EXPIRE_SECONDS", 0.001)
    cache, numbers, clock = one()
    await numbers.read(cache)
    running = asyncio.create_task(cache.run())
    await asyncio.sleep(0.01)
    assert cache.memory > 0
    clock.now = FAILED_SECONDS
    await until(lambda: cache.memory == 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.needs_redis
async def test_the_newest_record_of_all_replicas_replaces_a_failed_call(redis_url: str) -> None:
    async with connected(redis_url) as one, connected(redis_url) as two:
        now = Clock(100.0)
        first, second = (cache_of(RedisCacheStore(connection), clock=now) for connection in (one, two))
        numbers = Numbers(clock=lambda: 40.0)
        assert (await numbers.read(second)).value == 0
        await second.aclose()
        numbers.value, numbers.clock = 1, lambda: 80.0
        assert (await numbers.read(first)).value == 1
        await first.aclose()
        numbers.is_down = True
        read = await numbers.read(second)
        assert (read.value, read.stale and round(read.stale.age)) == (1, 20)


ANY = st.integers(0, 59)
"""Selects an item of a list. The lists depend on Redis's timing, but what hypothesis draws must not."""


class Replicas(RuleBasedStateMachine):
    """Three replicas, readers, mutations and calls in flight. A read never precedes a mutation that has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.numbers = Numbers(is_held=True, clock=self.clock)
        self.caches = self.run(self.opened())
        self.answered = 0
        self.readers: list[tuple[int, asyncio.Task[Read[int]]]] = []
        self.mutations: list[asyncio.Task[int]] = []

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def opened(self) -> list[Cache]:
        store = MemoryCacheStore()
        return [cache_of(store, clock=self.clock, memory=20_000) for _ in range(3)]

    async def settled(self) -> None:
        await ticks()

    @rule(replica=st.integers(0, 2), kind=st.sampled_from([NUMBER, GRADUAL]))
    def begin_a_read(self, replica: int, kind: Any) -> None:
        read = self.numbers.read(self.caches[replica], kind, key=kind.name)
        self.readers.append((self.answered, self.loop.create_task(read)))

    @rule(replica=st.integers(0, 2))
    def begin_a_mutation(self, replica: int) -> None:
        self.mutations.append(self.loop.create_task(self.numbers.change(self.caches[replica])))

    @rule()
    def let_time_pass(self) -> None:
        self.run(self.settled())
        self.check()

    @rule(at=ANY)
    def answer_a_call(self, at: int) -> None:
        if pending := self.numbers.pending:
            pending[at % len(pending)].answer()

    @rule(at=ANY)
    def fail_a_call(self, at: int) -> None:
        if pending := self.numbers.pending:
            pending[at % len(pending)].fail()

    @rule(at=ANY)
    def cancel_a_reader(self, at: int) -> None:
        if self.readers:
            self.readers[at % len(self.readers)][1].cancel()

    @rule(seconds=st.sampled_from([1, 6, 700]))
    def advance(self, seconds: int) -> None:
        self.clock.now += seconds

    def check(self) -> None:
        """Check the readers that have ended, and record the mutations that have answered."""
        for floor, reader in [one for one in self.readers if one[1].done()]:
            self.readers.remove((floor, reader))
            if reader.cancelled() or isinstance(reader.exception(), UpstreamUnavailable):
                continue
            read = reader.result()
            assert read.value >= floor, "the read began after the mutation had answered"
            if read.stale is not None:
                assert read.stale.age < FAILED_SECONDS
        for mutation in [one for one in self.mutations if one.done()]:
            self.mutations.remove(mutation)
            self.answered = max(self.answered, mutation.result())
        assert all(cache.memory <= 20_000 for cache in self.caches)

    def teardown(self) -> None:
        self.run(self.finish())
        self.loop.close()

    async def finish(self) -> None:
        self.numbers.is_held = False
        for call in list(self.numbers.pending):
            call.answer()
        await asyncio.gather(*(task for _, task in self.readers), *self.mutations, return_exceptions=True)
        self.check()
        for cache in self.caches:
            read = await self.numbers.read(cache)
            assert read.value >= self.answered
            await cache.aclose()
        assert self.numbers.pending == []


class RedisReplicas(Replicas):
    """Replicas that share records in Redis, which can lose all data."""

    make: Callable[[], RedisConnection]

    async def opened(self) -> list[Cache]:
        self.connections = [self.make() for _ in range(3)]
        await self.connections[0].command("FLUSHDB")
        return [cache_of(RedisCacheStore(one), memory=20_000) for one in self.connections]

    async def settled(self) -> None:
        for _ in range(3):
            await asyncio.gather(*(one.command("PING") for one in self.connections))
            await ticks()

    @rule()
    def lose_all_data(self) -> None:
        self.run(self.connections[0].command("FLUSHDB"))

    async def finish(self) -> None:
        await super().finish()
        for one in self.connections:
            await one.aclose()


def test_no_read_precedes_a_mutation_that_has_answered() -> None:
    run_state_machine_as_test(Replicas, settings=settings(max_examples=50, stateful_step_count=40, deadline=None))


@pytest.mark.needs_redis
def test_no_read_precedes_a_mutation_that_has_answered_through_redis(redis_url: str) -> None:
    class Machine(RedisReplicas):
        def make(self) -> RedisConnection:
            return RedisConnection(redis_url, None, Seen())

    run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
