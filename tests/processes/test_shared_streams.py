"""Streams while Redis or a gateway process fails."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from clients.state.connection import RedisConnection
from clients.state.names import STREAM_LOSS
from clients.state.streams.store import StreamStore
from tests.support.documents import COMPLETION, MESSAGE, STREAM
from tests.support.doors import events
from tests.support.redis_server import redis_server
from tests.support.stack import embedded_stack, until
from tests.support.state import Seen
from tests.support.streaming import completion, expected, message_input, text_of
from tests.support.two_gateways import begun, process_of, rest, two_replicas

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(60)]


async def read_until(reading: AsyncIterator[dict[str, Any]], tokens: int) -> list[dict[str, Any]]:
    """Read events until a text has at least this number of tokens."""
    heard: list[dict[str, Any]] = []
    async for event in reading:
        heard.append(event)
        if text_of(heard).count("tok") >= tokens:
            break
    return heard


async def test_a_killed_process_is_replaced_in_the_middle_of_an_answer(redis_url: str, tmp_path: Path) -> None:
    async with (
        embedded_stack(redis_url=redis_url, rate_limit_llm=0) as stack,
        process_of(stack, tmp_path) as (
            killed,
            gateway,
        ),
    ):
        agent_id = await stack.make_agent()
        turn = message_input(agent_id, "tokens=200 delay=0.02")
        answer = completion(stack, "tokens=500 delay=0.02", onDisconnect="CONTINUE")
        variables = {"i": turn, "k": str(uuid.uuid4())}
        sent = {"i": message_input(await stack.make_agent(), "tokens=3 delay=0"), "k": str(uuid.uuid4())}
        assert text_of([event async for event in events(killed, "event stream", MESSAGE, sent)]) == expected(3)
        before = (await stack.model_stats())["total"]
        reading = events(killed, "websocket", MESSAGE, variables)
        heard = [await anext(reading)]
        stream_id = heard[0]["stream"]["id"]
        elsewhere = asyncio.ensure_future(rest(events(stack, "websocket", STREAM, {"id": stream_id})))
        async with begun(killed, COMPLETION, answer) as (completion_id, answering):
            lost = asyncio.ensure_future(rest(events(stack, "event stream", STREAM, {"id": completion_id})))
            await read_until(answering, 5)
            heard += await read_until(reading, 10)
            gateway.process.kill()
            heard += await rest(events(stack, "websocket", STREAM, {"id": stream_id, "after": heard[-1]["cursor"]}))
        assert text_of(heard) == expected(200)
        assert (heard[-1]["outcome"], [one["__typename"] for one in heard].count("StreamEnded")) == ("COMPLETED", 1)
        assert text_of(await elsewhere) == expected(200)
        again = [event async for event in events(stack, "multipart", MESSAGE, variables)]
        assert text_of(again) == expected(200)
        ended = await lost
        assert (ended[-1]["outcome"], ended[-1]["error"]["reason"]) == ("FAILED", "OWNER_LOST")
        assert text_of(ended).count("tok") >= 5
        assert expected(500).startswith(text_of(ended))
        await has_lost_its_data(redis_url)
        repeated = [event async for event in events(stack, "event stream", MESSAGE, sent)]
        assert repeated[-1]["outcome"] == "COMPLETED"
        assert (await stack.model_stats())["total"] == before + 2, "the message was sent again"


async def has_lost_its_data(redis_url: str) -> None:
    """Empty a Redis database, and wait until a replica has noticed."""
    redis = RedisConnection(redis_url, None, Seen())
    await redis.command("FLUSHDB")

    async def is_noticed() -> bool:
        return bool(await redis.command("EXISTS", STREAM_LOSS.key("all")))

    await until(is_noticed)
    await redis.aclose()


async def test_a_stopping_process_gives_its_turns_away_at_once(redis_url: str, tmp_path: Path) -> None:
    async with embedded_stack(redis_url=redis_url) as stack, process_of(stack, tmp_path) as (stopping, gateway):
        turn = message_input(await stack.make_agent(), "tokens=75 delay=0.02")
        async with begun(stopping, MESSAGE, turn) as (stream_id, reading):
            heard = await read_until(reading, 10)
            gateway.process.send_signal(signal.SIGTERM)
            heard += await rest(reading)
        assert heard[-1]["__typename"] == "ReaderDetached"
        assert await gateway.process.wait() == -signal.SIGTERM
        clock = asyncio.get_running_loop().time
        stopped, after = clock(), {"id": stream_id, "after": heard[-1]["cursor"]}
        async with aclosing(events(stack, "event stream", STREAM, after)) as resumed:
            heard += await read_until(resumed, 1)
            assert clock() - stopped < 1.5
            heard += await rest(resumed)
        assert text_of(heard) == expected(75)
        assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_completion_that_a_stopping_process_cuts_off_has_failed_for_readers_elsewhere(
    redis_url: str, tmp_path: Path
) -> None:
    settings = {"redis_url": redis_url, "shutdown_grace_seconds": 0.5}
    async with embedded_stack(**settings) as stack, process_of(stack, tmp_path) as (stopping, gateway):
        answer = completion(stack, "tokens=500 delay=0.02")
        async with begun(stopping, COMPLETION, answer) as (stream_id, reading):
            elsewhere = asyncio.ensure_future(rest(events(stack, "event stream", STREAM, {"id": stream_id})))
            await read_until(reading, 5)
            gateway.process.send_signal(signal.SIGTERM)
            await rest(reading)
        *_, ended = heard = await elsewhere
        assert (ended["outcome"], ended["error"]["reason"]) == ("FAILED", "DRAINING")
        assert text_of(heard).count("tok") >= 5


RUNS = "query($id: ID!) { agent(id: $id) { runs(first: 1) { nodes { stream { status } } } } }"


async def test_the_streams_of_a_list_of_runs_are_read_from_redis_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_replicas(redis_url) as (first, second):
        agent_id = await first.make_agent()
        for _ in range(3):
            sent = {"i": message_input(agent_id, "tokens=1 delay=0"), "k": str(uuid.uuid4())}
            assert [event async for event in events(first, "event stream", MESSAGE, sent)][-1]["outcome"] == "COMPLETED"
        reads = AsyncMock(wraps=StreamStore.of)
        monkeypatch.setattr(StreamStore, "of", partialmethod(reads))
        runs = await second.graphql(RUNS.replace("first: 1", "first: 3"), {"id": agent_id})
        assert runs["data"]["agent"]["runs"]["nodes"] == [{"stream": {"status": "COMPLETED"}}] * 3
        assert reads.await_count == 1


async def test_a_hanging_redis_delays_a_reader_once(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with two_replicas(redis.url()) as (first, _):
            given = completion(first, "tokens=60 delay=0.02", onDisconnect="CONTINUE")
            async with begun(first, COMPLETION, given) as (_, reading):
                heard = await read_until(reading, 5)
                redis.pause()
                clock, gaps = asyncio.get_running_loop().time, []
                before = clock()
                async for event in reading:
                    heard.append(event)
                    gaps.append(clock() - before)
                    before = clock()
                redis.resume()
            assert text_of(heard) == expected(60)
            assert sum(gap > 0.15 for gap in gaps) <= 1
            assert max(gaps) < 1
