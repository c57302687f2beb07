"""A cursor is valid only in its own list; elsewhere it is refused like an invented one."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, PASSAGES
from tests.support.stack import GRACE, Stack
from tests.support.things import passages

PAGE = """query($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
  conversation(id: $id) { messages(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage }
  } }
}"""
WHATEVER = "message-" + str(uuid.uuid4())


def cursor(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


async def page(stack: Stack, conversation_id: str, **window: Any) -> dict[str, Any]:
    return await stack.graphql(PAGE, {"id": conversation_id, **window})


async def edges(stack: Stack, conversation_id: str, **window: Any) -> list[dict[str, Any]]:
    answer = await page(stack, conversation_id, **window)
    assert "errors" not in answer, answer
    found: list[dict[str, Any]] = answer["data"]["conversation"]["messages"]["edges"]
    return found


async def letta_ids(stack: Stack, agent_id: str) -> list[str]:
    """Return the ids of the messages that Letta has in an agent's default conversation."""
    async with stack.letta() as letta:
        path = "/v1/conversations/default/messages"
        listed = (await letta.get(path, params={"agent_id": agent_id})).raise_for_status().json()
    return [message["id"] for message in listed]


async def talked(stack: Stack, conversation: dict[str, str]) -> None:
    """Run two turns, so that the list has positions in its middle."""
    for _ in range(2):
        asked = {"to": conversation, "content": [{"text": "hi [[tokens=1 delay=0]]"}], "waitSeconds": 20}
        await things.done(stack, things.SEND, {"i": {**asked, "idempotencyKey": str(uuid.uuid4())}})


def told(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    assert answer["data"]["conversation"]["messages"] is None
    return [(error["message"], error["extensions"].get("reason")) for error in answer["errors"]]


async def test_cursors_of_different_conversations_are_refused(stack: Stack) -> None:
    agent_id, hers = await stack.make_agent(), await stack.make_agent(GRACE)
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
    default, other = f"conversation:{agent_id}", made["conversation"]["id"]
    await talked(stack, {"agentId": agent_id})
    [foreign, *_] = await letta_ids(stack, hers)
    await talked(stack, {"conversationId": other})
    mine = await letta_ids(stack, agent_id)
    for conversation_id in (default, other):
        elsewhere = {default: other, other: default}[conversation_id]
        places = ((0, True), (1, False))
        strangers = [cursor(one, *place) for one in (WHATEVER, foreign) for place in places]
        strangers += [edge["cursor"] for edge in await edges(stack, elsewhere, first=10)]
        strangers += [cursor(mine[1], 0, True)] if conversation_id == other else []
        for stranger in strangers:
            for window in ({"first": 2, "after": stranger}, {"last": 2, "before": stranger}):
                refusal = told(await page(stack, conversation_id, **window))
                assert refusal == [("The cursor does not belong to this list. Omit the cursor.", "CURSOR")], window


async def test_a_cursor_that_no_page_has_shown_is_valid(stack: Stack) -> None:
    """Such as in a cursor from before a restart, or from another replica."""
    agent_id = await stack.make_agent()
    await talked(stack, {"agentId": agent_id})
    ids = await letta_ids(stack, agent_id)
    assert len(ids) == 5
    for number, letta_id in enumerate(ids[:-1]):
        [after] = await edges(stack, f"conversation:{agent_id}", first=1, after=cursor(letta_id, 0, True))
        place = ids[number + 1]
        [before] = await edges(stack, f"conversation:{agent_id}", last=1, before=cursor(place, 0, True))
        every = await edges(stack, f"conversation:{agent_id}", first=5)
        assert (after, before) == (every[number + 1], every[number])


async def test_a_cursor_of_another_users_passage_is_refused_like_an_unknown_one(stack: Stack) -> None:
    agent_id, hers = await stack.make_agent(), await stack.make_agent(GRACE)
    ids = await passages(stack, agent_id, "one", "two")
    [foreign] = await passages(stack, hers, "hers", user=GRACE)
    ids += await passages(stack, agent_id, "three")
    stranger = "passage-" + foreign.rpartition(":")[2]
    for moment, expected in (("2999-01-01T00:00:00Z", ids[::-1]), ("2000-01-01T00:00:00Z", [])):
        for place in (f"passage-{uuid.uuid4()}", stranger):
            answer = await stack.graphql(PASSAGES, {"a": agent_id, "n": 9, "c": cursor(moment, place)})
            found = [edge["node"]["id"] for edge in answer["data"]["agent"]["passages"]["edges"]]
            assert found == expected, (moment, place)
