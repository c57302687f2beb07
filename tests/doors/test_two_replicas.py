"""Streams of one gateway that clients use at another gateway. Both gateways share a Redis server and the services."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.documents import COMPLETION, MESSAGE, STREAM
from tests.support.doors import DOORS, Refused, events
from tests.support.following import conversation, following, joined, send, turn
from tests.support.redis_server import RedisServer
from tests.support.stack import GRACE, Stack, until
from tests.support.streaming import completion, expected, message_input, text_of
from tests.support.two_gateways import Replicas, begun, rest, two_replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs_redis]

FACTS = """query($id: ID!) { stream(id: $id) {
  id status startedAt expiresAt text lastCursor run { id } userMessageEdge { node { id text } } } }"""
LISTED = "query($a: Boolean) { viewer { streams(active: $a) { id status text lastCursor run { id } } } }"
CANCEL = "mutation($i: CancelStreamInput!) { cancelStream(input: $i) { stream { id status text } errors { message } } }"
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } errors { message } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(shared_redis: RedisServer) -> AsyncIterator[Replicas]:
    """Run two gateways for all tests of this module."""
    async with two_replicas(shared_redis.url()) as both:
        yield both


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Return each transport of subscriptions."""
    return str(request.param)


async def chat(stack: Stack, directive: str, key: str | None = None) -> httpx.Response:
    """Request a streamed completion from ``/v1``, and read the whole answer."""
    headers = stack.headers() | ({} if key is None else {"idempotency-key": key})
    body = {"model": stack.chat_model, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], "stream": True}
    return await stack.client.post("/v1/chat/completions", json=body, headers=headers)


async def disconnected(stack: Stack, before: int) -> None:
    """Wait until the model has lost a client. Turns of other tests may still run."""

    async def is_closed() -> bool:
        return (await stack.model_stats())["disconnected"] > before

    await until(is_closed)


@pytest.mark.parametrize("kind", ["message", "completion"])
async def test_a_stream_is_resumed_on_another_replica(replicas: Replicas, door: str, kind: str) -> None:
    first, second = replicas
    directive = "tokens=30 delay=0.01"
    if kind == "message":
        query, given = MESSAGE, message_input(await first.make_agent(), directive)
    else:
        query, given = COMPLETION, completion(first, directive, onDisconnect="CONTINUE")
    variables = {"i": given, "k": str(uuid.uuid4())}
    before = (await first.model_stats())["total"]
    heard: list[dict[str, Any]] = []
    async with aclosing(events(first, door, query, variables)) as reading:
        async for event in reading:
            heard.append(event)
            if len(text_of(heard)) > 20:
                break
    resume = {"id": heard[0]["stream"]["id"], "after": heard[-1]["cursor"]}
    heard += [event async for event in events(second, door, STREAM, resume)]
    again = [event async for event in events(second, door, query, variables)]
    assert text_of(heard) == expected(30)
    assert [event["__typename"] for event in heard].count("StreamEnded") == 1
    assert again[0]["replayed"] is True
    assert text_of(again) == expected(30)
    assert (await first.model_stats())["total"] == before + 1


async def test_a_replica_can_resume_at_every_cursor_of_another(replicas: Replicas) -> None:
    first, second = replicas
    variables = {"i": message_input(await first.make_agent(), "tokens=9 delay=0.02"), "k": str(uuid.uuid4())}
    heard = [event async for event in events(first, "websocket", MESSAGE, variables)]
    for place, event in enumerate(heard):
        after = {"id": heard[0]["stream"]["id"], "after": event["cursor"]}
        left = [one async for one in events(second, "event stream", STREAM, after)]
        assert text_of(heard[: place + 1]) + text_of(left) == expected(9)
        assert left[-1] == heard[-1]


async def test_both_replicas_show_the_same_facts(replicas: Replicas) -> None:
    first, second = replicas
    agent_id = await first.make_agent()
    async with begun(first, MESSAGE, message_input(agent_id, "tokens=1000 delay=0.002")) as (stream_id, reading):
        await anext(reading)
        here = await first.graphql(FACTS, {"id": stream_id})
        there = await second.graphql(FACTS, {"id": stream_id})
        for answer in (here, there):
            facts = answer["data"]["stream"]
            assert (facts["status"], facts["expiresAt"]) == ("RUNNING", None)
            assert facts["text"].startswith("tok0")
            assert int(facts["lastCursor"]) >= 2
            assert facts["run"] is not None
            assert facts["userMessageEdge"]["node"]["text"] == "hi [[tokens=1000 delay=0.002]]"
        listed = (await second.graphql(LISTED, {"a": True}))["data"]["viewer"]["streams"]
        assert stream_id in [one["id"] for one in listed]
        await second.graphql(CANCEL, {"i": {"streamId": stream_id}})
    here, there = [(await stack.graphql(FACTS, {"id": stream_id}))["data"]["stream"] for stack in replicas]
    for facts in (here, there):
        assert facts.pop("expiresAt") is not None
        facts.pop("startedAt")
    assert here == there
    assert here["status"] == "CANCELLED"
    listed = (await second.graphql(LISTED, {"a": False}))["data"]["viewer"]["streams"]
    assert [one["text"] for one in listed if one["id"] == stream_id] == [here["text"]]


async def test_a_stream_is_cancelled_from_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    before = (await first.model_stats())["disconnected"]
    async with begun(first, COMPLETION, completion(first, "tokens=3000 delay=0.01")) as (stream_id, reading):
        cancelled = await second.graphql(CANCEL, {"i": {"streamId": stream_id}})
        assert cancelled["data"]["cancelStream"]["stream"]["status"] == "CANCELLED"
        assert (await rest(reading))[-1]["outcome"] == "CANCELLED"
    await disconnected(first, before)


async def test_the_last_reader_on_any_replica_decides(replicas: Replicas) -> None:
    first, second = replicas
    before = (await first.model_stats())["disconnected"]
    async with begun(first, COMPLETION, completion(first, "tokens=3000 delay=0.01")) as (stream_id, _):
        elsewhere = events(second, "websocket", STREAM, {"id": stream_id})
        await anext(elsewhere)
        await asyncio.sleep(0.1)  # the registration of the reader is on its way
    for _ in range(5):
        await anext(elsewhere)
    assert (await second.graphql(FACTS, {"id": stream_id}))["data"]["stream"]["status"] == "RUNNING"
    clock = asyncio.get_running_loop().time
    left = clock()
    await elsewhere.aclose()
    await disconnected(first, before)
    assert clock() - left < 0.25

    async def cancelled() -> bool:
        facts = (await second.graphql(FACTS, {"id": stream_id}))["data"]["stream"]
        return str(facts["status"]) == "CANCELLED"

    await until(cancelled)


async def test_one_key_makes_one_call_on_two_replicas(replicas: Replicas) -> None:
    first, second = replicas
    for query, given in (
        (MESSAGE, message_input(await first.make_agent(), "tokens=5 delay=0.01")),
        (COMPLETION, completion(first, "tokens=5 delay=0.01")),
    ):
        variables = {"i": given, "k": str(uuid.uuid4())}
        before = (await first.model_stats())["total"]

        async def read(stack: Stack) -> list[dict[str, Any]]:
            return [event async for event in events(stack, "event stream", query, variables)]  # noqa: B023

        heard = await asyncio.gather(*(read(stack) for stack in (first, second) * 3))
        assert {text_of(one) for one in heard} == {expected(5)}
        assert len({one[0]["stream"]["id"] for one in heard}) == 1
        assert sum(not one[0]["replayed"] for one in heard) == 1
        assert (await first.model_stats())["total"] == before + 1


async def test_a_key_with_other_input_is_refused_on_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    key = str(uuid.uuid4())
    variables = {"i": completion(first, "tokens=2 delay=0"), "k": key}
    assert [event async for event in events(first, "websocket", COMPLETION, variables)][-1]["outcome"] == "COMPLETED"
    with pytest.raises(Refused) as refused:
        await anext(events(second, "websocket", COMPLETION, {"i": completion(first, "tokens=3 delay=0"), "k": key}))
    assert (refused.value.code, refused.value.extensions["reason"]) == ("CONFLICT", "KEY_REUSED")


async def test_a_mutation_with_a_key_attaches_to_a_stream_of_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    given = completion(first, "tokens=4 delay=0.01", onDisconnect="CONTINUE", idempotencyKey=str(uuid.uuid4()))
    answers = [await stack.graphql(START, {"i": given}) for stack in replicas]
    here, there = [answer["data"]["startCompletion"] for answer in answers]
    assert here == there
    heard = [event async for event in events(second, "event stream", STREAM, {"id": here["stream"]["id"]})]
    assert text_of(heard) == expected(4)


async def test_a_failed_completion_is_restarted_by_any_replica(replicas: Replicas) -> None:
    first, second = replicas
    key, directive = str(uuid.uuid4()), "tokens=3 delay=0 error=cut"
    before = (await first.model_stats())["total"]
    answers = [await chat(one, directive, key) for one in (first, second, first)]
    # the real LiteLLM can break off before the stream begins
    ids = [answer.headers["x-stream-id"] for answer in answers if "x-stream-id" in answer.headers]
    assert len(set(ids)) == len(ids)
    assert len(ids) == 3 or first.real
    assert (await first.model_stats())["total"] >= before + 3


async def test_an_answer_of_v1_is_replayed_by_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    key = str(uuid.uuid4())
    before = (await first.model_stats())["total"]
    answers = await asyncio.gather(*(chat(stack, "tokens=6 delay=0.01", key) for stack in replicas))
    answers.append(await chat(second, "tokens=6 delay=0.01", key))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].content.endswith(b"data: [DONE]\n\n")
    assert len({answer.headers["x-stream-id"] for answer in answers}) == 1
    assert len({answer.headers.get("x-litellm-call-id") for answer in answers}) == 1
    assert (await first.model_stats())["total"] == before + 1
    refused = await chat(second, "tokens=7 delay=0.01", key)
    assert refused.status_code == 409
    stream_id = answers[0].headers["x-stream-id"]
    for stack in replicas:
        heard = [event async for event in events(stack, "websocket", STREAM, {"id": stream_id})]
        assert text_of(heard) == expected(6)


async def test_a_stream_of_v1_without_a_key_is_read_on_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    stream_id = (await chat(first, "tokens=3 delay=0")).headers["x-stream-id"]
    heard = [event async for event in events(second, "multipart", STREAM, {"id": stream_id})]
    assert text_of(heard) == expected(3)


async def test_a_refused_stream_leaves_its_key_free_on_all_replicas(replicas: Replicas) -> None:
    first, second = replicas
    variables = {"i": completion(first, "error=400"), "k": str(uuid.uuid4())}
    before = (await first.model_stats())["total"]
    for stack in (first, second, first):
        with pytest.raises(Refused) as refused:
            await anext(events(stack, "event stream", COMPLETION, variables))
        assert refused.value.code != "CONFLICT"
    assert (await first.model_stats())["total"] == before + 3


async def test_a_follower_receives_turns_of_another_replica(replicas: Replicas, door: str) -> None:
    first, second = replicas
    _, conversation_id = await conversation(first)
    before = (await first.model_stats())["total"]
    async with following(second, door, conversation_id) as follower:
        await joined(second, follower, conversation_id)
        before = (await first.model_stats())["total"]
        heard, sent = await asyncio.gather(turn(follower), send(first, conversation_id, "tokens=9 delay=0.02", wait=5))
    assert text_of(heard) == expected(9)
    assert heard[0]["stream"]["id"] == sent["stream"]["id"]
    assert heard[0]["replayed"] is False
    assert (await first.model_stats())["total"] == before + 1
    deltas = [event for event in heard if event["__typename"] == "TextDelta"]
    async with following(first, door, conversation_id, deltas[0]["cursor"]) as follower:
        left = await turn(follower)
    assert text_of(deltas[:1]) + text_of(left) == expected(9)


async def test_another_users_stream_does_not_exist_on_any_replica(replicas: Replicas) -> None:
    first = replicas.first
    variables = {"i": completion(first, "tokens=2 delay=0"), "k": str(uuid.uuid4())}
    heard = [event async for event in events(first, "websocket", COMPLETION, variables)]
    unknown = f"stream:{uuid.uuid4()}"
    for stack in replicas:
        refusals = []
        for stream_id in (heard[0]["stream"]["id"], unknown):
            with pytest.raises(Refused) as refused:
                await anext(events(stack, "websocket", STREAM, {"id": stream_id}, user=GRACE))
            refusals.append({**refused.value.extensions, "requestId": ""})
            assert refused.value.code == "NOT_FOUND"
        assert refusals[0] == refusals[1]
        answer = await stack.graphql(CANCEL, {"i": {"streamId": heard[0]["stream"]["id"]}}, user=GRACE)
        assert "NOT_FOUND" in str(answer)
        listed = await stack.graphql(LISTED, user=GRACE)
        assert heard[0]["stream"]["id"] not in str(listed)


async def test_a_cursor_that_no_replica_has_is_refused(replicas: Replicas) -> None:
    first = replicas.first
    variables = {"i": completion(first, "tokens=2 delay=0"), "k": str(uuid.uuid4())}
    heard = [event async for event in events(first, "websocket", COMPLETION, variables)]
    for stack in replicas:
        with pytest.raises(Refused) as refused:
            await anext(events(stack, "websocket", STREAM, {"id": heard[0]["stream"]["id"], "after": "999"}))
        assert refused.value.extensions["reason"] == "CURSOR"


async def test_the_limit_of_running_streams_counts_all_replicas(shared_redis: RedisServer) -> None:
    async with two_replicas(shared_redis.url(), max_streams_per_user=2) as (first, second):
        ids = []
        for stack in (first, second):
            given = completion(stack, "tokens=3000 delay=0.01", idempotencyKey=str(uuid.uuid4()))
            ids.append((await stack.graphql(START, {"i": given}))["data"]["startCompletion"]["stream"]["id"])
        with pytest.raises(Refused) as refused:
            await anext(events(first, "websocket", COMPLETION, {"i": completion(first, "tokens=1"), "k": "k"}))
        assert (refused.value.code, refused.value.extensions["reason"]) == ("RATE_LIMITED", "STREAMS")
        for stream_id in ids:
            await second.graphql(CANCEL, {"i": {"streamId": stream_id}})
        variables = {"i": completion(first, "tokens=1"), "k": "k"}

        async def starts() -> bool:
            try:
                return [event async for event in events(first, "websocket", COMPLETION, variables)] != []
            except Refused:
                return False

        assert await until(starts)
