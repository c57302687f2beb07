from __future__ import annotations

import asyncio

import pytest

from tests.support.documents import FOLLOW_FIELDS
from tests.support.doors import DOORS, Refused, events
from tests.support.following import conversation, following, joined, say_past_the_gateway, send, turn
from tests.support.stack import GRACE, Stack, until
from tests.support.streaming import expected, text_of

STREAM = f"subscription($id: ID!) {{ stream(id: $id) {{ {FOLLOW_FIELDS} }} }}"


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Return each transport of subscriptions."""
    return str(request.param)


async def test_a_follow_gets_each_turn_with_the_events_of_its_stream(stack: Stack, door: str) -> None:
    _, conversation_id = await conversation(stack)
    async with following(stack, door, conversation_id) as follower:
        await joined(stack, follower, conversation_id)
        for tokens in (5, 7):
            first = asyncio.create_task(turn(follower))
            sent = await send(stack, conversation_id, f"tokens={tokens} delay=0.01")
            heard = await first
            assert heard[0]["__typename"] == "StreamStarted"
            assert heard[0]["stream"]["id"] == sent["stream"]["id"]
            assert heard[0]["run"]["id"] == sent["run"]["id"]
            assert text_of(heard) == expected(tokens)
            assert heard[-1]["outcome"] == "COMPLETED"
            own = [event async for event in events(stack, "websocket", STREAM, {"id": sent["stream"]["id"]})]
            assert [event["edge"] for event in heard if event["__typename"] == "MessageAdded"] == [
                event["edge"] for event in own if event["__typename"] == "MessageAdded"
            ]


async def test_a_follow_that_begins_during_a_turn_gets_all_of_it(stack: Stack) -> None:
    _, conversation_id = await conversation(stack)
    await send(stack, conversation_id, "tokens=100 delay=0.03")
    async with following(stack, "websocket", conversation_id) as early:
        async for event in early:
            if event["__typename"] == "TextDelta":
                break
    async with following(stack, "websocket", conversation_id) as late:
        heard = await turn(late)
    assert heard[0]["__typename"] == "StreamStarted"
    assert heard[0]["replayed"] is True
    assert text_of(heard) == expected(100)


async def test_a_follow_continues_exactly_after_a_cursor_and_into_the_next_turn(stack: Stack, door: str) -> None:
    _, conversation_id = await conversation(stack)
    async with following(stack, door, conversation_id) as follower:
        whole = await joined(stack, follower, conversation_id, "tokens=6 delay=0.01")
    await send(stack, conversation_id, "tokens=3")
    middle = [event["__typename"] for event in whole].index("TextDelta")
    async with following(stack, door, conversation_id, whole[middle]["cursor"]) as follower:
        rest, second = await turn(follower), await turn(follower)
    assert text_of(whole[: middle + 1] + rest) == expected(6)
    assert rest[-1]["cursor"] == whole[-1]["cursor"]
    assert second[0]["__typename"] == "StreamStarted"
    assert text_of(second) == expected(3)


@pytest.mark.parametrize("background", [True, False], ids=["streamed", "only stored"])
async def test_a_turn_that_another_client_of_letta_started_is_followed(stack: Stack, background: bool) -> None:
    _, conversation_id = await conversation(stack)
    async with following(stack, "websocket", conversation_id) as follower:
        await joined(stack, follower, conversation_id)
        second = asyncio.create_task(turn(follower))
        await say_past_the_gateway(stack, conversation_id, "tokens=8 delay=0.01", background=background)
        heard = await second
    assert heard[0]["__typename"] == "StreamStarted"
    assert heard[0]["resumable"] is background
    assert text_of(heard) == (expected(8) if background else "")
    added = [event["edge"]["node"] for event in heard if event["__typename"] == "MessageAdded"]
    assert [node["__typename"] for node in added][-2:] == ["UserMessage", "AssistantMessage"]
    assert added[-1]["text"] == expected(8)
    assert heard[-1]["outcome"] == "COMPLETED"
    assert heard[-1]["run"]["status"] == "COMPLETED"


async def test_a_default_conversation_is_followed(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    async with following(stack, "websocket", f"conversation:{agent_id}") as follower:
        heard = await joined(stack, follower, f"conversation:{agent_id}", "tokens=4")
        assert text_of(heard) == expected(4)


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("nonsense", "CURSOR"), ("WyJzdHJlYW06bm93aGVyZSIsIjEiXQ", "CURSOR_EXPIRED"), ("WyJhIl0", "CURSOR")],
)
async def test_an_invalid_cursor_is_refused_with_its_reason(stack: Stack, cursor: str, reason: str, door: str) -> None:
    _, conversation_id = await conversation(stack)
    with pytest.raises(Refused) as refused:
        async with following(stack, door, conversation_id, cursor) as follower:
            await turn(follower)
    assert (refused.value.code, refused.value.extensions["reason"]) == ("BAD_USER_INPUT", reason)


async def test_a_cursor_of_another_conversation_is_refused(stack: Stack) -> None:
    agent_id, conversation_id = await conversation(stack)
    async with following(stack, "websocket", conversation_id) as follower:
        heard = await joined(stack, follower, conversation_id)
    with pytest.raises(Refused) as refused:
        async with following(stack, "websocket", f"conversation:{agent_id}", heard[0]["cursor"]) as follower:
            await turn(follower)
    assert refused.value.extensions["reason"] == "CURSOR"


async def test_a_conversation_of_another_user_is_not_found(stack: Stack, door: str) -> None:
    _, conversation_id = await conversation(stack)
    with pytest.raises(Refused) as refused:
        async with following(stack, door, conversation_id, user=GRACE) as follower:
            await turn(follower)
    assert refused.value.code == "NOT_FOUND"


async def test_a_follow_that_ends_cancels_no_turn(stack: Stack) -> None:
    _, conversation_id = await conversation(stack)
    sent = await send(stack, conversation_id, "tokens=60 delay=0.05")
    async with following(stack, "websocket", conversation_id) as follower:
        await anext(follower)

    async def status() -> bool:
        answer = await stack.graphql("query($r: ID!) { run(id: $r) { status } }", {"r": sent["run"]["id"]})
        return bool(answer["data"]["run"]["status"] == "COMPLETED")

    await until(status)
