from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest

from clients.breaker import Breaker, BreakerState
from clients.breakers import MAX_PARTS, BreakerKey, BreakerRefused, Breakers, Permit, Verdict
from clients.errors import Service
from clients.state import breaker_news
from clients.state.breaker_news import EARLIER, TOPIC, RedisBreakerNews
from clients.state.connection import RedisConnection
from clients.state.names import BREAKER_TRIAL, OPEN_BREAKERS
from clients.state.news import MemoryNews, Subscriber
from clients.state.redis_news import RedisNews
from tests.support.redis_server import redis_server
from tests.support.stack import until
from tests.support.state import connected

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

RESET = 10.0
SERVICE, PART, OF_CALLER = BreakerKey(None, None), BreakerKey("p", None), BreakerKey("p", "a")
OPEN = OPEN_BREAKERS.key("letta")
TRIAL = BREAKER_TRIAL.key("letta", "p")


class Replica:
    """A process's breakers for Letta, and its connection."""

    def __init__(self, url: str, connection: RedisConnection, reset: float) -> None:
        self.url = url
        self.connection = connection
        self.breakers = Breakers(
            failures=5, calls=20, window_seconds=30, reset_seconds=reset, on_change=lambda key, state: None
        )

    def breaker(self, key: BreakerKey) -> Breaker:
        found = self.breakers.of_part(key, make=True, by="")
        assert found is not None
        return found

    def open(self, key: BreakerKey = PART, seconds: float = RESET) -> None:
        """Open a breaker of a part."""
        self.breaker(key).open(seconds)

    def admits(self, caller: str = "a") -> bool:
        return self.breakers.wait("p", caller) == 0

    def has_heard(self, part: str) -> bool:
        """Return whether a part's breaker is or was open."""
        return part in {one.part for one in self.breakers.parts()}

    def fail(self) -> None:
        """Let five connections to the service fail."""
        for _ in range(5):
            self.breakers.enter("p", "a", "p").report(Verdict.UNREACHABLE)

    async def knows(self, key: BreakerKey) -> None:
        """Wait until a breaker is open."""
        await until(lambda: key in self.breakers.opened())

    async def trial(self) -> Permit:
        """Begin a trial call. Raises BreakerRefused."""
        permit = self.breakers.enter("p", "a", "p")
        try:
            await self.breakers.confirm(permit)
        except BreakerRefused:
            permit.release()
            raise
        return permit

    async def may_try(self) -> bool:
        """Return whether a trial call is admitted, and give it back."""
        try:
            (await self.trial()).release()
        except BreakerRefused:
            return False
        return True


@asynccontextmanager
async def replica(url: str, *, is_deaf: bool = False, reset: float = RESET) -> AsyncIterator[Replica]:
    async with connected(url) as connection:
        one, news = Replica(url, connection, reset), RedisNews(connection)
        shared = RedisBreakerNews(connection, MemoryNews() if is_deaf else news, {Service.LETTA: one.breakers})
        await shared.open()
        try:
            yield one
        finally:
            await shared.aclose()
            await news.aclose()


@asynccontextmanager
async def replicas(url: str, reset: float = RESET) -> AsyncIterator[tuple[Replica, Replica]]:
    """Run two replicas that hear each other."""
    async with replica(url, reset=reset) as one, replica(url, reset=reset) as other:
        for near, far in ((one, other), (other, one)):
            await until(partial(_is_heard, near, far))
        yield one, other


def _is_heard(near: Replica, far: Replica) -> bool:
    near.open(BreakerKey(f"greeting of {id(near)}", None))
    return far.has_heard(f"greeting of {id(near)}")


def _is_refused(one: Replica) -> bool:
    return one.breakers.service_state is not BreakerState.CLOSED


async def test_a_service_that_one_replica_cannot_reach_is_refused_by_the_other(redis_url: str) -> None:
    async with replicas(redis_url) as (one, other):
        one.fail()
        await until(lambda: not other.admits("stranger"))
        assert other.breakers.service_state is BreakerState.OPEN
        assert one.breakers.service_wait > other.breakers.service_wait == pytest.approx(RESET * EARLIER, abs=2)


async def test_changes_of_a_replica_whose_own_network_fails_are_ignored(redis_url: str) -> None:
    async with replicas(redis_url, reset=0.05) as (sick, healthy):
        sick.fail()
        await until(partial(_is_refused, healthy))
        await until(healthy.admits)
        (await healthy.trial()).report(Verdict.OK)
        await until(lambda: sick.breakers.service_state is BreakerState.CLOSED)
        sick.fail()
        sick.open(BreakerKey("later", None))
        await until(lambda: healthy.has_heard("later"))
        assert sick.breakers.service_state is not BreakerState.CLOSED
        assert healthy.breakers.service_state is BreakerState.CLOSED
        async with replica(redis_url) as new:
            assert new.breakers.service_state is BreakerState.CLOSED


async def test_a_doubted_replica_is_not_believed_after_it_has_connected_again(redis_url: str) -> None:
    async with replica(redis_url) as sick, replica(redis_url, reset=0.05) as healthy:
        await until(partial(_is_heard, healthy, sick))
        await until(partial(_is_heard, sick, healthy))
        sick.fail()
        await until(partial(_is_refused, healthy))
        await sick.connection.command("DEL", OPEN)  # otherwise, the trial call would have to wait
        await until(healthy.admits)
        (await healthy.trial()).report(Verdict.OK)
        await until(lambda: sick.breakers.service_state is BreakerState.CLOSED)
        sick.fail()
        await sick.connection.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(partial(_is_heard, healthy, sick))
        sick.open(BreakerKey("later", None))
        await until(lambda: healthy.has_heard("later"))
        assert sick.breakers.service_state is BreakerState.OPEN
        async with replica(redis_url) as new:
            assert new.breakers.service_state is BreakerState.CLOSED


async def test_all_doubt_the_replica_that_has_opened_last(redis_url: str) -> None:
    async with replica(redis_url) as first, replicas(redis_url, reset=0.05) as (last, third):
        await until(partial(_is_heard, first, third))
        await until(partial(_is_heard, third, first))
        first.fail()
        for verdict, one in ((Verdict.UNREACHABLE, last), (Verdict.OK, third)):
            await until(partial(_is_refused, one))
            await first.connection.command("DEL", OPEN)  # otherwise, the trial call would have to wait
            await until(one.admits)
            (await one.trial()).report(verdict)
            one.open(BreakerKey(verdict.name, None))
            await until(partial(first.has_heard, verdict.name))
            await until(partial(third.has_heard, verdict.name))
        await until(lambda: first.breakers.service_state is BreakerState.CLOSED)
        first.fail()
        await until(partial(_is_refused, last))


async def test_a_breaker_that_another_clock_has_stored_does_not_stop_the_trial_calls(redis_url: str) -> None:
    async with replica(redis_url, reset=0.05) as one:
        one.open()
        await until(lambda: one.connection.command("EXISTS", OPEN))
        await one.connection.command("ZADD", OPEN, "1e15", msgspec.json.encode(PART))
        await until(one.admits)
        (await one.trial()).report(Verdict.OK)


@pytest.mark.parametrize("key", [PART, OF_CALLER])
async def test_both_replicas_open_and_close_the_breaker_of_a_part(redis_url: str, key: BreakerKey) -> None:
    async with replicas(redis_url) as (one, other):
        one.open(key)
        await until(lambda: not other.admits())
        assert other.admits("b") is (key == OF_CALLER)
        one.breaker(key).close()
        await until(other.admits)
        other.open(key)
        await until(lambda: not one.admits())


@pytest.mark.parametrize("verdict", [Verdict.OK, Verdict.UNREACHABLE])
async def test_one_replica_makes_the_trial_call_and_both_apply_its_outcome(redis_url: str, verdict: Verdict) -> None:
    async with replicas(redis_url) as (one, other):
        for each in (one, other):
            each.breakers.apply(SERVICE, BreakerState.OPEN, 0.0)
        trial = await one.trial()
        with pytest.raises(BreakerRefused) as refused:
            await other.trial()
        assert (refused.value.part, refused.value.retry_after_seconds) == (None, 1.0)
        trial.report(verdict)
        expected = BreakerState.CLOSED if verdict is Verdict.OK else BreakerState.OPEN
        await until(lambda: other.breakers.service_state is expected)
        assert one.breakers.service_state is expected
        assert not await one.connection.command("EXISTS", BREAKER_TRIAL.key("letta"))


async def test_a_trial_call_without_an_outcome_is_left_to_the_other_replica(redis_url: str) -> None:
    async with replicas(redis_url) as (one, other):
        for each in (one, other):
            each.open(PART, 0.0)
        trial = await one.trial()
        assert not await other.may_try()
        trial.release()
        await until(other.may_try)
        await until(one.may_try)
        await one.trial()  # before Redis knows that the last trial call has ended
        one.open(BreakerKey("later", None))
        await other.knows(BreakerKey("later", None))
        assert not await other.may_try(), "the end of a trial call does not end the next one"


async def test_the_trial_call_of_a_crashed_replica_ends_after_five_seconds(redis_url: str) -> None:
    async with replica(redis_url) as other:
        other.open(PART, 0.0)
        async with replica(redis_url) as one:
            one.open(PART, 0.0)
            await one.trial()
        assert not await other.may_try()
        assert 0 < await other.connection.command("PTTL", TRIAL) <= 5000
        await other.connection.command("PEXPIRE", TRIAL, 1)
        await until(other.may_try)


async def test_a_new_replica_begins_with_the_open_breakers_and_with_a_trial_call(redis_url: str) -> None:
    async with replica(redis_url) as one:
        one.open(OF_CALLER)
        one.open(BreakerKey("q", None), 0.02)
        await until(lambda: one.connection.command("ZCOUNT", OPEN, "-inf", "+inf"))
        await until(lambda: BreakerKey("q", None) not in one.breakers.opened())
        async with replica(redis_url) as new:
            assert not new.admits()
            assert new.breakers.opened()[OF_CALLER] == pytest.approx(RESET, abs=2)
            assert new.breakers.enter("q", "b", "q").trials() == [BreakerKey("q", None)]


async def test_a_process_that_missed_a_message_reads_the_state_before_its_trial_call(redis_url: str) -> None:
    async with replica(redis_url, is_deaf=True) as deaf, replica(redis_url) as one:
        deaf.open(PART, 0.0)
        one.open(PART)
        await until(lambda: one.connection.command("EXISTS", OPEN))
        assert not await deaf.may_try()
        assert deaf.breakers.opened()[PART] == pytest.approx(RESET, abs=2)


async def test_the_replicas_agree_after_changes_at_the_same_time(redis_url: str) -> None:
    keys = [PART, OF_CALLER, BreakerKey("q", "b")]
    dice = random.Random(13)
    async with replicas(redis_url) as (one, other):
        for number in range(30):
            for _ in range(dice.randrange(1, 12)):
                changing = dice.choice([one, other]).breaker(dice.choice(keys))
                changing.open(RESET) if dice.random() < 0.5 else changing.close()
                if dice.random() < 0.3:
                    await one.connection.ping()
            last = [BreakerKey(f"{name}-{number}", None) for name in "ab"]
            for each, key in zip((one, other), last, strict=True):
                each.open(key)
            for each in (one, other):
                for key in last:
                    await each.knows(key)
            assert one.breakers.opened().keys() == other.breakers.opened().keys()
            stored = {
                BreakerKey(*msgspec.json.decode(name)) for name in await one.connection.command("ZRANGE", OPEN, 0, -1)
            }
            assert stored == one.breakers.opened().keys()


async def test_a_burst_of_changes_is_one_message_and_the_keys_are_bounded(redis_url: str) -> None:
    heard: list[bytes] = []
    async with replicas(redis_url) as (one, other):
        news = RedisNews(other.connection)
        ready: list[bool] = []
        news.subscribe(TOPIC, Subscriber(heard.append, lambda: ready.append(True)))
        await until(lambda: ready)
        for _ in range(300):
            one.open()
            one.breaker(PART).close()
        one.open()
        await other.knows(PART)

        def messages() -> int:
            return sum(b'"p"' in message for message in heard)

        await until(messages)
        assert messages() == 1
        for number in range(MAX_PARTS + 50):
            one.open(BreakerKey("p", f"user-{number}"))
        await other.knows(BreakerKey("p", f"user-{MAX_PARTS + 49}"))
        assert messages() <= 1 + 12
        assert len(other.breakers) <= MAX_PARTS
        assert await one.connection.command("ZCARD", OPEN) == MAX_PARTS
        assert 30_000 < await one.connection.command("PTTL", OPEN) <= 41_000
        await news.aclose()


GARBAGE = [
    b"",
    b"\xff",
    b"{}",
    b"[]",
    b'["r",1,"letta",[["p",null,1000]],"a later version"]',
    b'["r",1,"letta",[["p",null,1000,"a later version"]]]',
    b'["r",1,"letta",[["p",null,-3]]]',
    b'["r",1,"letta",[[null,"a",1000]]]',
    b'["r",1,"letta",[["p",null,1e99]]]',
    b'["r",1,"unknown",[["p",null,1000]]]',
    b'["r",1,"letta",[[7,null,1000]]]',
]


async def test_messages_and_members_of_other_versions_are_ignored(redis_url: str) -> None:
    async with replicas(redis_url) as (one, other):
        news = RedisNews(one.connection)
        for message in GARBAGE:
            news.publish(TOPIC, message)
        known = other.breakers.opened().keys()
        for member in (b"\xff", b"[]", b'["p"]', b'["p",null,1]', b"[1,2]", b'[null,"a"]'):
            await one.connection.command("ZADD", OPEN, "1e15", member)
        async with replica(redis_url) as new:
            assert new.breakers.opened().keys() == known
        one.open(BreakerKey("last", None))
        await other.knows(BreakerKey("last", None))
        assert other.breakers.opened().keys() == {*known, BreakerKey("last", None)}
        await news.aclose()


async def test_breakers_are_separate_without_redis_and_shared_again_afterwards() -> None:
    with redis_server() as redis:
        async with replicas(redis.url()) as (one, other):
            redis.kill()
            for each in (one, other):
                each.open(PART, 0.0)
            assert [await each.may_try() for each in (one, other)] == [True, True]
            one.breaker(PART).close()
            one.open(OF_CALLER)
            redis.start()
            await other.knows(OF_CALLER)
            async with replica(other.url) as new:
                assert OF_CALLER in new.breakers.opened()
            other.breaker(OF_CALLER).close()
            await until(one.admits)
            other.open(PART)
            await one.knows(PART)


async def test_a_hanging_redis_delays_a_trial_call_by_its_timeout() -> None:
    with redis_server() as redis:
        async with replicas(redis.url()) as (one, other):
            for each in (one, other):
                each.open(PART, 0.0)
            await other.trial()
            redis.pause()
            async with asyncio.timeout(2):
                assert await one.may_try()
            redis.resume()


async def test_breakers_are_separate_while_redis_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_news, "RETRY_SECONDS", 0.02)
    with redis_server() as redis:
        async with replicas(redis.url()) as (one, other):
            redis.run("CONFIG", "SET", "maxmemory", "1")
            one.open(OF_CALLER)
            for each in (one, other):
                each.open(PART, 0.0)
            assert await other.may_try()
            one.open(OF_CALLER)
            one.breaker(PART).close()
            for _ in range(3):  # the change is sent in the meantime
                await one.connection.command("TIME")
            redis.run("CONFIG", "SET", "maxmemory", "0")
            await other.knows(OF_CALLER)
            other.open(PART)
            await one.knows(PART)
