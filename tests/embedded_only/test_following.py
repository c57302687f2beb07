"""The calls for following a conversation, and followers after errors and disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from app.embedded.faults import Fault
from resolvers import watch
from resolvers.streams.hub import StreamHub
from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, MESSAGE
from tests.support.doors import Refused, events
from tests.support.following import conversation, following, joined, say_past_the_gateway, send, turn
from tests.support.lossy import CUT, answered, cut_after, lossy_stack
from tests.support.stack import GRACE, Stack, embedded_stack, until
from tests.support.streaming import expected, text_of


@pytest.mark.parametrize("grace", [0, 60], ids=["past its grace", "within its grace"])
@pytest.mark.parametrize("with_cursor", [True, False])
async def test_a_follower_that_reconnects_during_a_turn_gets_all_of_it(grace: int, with_cursor: bool) -> None:
    async with embedded_stack(stream_grace_seconds=grace, stream_look_seconds=0.1) as stack:
        _, conversation_id = await conversation(stack)
        async with following(stack, "websocket", conversation_id) as follower:
            await joined(stack, follower, conversation_id)
            saying = asyncio.create_task(
                say_past_the_gateway(stack, conversation_id, "tokens=60 delay=0.05", background=True)
            )
            before = []
            async for event in follower:
                before.append(event)
                if event["__typename"] == "TextDelta":
                    break
        after = before[-1]["cursor"] if with_cursor else None
        async with following(stack, "websocket", conversation_id, after) as follower:
            heard = await turn(follower)
            if (
                heard[-1]["outcome"] == "CANCELLED"
            ):  # the stream ended with its grace period, and the run is attached again
                heard, before = await turn(follower), []
                assert heard[0]["replayed"] is True
        await saying
    assert heard[-1]["outcome"] == "COMPLETED"
    assert text_of((before if with_cursor else []) + heard) == expected(60)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Awaitable[None]]:
    """A function that waits until a number of followers wait for a turn."""
    begun, tasks = StreamHub.turn_begun, set()

    async def counted(*arguments: Any) -> None:
        tasks.add(asyncio.current_task())
        await begun(*arguments)

    async def all_wait(number: int) -> None:
        await until(lambda: len(tasks) >= number, 20)

    monkeypatch.setattr(StreamHub, "turn_begun", counted)
    return all_wait


async def test_streams_of_other_users_wake_no_follower(waits: Callable[[int], Awaitable[None]]) -> None:
    async with embedded_stack(stream_look_seconds=60) as stack, AsyncExitStack() as leaving:
        _, conversation_id = await conversation(stack)
        followers = [following(stack, "websocket", conversation_id) for _ in range(5)]
        tasks = [asyncio.create_task(turn(await leaving.enter_async_context(one))) for one in followers]
        await waits(len(followers))
        stack.platform.state.calls.clear()
        await stack.make_agent(GRACE)
        theirs = await things.done(stack, CREATE_CONVERSATION, {"a": await stack.make_agent(GRACE)}, user=GRACE)
        to = {"conversationId": theirs["conversationEdge"]["node"]["id"]}
        asked = {"to": to, "content": [{"text": "hi [[tokens=1]]"}], "idempotencyKey": "k", "waitSeconds": 10}
        await things.done(stack, things.SEND, {"i": asked}, user=GRACE)
        assert [call for call in stack.calls("letta") if call.startswith("GET /v1/runs/?")] == []
        sent = await send(stack, conversation_id, "tokens=2")
        for heard in await asyncio.gather(*tasks):
            assert heard[0]["stream"]["id"] == sent["stream"]["id"]


async def test_a_run_that_letta_does_not_stream_is_polled(stack: Stack) -> None:
    _, conversation_id = await conversation(stack)
    async with following(stack, "websocket", conversation_id) as follower:
        await joined(stack, follower, conversation_id)
        run = asyncio.create_task(say_past_the_gateway(stack, conversation_id, "tokens=5 delay=0.05", background=False))
        heard = await turn(follower)
        await run
    assert heard[-1]["outcome"] == "COMPLETED"
    assert len([call for call in stack.calls("letta") if call.endswith("/stream")]) <= 1


async def test_a_turn_begun_in_letta_is_read_once_for_all_followers(
    stack: Stack, waits: Callable[[int], Awaitable[None]]
) -> None:
    _, conversation_id = await conversation(stack)
    async with AsyncExitStack() as leaving:
        followers = [following(stack, "websocket", conversation_id) for _ in range(10)]
        hearing = [asyncio.create_task(turn(await leaving.enter_async_context(one))) for one in followers]
        await waits(10)
        run = asyncio.create_task(say_past_the_gateway(stack, conversation_id, "tokens=5 delay=0.05", background=True))
        for heard in await asyncio.gather(*hearing):
            assert (heard[-1]["outcome"], text_of(heard)) == ("COMPLETED", expected(5))
        await run
    assert len([call for call in stack.calls("letta") if call.endswith("/stream")]) == 1


async def test_following_ends_when_the_conversation_is_deleted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PROVED_SECONDS", 0.0)
    _, conversation_id = await conversation(stack)
    async with asyncio.timeout(20), following(stack, "websocket", conversation_id) as follower:
        await joined(stack, follower, conversation_id)
        query = "mutation($c: ID!) { deleteConversation(input: {conversationId: $c}) { deletedConversationId } }"
        await stack.graphql(query, {"c": conversation_id})
        with pytest.raises((Refused, AssertionError)) as ended:
            await turn(follower)
    assert "NOT_FOUND" in str(ended.value)


@pytest.mark.parametrize("status", [429, 408, 500, 503])
async def test_a_refused_poll_is_repeated(status: int) -> None:
    async with embedded_stack(stream_look_seconds=0.05) as stack:
        _, conversation_id = await conversation(stack)
        async with following(stack, "websocket", conversation_id) as follower:
            await joined(stack, follower, conversation_id)
            stack.platform.faults["letta"] = Fault(status=status)
            stack.platform.state.calls.clear()

            await until(lambda: len(stack.calls("letta")) >= 2)
            stack.platform.faults.clear()
            saying = asyncio.create_task(
                say_past_the_gateway(stack, conversation_id, "tokens=3 delay=0.05", background=True)
            )
            heard = await turn(follower)
            await saying
    assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_follower_gets_each_turn_that_began_once() -> None:
    async with lossy_stack(stream_look_seconds=0.1) as (stack, proxy):
        _, conversation_id = await conversation(stack)
        to = {"conversationId": conversation_id}
        live: list[dict[str, Any]]
        last: list[dict[str, Any]]

        async def say(key: str) -> list[dict[str, Any]]:
            asked = {"i": {"to": to, "content": [{"text": "hi [[tokens=3 delay=0.01]]"}]}, "k": key}
            return [event async for event in events(stack, "websocket", MESSAGE, asked)]

        async with following(stack, "websocket", conversation_id) as follower:
            await joined(stack, follower, conversation_id)
            proxy.lose("/messages", answered(409, b'{"detail":"Another request"}', asks=False))
            with pytest.raises(Refused):
                await say("refused")
            live, _ = await asyncio.gather(turn(follower), say("live"))
            proxy.lose("/messages", CUT)
            with pytest.raises(Refused):
                await say("lost")
            lost = await turn(follower)
            assert (await say("lost"))[0]["replayed"] is True
            last, _ = await asyncio.gather(turn(follower), say("last"))
    for heard in (live, lost, last):
        assert (heard[0]["__typename"], heard[0]["replayed"]) == ("StreamStarted", False)
        assert heard[-1]["outcome"] == "COMPLETED"
        assert text_of(heard) == expected(3)
    assert len({heard[0]["run"]["id"] for heard in (live, lost, last)}) == 3


async def test_a_stream_that_is_read_before_its_refusal_ends() -> None:
    query = "subscription($id: ID!) { stream(id: $id) { __typename ... on StreamStarted { stream { id } } } }"
    async with lossy_stack() as (stack, proxy):
        agent_id = await stack.make_agent()
        refusal = answered(409, b'{"detail":"Another request"}', asks=False)
        proxy.lose("/messages", replace(refusal, late=0.5))
        asked = {"i": {"to": {"agentId": agent_id}, "content": [{"text": "hi"}]}, "k": "k"}

        async def opening() -> str | None:
            listed = (await stack.graphql("{ viewer { streams { id } } }"))["data"]["viewer"]["streams"]
            return listed[0]["id"] if listed else None

        async def read() -> list[str]:
            await until(opening)
            reading = events(stack, "websocket", query, {"id": await opening()})
            return [event["__typename"] async for event in reading]

        async def begin() -> None:
            with pytest.raises(Refused):
                _ = [event async for event in events(stack, "websocket", MESSAGE, asked)]

        heard, _ = await asyncio.gather(read(), begin())
    assert heard == ["StreamStarted", "StreamEnded"]


async def test_a_follower_gets_a_turn_that_two_streams_read_once() -> None:
    async with lossy_stack(stream_look_seconds=0.1) as (stack, proxy):
        _, conversation_id = await conversation(stack)
        to = {"conversationId": conversation_id}
        first: list[dict[str, Any]]
        third: list[dict[str, Any]]

        async def say(key: str, directive: str) -> list[dict[str, Any]]:
            asked = {"i": {"to": to, "content": [{"text": f"hi [[{directive}]]"}]}, "k": key}
            return [event async for event in events(stack, "websocket", MESSAGE, asked)]

        async with following(stack, "websocket", conversation_id) as follower:
            await joined(stack, follower, conversation_id)
            proxy.lose("/messages", cut_after(12))
            proxy.lose("/stream", answered(401, asks=False))
            first, _ = await asyncio.gather(turn(follower), say("cut", "tokens=40 delay=0.05"))
            second, own = await asyncio.gather(turn(follower), say("cut", "tokens=40 delay=0.05"))
            third, _ = await asyncio.gather(turn(follower), say("next", "tokens=3 delay=0.01"))
    assert [heard[-1]["outcome"] for heard in (first, second, own, third)] == ["FAILED", *["COMPLETED"] * 3]
    assert (second[0]["replayed"], text_of(second), text_of(own)) == (True, expected(40), expected(40))
    assert first[0]["run"] == second[0]["run"] != third[0]["run"]
    assert (third[0]["replayed"], text_of(third)) == (False, expected(3))
