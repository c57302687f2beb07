"""Streams while Redis or a gateway process fails."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.embedded import http_client
from tests.support.documents import COMPLETION, MESSAGE, STREAM
from tests.support.doors import Refused, events
from tests.support.process import Gateway, serving
from tests.support.redis_server import redis_server
from tests.support.stack import Stack, embedded_stack, until
from tests.support.streaming import completion, expected, message_input, text_of
from tests.support.two_gateways import begun, rest, two_replicas

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(60)]

SHARED_STATE = "{ platform { sharedState { status } } }"
TEXT = "query($id: ID!) { stream(id: $id) { status text } }"
CANCEL = "mutation($i: CancelStreamInput!) { cancelStream(input: $i) { stream { status } errors { message } } }"


@asynccontextmanager
async def process_of(stack: Stack, folder: Path) -> AsyncIterator[tuple[Stack, Gateway]]:
    """Run a gateway in a process, for the stack's services."""
    settings = {name.upper(): str(value) for name, value in stack.given.items()}
    async with serving(folder, settings) as gateway, http_client.client(base_url=gateway.url, timeout=30) as client:
        yield replace(stack, url=gateway.url, client=client), gateway


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
        assert (await stack.model_stats())["total"] == before + 2


async def test_a_stopping_process_gives_its_turns_away_at_once(redis_url: str, tmp_path: Path) -> None:
    async with embedded_stack(redis_url=redis_url) as stack, process_of(stack, tmp_path) as (stopping, gateway):
        turn = message_input(await stack.make_agent(), "tokens=150 delay=0.02")
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
        assert text_of(heard) == expected(150)
        assert heard[-1]["outcome"] == "COMPLETED"


RUNS = "query($id: ID!) { agent(id: $id) { runs(first: 1) { nodes { stream { status } } } } }"


async def test_live_readers_do_not_notice_that_redis_stops(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with two_replicas(redis.url()) as (first, second):
            agent_id = await first.make_agent()
            given = completion(first, "tokens=60 delay=0.02", onDisconnect="CONTINUE")
            async with begun(first, COMPLETION, given) as (stream_id, reading):
                heard = await read_until(reading, 5)
                redis.stop()
                heard += await read_until(reading, 20)
                with pytest.raises(Refused) as refused:
                    await anext(events(second, "websocket", STREAM, {"id": stream_id}))
                assert refused.value.code == "UPSTREAM_UNAVAILABLE"
                assert refused.value.extensions["retryable"] is True
                assert refused.value.extensions["service"] == "redis"
                variables = {"i": completion(first, "tokens=3 delay=0"), "k": "new"}
                started = [event async for event in events(first, "event stream", COMPLETION, variables)]
                assert text_of(started) == expected(3)
                sent = {"i": message_input(agent_id, "tokens=3 delay=0"), "k": "sent"}
                assert text_of([event async for event in events(first, "event stream", MESSAGE, sent)]) == expected(3)
                runs = await first.graphql(RUNS, {"id": agent_id})
                assert runs["data"]["agent"]["runs"]["nodes"] == [{"stream": {"status": "COMPLETED"}}]
                unknown = await second.graphql(RUNS, {"id": agent_id})
                assert unknown["errors"][0]["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"
                cursor = heard[-1]["cursor"]
                redis.start()
                heard += await rest(reading)
            assert text_of(heard) == expected(60)
            for read_id, tokens in ((stream_id, 60), (started[0]["stream"]["id"], 3)):

                async def is_known(read_id: str = read_id) -> bool:
                    return (await second.graphql(TEXT, {"id": read_id}))["data"]["stream"] is not None

                await until(is_known, 10)
                copied = await second.graphql(TEXT, {"id": read_id})
                assert copied["data"]["stream"] == {"status": "COMPLETED", "text": expected(tokens)}
            left = await rest(events(second, "websocket", STREAM, {"id": stream_id, "after": cursor}))
            assert expected(60).endswith(text_of(left))
            assert left[-1]["outcome"] == "COMPLETED"
            replayed = [event async for event in events(second, "websocket", COMPLETION, variables)]
            assert replayed[0]["stream"]["id"] == started[0]["stream"]["id"]


async def test_streams_are_stored_again_after_redis_was_emptied(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with two_replicas(redis.url()) as (first, second):
            given = completion(first, "tokens=60 delay=0.02", onDisconnect="CONTINUE")
            async with begun(first, COMPLETION, given) as (stream_id, reading):
                elsewhere = events(second, "websocket", STREAM, {"id": stream_id})
                far = await read_until(elsewhere, 5)
                redis.run("FLUSHALL")
                far += await rest(elsewhere)
                near = await rest(reading)
            assert text_of(near) == text_of(far) == expected(60)
            resumed = await rest(events(second, "websocket", STREAM, {"id": stream_id, "after": far[3]["cursor"]}))
            assert text_of(far[:4]) + text_of(resumed) == expected(60)


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
