from __future__ import annotations

import asyncio
import random
import time

import pytest

from clients.state.connection import COMMAND_SECONDS, LANES, MAX_QUEUED, PIPELINE_BYTES
from clients.state.errors import StateCause, StateUnavailable
from clients.state.scripts import Script
from clients.state.status import StateStatus
from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import until
from tests.support.state import Seen, connected
from tests.support.tcp import listening

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(20)]

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


async def test_commands_of_one_tick_are_one_pipeline(redis_url: str) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:
        replies = await asyncio.gather(*(connection.command("ECHO", str(number)) for number in range(200)))
    assert replies == [str(number).encode() for number in range(200)]
    assert seen.pipelines == [200]


async def test_commands_that_wait_for_a_pipeline_are_joined(redis_url: str) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:

        async def count() -> None:
            for _ in range(20):
                await connection.command("INCR", "n")

        await asyncio.gather(*(count() for _ in range(50)))
        assert await connection.command("GET", "n") == b"1000"
    assert len(seen.pipelines) <= 20 * LANES + 1


async def test_a_cancelled_command_leaves_no_answer_to_others(redis_url: str) -> None:
    """Commands are cancelled at random moments, and each remaining command gets its own reply."""
    chance = random.Random(13)
    async with connected(redis_url) as connection:

        async def echo(number: int) -> bool:
            asked = asyncio.ensure_future(connection.command("ECHO", str(number)))
            if chance.random() < 0.5:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                asked.cancel()
            try:
                assert await asked == str(number).encode()
            except asyncio.CancelledError:
                return True
            return False

        cancelled = 0
        for begin in range(0, 3000, 100):
            cancelled += sum(await asyncio.gather(*(echo(number) for number in range(begin, begin + 100))))
        assert 500 < cancelled < 2000
        assert await connection.command("ECHO", "last") == b"last"


async def test_a_script_is_sent_again_after_redis_forgot_it(redis_url: str, shared_redis: RedisServer) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:
        assert await connection.script(COUNT, ["n"], [2]) == 2
        assert await connection.script(COUNT, ["n"], [2]) == 4
        shared_redis.run("SCRIPT", "FLUSH")
        assert await connection.script(COUNT, ["n"], [2]) == 6
    assert seen.pipelines == [1, 1, 1, 1, 1]
    assert not seen.changes


async def test_a_hanging_redis_costs_the_timeout_once() -> None:
    seen = Seen()
    with redis_server() as redis:
        async with connected(redis.url(), seen) as connection:
            await connection.command("SET", "a", "1")
            redis.pause()
            began = time.monotonic()
            with pytest.raises(StateUnavailable) as hung:
                await connection.command("GET", "a")
            assert time.monotonic() - began > COMMAND_SECONDS * 0.9
            assert hung.value.cause is StateCause.TIMEOUT
            asked = [connection.submit("GET", "a") for _ in range(1000)]
            assert all(isinstance(one.exception(), StateUnavailable) for one in asked)
            assert not connection.is_up
            redis.resume()
            await until(lambda: connection.is_up)
            assert await connection.command("GET", "a") == b"1"
    assert [status for status, _ in seen.changes] == [StateStatus.DOWN, StateStatus.OK]
    assert seen.failures[0] is StateCause.TIMEOUT


async def test_listeners_are_called_when_an_outage_begins_and_ends() -> None:
    heard: list[bool] = []
    with redis_server() as redis:
        async with connected(redis.url()) as connection:
            connection.on_change(heard.append)
            await connection.command("PING")
            before = connection.up_since
            redis.kill()
            with pytest.raises(StateUnavailable) as gone:
                await connection.command("PING")
            assert gone.value.cause is StateCause.CONNECTION
            assert heard == [False]
            redis.start()
            await until(lambda: heard == [False, True])
            assert await connection.command("PING") == b"PONG"
            assert connection.up_since is not None
            assert before is not None
            assert connection.up_since > before


async def test_without_memory_redis_refuses_writes_alone() -> None:
    seen = Seen()
    with redis_server() as redis:
        async with connected(redis.url(), seen) as connection:
            await connection.command("SET", "a", "1")
            redis.run("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StateUnavailable) as full:
                await connection.command("SET", "a", "2")
            assert full.value.cause is StateCause.FULL
            assert (connection.is_up, connection.status) == (True, StateStatus.DEGRADED)
            assert await connection.command("GET", "a") == b"1"
            redis.run("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: connection.status is StateStatus.OK)
    assert seen.changes == [(StateStatus.DEGRADED, StateCause.FULL), (StateStatus.OK, None)]


async def test_a_read_only_server_is_down_until_a_primary_answers() -> None:
    with redis_server() as primary, redis_server() as other:
        async with connected(primary.url()) as connection:
            await connection.command("SET", "a", "1")
            primary.run("REPLICAOF", "127.0.0.1", str(other.port))
            with pytest.raises(StateUnavailable) as refused:
                await connection.command("SET", "a", "2")
            assert refused.value.cause is StateCause.READ_ONLY
            assert connection.status is StateStatus.DOWN
            primary.run("REPLICAOF", "NO", "ONE")
            await until(lambda: connection.is_up)
            await connection.command("SET", "a", "2")


async def test_the_queue_is_bounded(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        asked = [connection.submit("PING") for _ in range(MAX_QUEUED + 1)]
        refused = asked[-1].exception()
        assert isinstance(refused, StateUnavailable)
        assert refused.cause is StateCause.QUEUE
        assert await asyncio.gather(*asked[:-1]) == [b"PONG"] * MAX_QUEUED


async def test_commands_fail_after_the_close(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        asked = connection.submit("PING")
    with pytest.raises(StateUnavailable):
        await asked
    with pytest.raises(StateUnavailable):
        await connection.command("PING")


async def test_a_late_event_loop_is_no_failure_of_redis(redis_url: str) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:
        await connection.command("SET", "a", "1")
        asked = connection.submit("GET", "a")
        for _ in range(10):  # until the command is sent
            await asyncio.sleep(0)
        time.sleep(2 * COMMAND_SECONDS)  # noqa: ASYNC251 - blocks the loop
        assert await asked == b"1"
    assert not seen.changes


async def test_a_pipeline_that_has_not_begun_fails_at_the_close(redis_url: str) -> None:
    async with connected(redis_url) as connection:
        asked = connection.submit("PING")
        await asyncio.sleep(0)  # the pipeline's task exists, but has not run
    assert asked.done()


async def test_a_hanging_redis_costs_the_timeout_even_without_a_connection() -> None:
    with redis_server() as redis:
        redis.url()
        async with connected(redis.url()) as connection:  # a database that must be selected
            redis.pause()
            began = time.monotonic()
            with pytest.raises(StateUnavailable) as hung:
                await connection.command("GET", "a")
            assert time.monotonic() - began < 3 * COMMAND_SECONDS
            assert hung.value.cause is StateCause.TIMEOUT


async def test_large_commands_do_not_share_a_pipeline(redis_url: str) -> None:
    seen = Seen()
    async with connected(redis_url, seen) as connection:
        large = "x" * PIPELINE_BYTES
        assert await asyncio.gather(*(connection.command("ECHO", text) for text in (large, "a", large, "b", "c")))
    assert sorted(seen.pipelines) == [1, 2, 2]


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", StateCause.LOADING),
        (b"-NOAUTH Authentication required.\r\n", StateCause.REFUSED),
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", StateCause.REFUSED),
        (b"-ERR max number of clients reached\r\n", StateCause.CONNECTION),
        (b"-MOVED nonsense\r\n", StateCause.CONNECTION),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", StateCause.CONNECTION),
    ],
)
async def test_a_server_that_refuses_or_is_not_redis_is_down(reply: bytes, cause: StateCause) -> None:
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(4096):
            writer.write(reply)

    seen = Seen()
    async with listening(answer) as port, connected(f"redis://:secret@127.0.0.1:{port}/1", seen) as connection:
        with pytest.raises(StateUnavailable) as refused:
            await connection.command("GET", "a")
        assert refused.value.cause is cause
        await until(lambda: connections > 2)  # the gateway connects again
        assert seen.changes == [(StateStatus.DOWN, cause)]


async def test_the_url_does_not_change_the_protocol(redis_url: str) -> None:
    async with connected(f"{redis_url}?protocol=3&decode_responses=yes") as connection:
        await connection.command("HSET", "h", "a", "1")
        assert await connection.command("HGETALL", "h") == [b"a", b"1"]
