"""One suite for keys of one process and keys that replicas share in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import msgspec
import pytest

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict, GatewayError, UpstreamError
from clients.state.keys import SharedKeys
from resolvers import shared_answers
from resolvers.idempotency import IdempotencyKeys
from resolvers.outcome_unknown import OutcomeUnknown
from resolvers.shared_answers import SharedAnswers
from tests.support.redis_server import DURABLE, RedisServer, redis_server
from tests.support.stack import until
from tests.support.state import connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

UNKNOWN = OutcomeUnknown(message="Check it.")


class Thing(msgspec.Struct, frozen=True):
    number: int
    made_at: datetime


class Acting:
    """An action on every replica. ``count`` counts how often the action has run."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fails: Exception | None = None

    async def __call__(self) -> Thing:
        self.count += 1
        number = self.count
        await self.may_end.wait()
        if self.fails is not None:
            raise self.fails
        return Thing(number, datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC))


async def shared(url: str, stack: AsyncExitStack, *, lease: int = 5000, quota: int = 10_000) -> IdempotencyKeys:
    connection = await stack.enter_async_context(connected(url))
    keys = SharedKeys(connection, retention=60, settle=0.1, lease=lease, quota=quota)
    return IdempotencyKeys(60, shared=SharedAnswers(keys))


@pytest.fixture(params=["memory", "redis"])
async def replicas(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[list[IdempotencyKeys]]:
    """Two replicas. With keys in memory, both are the same process."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            made = [IdempotencyKeys(60)] * 2
        else:
            made = [await shared(redis_url, stack) for _ in range(2)]
        yield made
        for one in made:
            await one.aclose()


async def done(
    keys: IdempotencyKeys, act: Acting, *, key: str = "k", sent: str = "a", on_unknown: OutcomeUnknown | None = None
) -> Thing:
    return await keys.done("ada", key, sent, act, Thing, on_unknown=on_unknown)


async def refused(
    keys: IdempotencyKeys, act: Acting, *, sent: str = "a", on_unknown: OutcomeUnknown | None = None
) -> Reason | None:
    with pytest.raises(GatewayError) as error:
        await done(keys, act, sent=sent, on_unknown=on_unknown)
    return error.value.reason


async def test_every_replica_gets_the_first_answer(replicas: list[IdempotencyKeys]) -> None:
    act = Acting()
    first = await done(replicas[0], act)
    assert [await done(replica, act) for replica in replicas] == [first, first]
    assert await done(replicas[1], act, key="other") != first
    assert act.count == 2
    assert await replicas[1].knows("ada", "k")
    assert not await replicas[1].knows("grace", "k")


async def test_concurrent_requests_on_all_replicas_run_the_action_once(replicas: list[IdempotencyKeys]) -> None:
    act = Acting()
    act.may_end.clear()
    asked = [asyncio.create_task(done(replicas[number % 2], act)) for number in range(20)]
    await until(lambda: act.count)
    act.may_end.set()
    assert len(set(await asyncio.gather(*asked))) == 1
    assert act.count == 1


async def test_different_input_is_refused_on_every_replica(replicas: list[IdempotencyKeys]) -> None:
    act = Acting()
    await done(replicas[0], act)
    assert [await refused(one, act, sent="b") for one in replicas] == [Reason.KEY_REUSED] * 2
    assert act.count == 1


async def test_a_failure_frees_the_key_on_every_replica(replicas: list[IdempotencyKeys]) -> None:
    act = Acting()
    act.fails = BadUserInput("No.", reason=Reason.EMPTY)
    assert await refused(replicas[0], act, on_unknown=UNKNOWN) == Reason.EMPTY
    act.fails = None
    assert (await done(replicas[1], act, sent="b", on_unknown=UNKNOWN)).number == 2


async def test_an_unknown_outcome_is_unknown_on_every_replica(replicas: list[IdempotencyKeys]) -> None:
    act = Acting()
    act.fails = UpstreamError("The connection broke.", reason=Reason.CUT)
    for replica in (*replicas, *replicas):
        assert await refused(replica, act, on_unknown=UNKNOWN) == Reason.OUTCOME_UNKNOWN
    assert act.count == 1


async def test_another_replica_searches_for_an_unknown_outcome(replicas: list[IdempotencyKeys]) -> None:
    act, since = Acting(), list[datetime]()
    act.fails = UpstreamError("The connection broke.", reason=Reason.CUT)

    async def find(began: datetime) -> Thing | None:
        since.append(began)
        return Thing(99, began) if len(since) > 1 else None

    searching = OutcomeUnknown(message="Check it.", find=find)
    assert await refused(replicas[0], act, on_unknown=searching) == Reason.OUTCOME_UNKNOWN
    act.fails = None
    assert (await done(replicas[1], act, on_unknown=searching)).number == 99
    assert (await done(replicas[0], act, on_unknown=searching)).number == 99
    assert act.count == 1
    assert since[0] == since[1]
    assert timedelta(0) < datetime.now(UTC) - since[0] < timedelta(minutes=2)


async def test_the_outcome_of_a_crashed_replica_is_unknown(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        dead = await shared(redis_url, stack, lease=100)
        other = await shared(redis_url, stack, lease=100)
        act, again = Acting(), Acting()
        act.may_end.clear()
        keys = ("once", UNKNOWN), ("repeatable", None)
        lost = [asyncio.create_task(done(dead, act, key=key, on_unknown=on_unknown)) for key, on_unknown in keys]
        await until(lambda: act.count == 2)
        await dead.aclose()
        with pytest.raises(Conflict) as unknown:
            await done(other, again, key="once", on_unknown=UNKNOWN)
        assert unknown.value.reason is Reason.OUTCOME_UNKNOWN
        assert unknown.value.message == "Check it."
        assert again.count == 0
        assert (await done(other, again, key="repeatable")).number == 1
        await asyncio.gather(*lost, return_exceptions=True)
        await other.aclose()


async def test_a_replica_renews_the_lease_of_a_long_action(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        first, other = [await shared(redis_url, stack, lease=200) for _ in range(2)]
        act = Acting()
        act.may_end.clear()
        asked = [asyncio.create_task(done(one, act)) for one in (first, other)]
        await asyncio.sleep(0.5)  # longer than the lease
        act.may_end.set()
        assert [thing.number for thing in await asyncio.gather(*asked)] == [1, 1]
        for one in (first, other):
            await one.aclose()


async def test_answers_over_the_quota_are_evicted(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        first, other = [await shared(redis_url, stack, quota=200) for _ in range(2)]
        act = Acting()
        for number in range(10):
            await done(first, act, key=str(number), on_unknown=UNKNOWN)
        assert (await done(other, act, key="9", on_unknown=UNKNOWN)).number == 10
        with pytest.raises(Conflict) as dropped:
            await done(other, act, key="0", on_unknown=UNKNOWN)
        assert dropped.value.reason is Reason.ANSWER_DROPPED
        assert act.count == 10
        for one in (first, other):
            await one.aclose()


async def test_a_key_stays_unique_while_redis_restarts() -> None:
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(*DURABLE))
        url = redis.url()
        first, other = [await shared(url, stack) for _ in range(2)]
        act = Acting()
        await done(other, act, key="warm")
        act.may_end.clear()
        asked = [asyncio.create_task(done(first, act))]
        await until(lambda: act.count == 2)
        redis.kill()
        asked.append(asyncio.create_task(done(other, act)))
        await asyncio.sleep(0)
        act.may_end.set()
        redis.start()
        assert [thing.number for thing in await asyncio.gather(*asked)] == [2, 2]
        for one in (first, other):
            await one.aclose()


async def test_without_redis_each_replica_acts_and_stores_the_outcome_later() -> None:
    async with AsyncExitStack() as stack:
        redis: RedisServer = stack.enter_context(redis_server())
        url = redis.url()
        first, other = [await shared(url, stack) for _ in range(2)]
        act = Acting()
        await done(first, act, key="warm")
        redis.kill()
        with patch("clients.state.recovery.RECOVERY_SECONDS", 0.0):
            assert (await done(first, act)).number == 2
        assert not await other.knows("ada", "k")
        redis.start()
        await until(lambda: other.knows("ada", "k"))
        assert (await done(other, act)).number == 2
        assert act.count == 2
        for one in (first, other):
            await one.aclose()


async def test_a_redis_that_refuses_claims_delays_no_action(shared_redis: RedisServer) -> None:
    shared_redis.run("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-eval", "-evalsha")
    async with AsyncExitStack() as stack:
        one = await shared(shared_redis.url().replace("//", "//weak:pw@"), stack)
        act = Acting()
        async with asyncio.timeout(1.5):
            assert (await done(one, act)).number == 1
        await one.aclose()


async def test_an_outcome_is_stored_after_redis_has_refused_it(shared_redis: RedisServer) -> None:
    shared_redis.run("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all")
    url = shared_redis.url()
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(shared_answers, "RETRY_SECONDS", 0.02))
        one, other = await shared(url.replace("//", "//weak:pw@"), stack), await shared(url, stack)
        act = Acting()
        act.may_end.clear()
        asked = asyncio.create_task(done(one, act))
        await until(lambda: act.count)
        shared_redis.run("ACL", "SETUSER", "weak", "-eval", "-evalsha")
        act.may_end.set()
        await asked
        waiting = asyncio.create_task(done(other, act))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        shared_redis.run("ACL", "SETUSER", "weak", "+@all")
        assert (await waiting).number == 1
        for replica in (one, other):
            await replica.aclose()


async def test_an_answer_that_cannot_be_encoded_keeps_its_key(redis_url: str) -> None:
    async def act() -> dict[str, int]:
        return {"n": 2**64}

    async with AsyncExitStack() as stack:
        first, other = [await shared(redis_url, stack) for _ in range(2)]
        answer = await first.done("ada", "k", "print", act, dict[str, int], on_unknown=UNKNOWN)
        assert answer == {"n": 2**64}
        with pytest.raises(Conflict) as dropped:
            await other.done("ada", "k", "print", act, dict[str, int], on_unknown=UNKNOWN)
        assert dropped.value.reason is Reason.ANSWER_DROPPED
        for one in (first, other):
            await one.aclose()


async def test_an_answer_of_a_different_release_is_not_available(redis_url: str) -> None:
    async def never() -> list[int]:
        raise AssertionError("the mutation must not run again")

    async with AsyncExitStack() as stack:
        first, other = [await shared(redis_url, stack) for _ in range(2)]
        act = Acting()
        await done(first, act, on_unknown=UNKNOWN)
        with pytest.raises(Conflict) as dropped:
            await other.done("ada", "k", "a", never, list[int], on_unknown=UNKNOWN)
        assert dropped.value.reason is Reason.ANSWER_DROPPED
        for one in (first, other):
            await one.aclose()
