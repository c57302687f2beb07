from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from clients.limiter import Budget, Charge, Limiter, Standing
from clients.state.cache import Tag
from clients.state.connection import COMMAND_SECONDS
from clients.state.limits import RedisLimiter
from clients.state.names import CACHE_TAGS, COUNTERS
from clients.state.redis_cache import RedisCacheStore
from tests.support.limiters import MINUTE, Clock, budget, redis_limiter
from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import until
from tests.support.state import Seen, connected
from tests.support.taker import DAY

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

DAILY = Budget("general", 10, DAY)
"""A limit whose window does not end during a test."""


async def admitted(limiter: Limiter, attempts: int, of: Budget = DAILY) -> int:
    """Return how many of several charges in turn are admitted."""
    return [(await limiter.take("ada", [Charge(of)])).allowed for _ in range(attempts)].count(True)


async def standing(limiter: Limiter, *charges: Charge) -> Standing:
    return (await limiter.take("ada", charges or [Charge(DAILY, 0)])).standings[0]


def test_a_limit_is_exact_for_takers_in_several_processes(redis_url: str) -> None:
    command = [sys.executable, "-m", "tests.support.taker", redis_url, "137", "100"]
    takers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("\n")
        taker.stdin.flush()
    counts = [int(taker.communicate(timeout=10)[0]) for taker in takers]
    assert sum(counts) == 137


async def test_all_charges_of_a_request_are_one_command(redis_url: str) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:
        limiter = RedisLimiter(connection)
        await limiter.take("ada", [Charge(DAILY)])  # Redis may not have the script yet
        del seen.pipelines[:]
        verdict = await limiter.take("ada", [Charge(DAILY), Charge(Budget("llm", 5, 60)), Charge(Budget("b", 9, 1), 0)])
        assert len(verdict.standings) == 3
    assert seen.pipelines == [1]


@pytest.mark.parametrize("order", [[60, 7], [7, 60]])
async def test_counters_expire_when_they_no_longer_count(redis_url: str, order: list[int]) -> None:
    async with connected(redis_url) as connection:
        limiter = RedisLimiter(connection)
        for window in order:
            await limiter.take("ada", [Charge(Budget(f"limit of {window} s", 5, window))])
        left = await connection.command("PTTL", COUNTERS.key("ada"))
        assert 60_000 - 5_000 < left <= 120_000
        await limiter.take("grace", [Charge(DAILY, 0)])
        await limiter.take("grace", [Charge(DAILY, -1)])
        assert await connection.command("KEYS", "*") == [COUNTERS.key("ada").encode()]


async def test_a_refused_request_does_not_extend_the_life_of_counters(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        limiter = RedisLimiter(connection)
        assert await admitted(limiter, 10) == 10
        await connection.command("PEXPIRE", COUNTERS.key("ada"), 1000)
        assert await admitted(limiter, 5) == 0
        assert await connection.command("PTTL", COUNTERS.key("ada")) <= 1000


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis that tests may break. Each test repairs it."""
    with redis_server() as server:
        yield server


def _fill(redis: RedisServer) -> None:
    redis.run("CONFIG", "SET", "maxmemory", "1")


def _empty(redis: RedisServer) -> None:
    redis.run("CONFIG", "SET", "maxmemory", "0")


def _demote(redis: RedisServer) -> None:
    redis.run("REPLICAOF", "127.0.0.1", "1")


def _promote(redis: RedisServer) -> None:
    redis.run("REPLICAOF", "NO", "ONE")


FAILURES = {
    "killed": (RedisServer.kill, RedisServer.start, {10}),
    "stopped": (RedisServer.stop, RedisServer.start, {10}),
    "hanging": (RedisServer.pause, RedisServer.resume, {1, 2, 3}),  # Redis may execute commands that timed out
    "full": (_fill, _empty, {3}),
    "demoted": (_demote, _promote, {3}),
}
"""How Redis fails and is repaired, and what is left of the limit in Redis then."""


@pytest.mark.parametrize("failure", FAILURES)
async def test_limits_continue_in_each_process_while_redis_fails(redis: RedisServer, failure: str) -> None:
    fail, repair, left = FAILURES[failure]
    url = redis.url()
    async with connected(url) as here, connected(url) as there:
        ours, theirs = RedisLimiter(here), RedisLimiter(there)
        assert await admitted(theirs, 3) == 3
        assert await admitted(ours, 4) == 4
        fail(redis)
        try:
            began = time.monotonic()
            assert await admitted(ours, 20) == 3, "the process continues with the last known counter"
            assert time.monotonic() - began < COMMAND_SECONDS + 0.5, "at most one request waits"
            assert (await standing(ours)).remaining in left | {0}
            assert await admitted(ours, 20) == 0, (
                "a full Redis answers reads, which show the charges before the failure"
            )
            assert await admitted(theirs, 20) == 7, "this process does not know the other's charges"
        finally:
            repair(redis)
        await until(lambda: here.is_up and there.is_up)
        assert await admitted(ours, 20) in left, "Redis counts again"


async def test_a_process_that_has_never_reached_redis_has_limits() -> None:
    with redis_server(is_started=False) as redis:
        async with connected(redis.url()) as connection:
            limiter = RedisLimiter(connection)
            assert await admitted(limiter, 30) == 10
            redis.start()
            await until(lambda: connection.is_up)
            assert await admitted(limiter, 30) == 10


async def test_after_a_flush_counters_start_at_zero(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        limiter = RedisLimiter(connection)
        assert await admitted(limiter, 20) == 10
        await asyncio.gather(connection.command("FLUSHDB"), connection.command("SCRIPT", "FLUSH"))
        assert await admitted(limiter, 20) == 10


async def test_a_correction_during_a_failure_applies_to_the_known_counters(redis: RedisServer) -> None:
    async with connected(redis.url()) as connection:
        limiter = RedisLimiter(connection)
        window = (await standing(limiter, Charge(DAILY, 8))).window
        _fill(redis)
        assert (await standing(limiter, Charge(DAILY, -5, window))).remaining == 7
        _empty(redis)
        assert (await standing(limiter)).remaining == 2, "Redis keeps the reserved amount until the window fades"


async def test_a_refund_for_a_charge_of_the_failure_does_not_reduce_counters_in_redis(redis: RedisServer) -> None:
    async with connected(redis.url()) as connection:
        limiter = RedisLimiter(connection)
        assert (await standing(limiter, Charge(DAILY, 6))).remaining == 4
        _fill(redis)
        window = (await standing(limiter, Charge(DAILY, 4))).window
        assert (await standing(limiter, Charge(DAILY, -2, window))).remaining == 2
        _empty(redis)
        assert (await standing(limiter, Charge(DAILY, -2, window))).remaining == 4
        assert (await standing(limiter, Charge(DAILY, 3, window))).remaining == 1, "an additional cost counts"


async def test_a_process_forgets_counters_that_no_longer_count(redis_url: str) -> None:
    clock = Clock()
    async with redis_limiter(redis_url, clock) as opened:
        for number in range(100):
            await opened.take(f"user {number}", [Charge(budget(5))])
        assert opened.limiter.kept == 100
        clock.now = 2 * MINUTE
        for _ in range(100):
            await opened.take("stays", [Charge(budget(1000))])
        assert opened.limiter.kept == 1


async def test_the_versions_of_cache_tags_are_read_with_the_charges(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        limiter, cache = RedisLimiter(connection), RedisCacheStore(connection)
        for _ in range(2):
            verdict = await limiter.take("ada", [Charge(budget(1))], tags=True)
            assert verdict.tags == await cache.versions("ada"), "also if the charge is refused"
        await cache.drop("ada", [Tag.AGENTS])
        verdict = await limiter.take("ada", [Charge(budget(5, "llm")), Charge(budget(5))], tags=True)
        assert verdict.tags == await cache.versions("ada")
        assert (await limiter.take("ada", [Charge(budget(5))])).tags is None
        await connection.command("DEL", CACHE_TAGS.key("ada"))
        lost = (await limiter.take("ada", [Charge(budget(5))], tags=True)).tags
        assert lost is not None
        assert lost == await cache.versions("ada")
        assert verdict.tags is not None
        assert lost.epoch != verdict.tags.epoch
