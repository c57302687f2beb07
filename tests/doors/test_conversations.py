"""Conversations: searching, updating, forking and deleting."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import Any

import pytest

from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, MESSAGE
from tests.support.doors import code_of, events, refused
from tests.support.stack import ADA, GRACE, Stack

LIST = """query($a: ID!, $n: Int, $c: String, $s: String) { agent(id: $a) {
  conversations(first: $n, after: $c, search: $s) { nodes { id summary } pageInfo { hasNextPage endCursor } } } }"""
UPDATE = """mutation($c: ID!, $s: String!) { updateConversation(input: {conversationId: $c, summary: $s}) {
  conversation { id summary } errors { message } } }"""
FORK = """mutation($c: ID!, $k: String) {
  forkConversation(input: {conversationId: $c, idempotencyKey: $k}) { errors { message } conversation { id }
  conversationEdge { cursor node { id agent { id } messages { nodes { __typename text } } } } } }"""
DELETE = """mutation($c: ID!) { deleteConversation(input: {conversationId: $c}) {
  deletedConversationId errors { message } } }"""
READ = "query($c: ID!) { conversation(id: $c) { id summary messages { nodes { __typename text } } } }"


async def made(stack: Stack, agent_id: str, summary: str | None = None, **who: str) -> str:
    answer = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": summary}, **who)
    conversation_id: str = answer["data"]["createConversation"]["conversationEdge"]["node"]["id"]
    return conversation_id


async def said(stack: Stack, target: dict[str, Any], text: str) -> None:
    given = {"to": target, "content": [{"text": text}], "idempotencyKey": str(uuid.uuid4()), "waitSeconds": 20}
    await things.done(stack, things.SEND, {"i": given})


async def listed(stack: Stack, agent_id: str, *, user: str = ADA, **more: object) -> list[str | None]:
    answer = await stack.graphql(LIST, {"a": agent_id, **more}, user=user)
    return [node["summary"] for node in answer["data"]["agent"]["conversations"]["nodes"]]


async def test_a_search_matches_text_in_the_summary_exactly(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for summary in ("Blue sky", "half of 100% blue", "green_field", "back\\slash", None):
        await made(stack, agent_id, summary)
    for search, found in (
        ("lue", ["half of 100% blue", "Blue sky"]),
        ("blue", ["half of 100% blue"]),
        ("100%", ["half of 100% blue"]),
        ("%", ["half of 100% blue"]),
        ("n_f", ["green_field"]),
        ("_", ["green_field"]),
        ("\\", ["back\\slash"]),
        ("red", []),
    ):
        assert await listed(stack, agent_id, s=search) == found, search
    assert len(await listed(stack, agent_id, s="")) == 5


async def test_a_searched_list_continues_after_a_deleted_conversation(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    ids = [await made(stack, agent_id, f"{'odd' if number % 2 else 'even'} {number}") for number in range(6)]
    page = (await stack.graphql(LIST, {"a": agent_id, "n": 1, "s": "even"}))["data"]["agent"]["conversations"]
    assert ([node["summary"] for node in page["nodes"]], page["pageInfo"]["hasNextPage"]) == (["even 4"], True)
    cursor = page["pageInfo"]["endCursor"]
    await made(stack, agent_id, "even and newer")
    await stack.graphql(DELETE, {"c": ids[4]})
    assert await listed(stack, agent_id, n=9, c=cursor, s="even") == ["even 2", "even 0"]
    assert await listed(stack, agent_id, n=2, c=cursor) == ["odd 3", "even 2"]


async def test_an_unknown_cursor_is_refused(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    cursor = "ImNvbnYtMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIg"
    assert refused(await stack.graphql(LIST, {"a": agent_id, "c": cursor})) == ("BAD_USER_INPUT", "CURSOR")


async def test_a_summary_is_updated(stack: Stack) -> None:
    conversation_id = await made(stack, await stack.make_agent(), "before")
    for summary in ("after", ""):
        answer = await stack.graphql(UPDATE, {"c": conversation_id, "s": summary})
        expected = {"conversation": {"id": conversation_id, "summary": summary}, "errors": []}
        assert answer == {"data": {"updateConversation": expected}}
        read = await stack.graphql(READ, {"c": conversation_id})
        assert read["data"]["conversation"]["summary"] == summary


async def test_a_fork_has_the_earlier_messages_and_then_its_own(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    origin = await made(stack, agent_id)
    await said(stack, {"conversationId": origin}, "first [[tokens=1 delay=0]]")
    payload = (await stack.graphql(FORK, {"c": origin}))["data"]["forkConversation"]
    edge = payload["conversationEdge"]
    assert payload["conversation"] == {"id": edge["node"]["id"]}
    assert edge["node"]["id"] != origin
    assert edge["node"]["agent"] == {"id": agent_id}
    inherited = [m["text"] for m in edge["node"]["messages"]["nodes"] if m["__typename"] != "SystemMessage"]
    assert inherited == ["first [[tokens=1 delay=0]]", "tok0"]
    await said(stack, {"conversationId": edge["node"]["id"]}, "second [[tokens=1 delay=0]]")
    for conversation_id, spoken in ((origin, 1), (edge["node"]["id"], 2)):
        nodes = (await stack.graphql(READ, {"c": conversation_id}))["data"]["conversation"]["messages"]["nodes"]
        assert [node["__typename"] for node in nodes].count("UserMessage") == spoken


def posts(stack: Stack) -> list[str]:
    """Return the POST requests to the embedded Letta; those to the real one are not recorded."""
    return [call for call in stack.calls("letta") if call.startswith("POST")]


async def test_a_conversation_is_created_once_under_its_key(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    given = {"a": agent_id, "s": "once", "k": str(uuid.uuid4())}
    stack.platform.state.calls.clear()
    answers = await asyncio.gather(*(stack.graphql(CREATE_CONVERSATION, given) for _ in range(4)))
    answers.append(await stack.graphql(CREATE_CONVERSATION, given))
    payload = answers[0]["data"]["createConversation"]
    assert payload["conversation"] == {"id": payload["conversationEdge"]["node"]["id"], "summary": "once"}
    assert answers == [answers[0]] * 5
    assert len(posts(stack)) == (0 if stack.real else 1)
    for other in ({"s": "twice"}, {"a": await stack.make_agent()}):
        assert refused(await stack.graphql(CREATE_CONVERSATION, given | other)) == ("CONFLICT", "KEY_REUSED")
    assert await listed(stack, agent_id) == ["once"]


async def test_users_can_have_equal_keys(stack: Stack) -> None:
    key = str(uuid.uuid4())
    mine = await stack.graphql(CREATE_CONVERSATION, {"a": await stack.make_agent(), "k": key})
    graces = await stack.make_agent(GRACE)
    hers = await stack.graphql(CREATE_CONVERSATION, {"a": graces, "k": key}, user=GRACE)
    ids = [answer["data"]["createConversation"]["conversation"]["id"] for answer in (mine, hers)]
    assert len(set(ids)) == 2
    assert await listed(stack, graces, user=GRACE) == [None]


@pytest.mark.parametrize("key", ["", "k" * 201])
async def test_an_invalid_key_is_refused(stack: Stack, key: str) -> None:
    agent_id = await stack.make_agent()
    answer = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id, "k": key})
    assert refused(answer) == ("BAD_USER_INPUT", "KEY")
    assert await listed(stack, agent_id) == []


async def test_a_fork_is_created_once_under_its_key_even_if_its_origin_is_deleted(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    origin, key = await made(stack, agent_id, "origin"), str(uuid.uuid4())
    stack.platform.state.calls.clear()
    first = (await stack.graphql(FORK, {"c": origin, "k": key}))["data"]["forkConversation"]
    assert len(posts(stack)) == (0 if stack.real else 1)
    await stack.graphql(DELETE, {"c": origin})
    again = (await stack.graphql(FORK, {"c": origin, "k": key}))["data"]["forkConversation"]
    assert again["conversation"] == first["conversation"]
    other = await made(stack, agent_id)
    assert refused(await stack.graphql(FORK, {"c": other, "k": key})) == ("CONFLICT", "KEY_REUSED")
    assert code_of(await stack.graphql(FORK, {"c": origin, "k": key}, user=GRACE)) == "NOT_FOUND"


async def test_a_conversation_is_deleted_once(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    conversation_id = await made(stack, agent_id, "soon gone")
    answer = await stack.graphql(DELETE, {"c": conversation_id})
    assert answer == {"data": {"deleteConversation": {"deletedConversationId": conversation_id, "errors": []}}}
    assert await listed(stack, agent_id) == []
    for query, given in ((DELETE, {}), (READ, {}), (FORK, {}), (UPDATE, {"s": "back again"})):
        assert code_of(await stack.graphql(query, {"c": conversation_id, **given})) == "NOT_FOUND"


async def test_deleting_a_conversation_cancels_its_run(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    conversation_id, other = await made(stack, agent_id), await made(stack, agent_id)
    query = MESSAGE.replace("outcome", "outcome run { status } conversation { id }")
    words = [{"text": "hi [[tokens=400 delay=0.05]]"}]
    turn = {"i": {"to": {"conversationId": conversation_id}, "content": words}, "k": str(uuid.uuid4())}
    kept_on = {"to": {"conversationId": other}, "content": words, "idempotencyKey": str(uuid.uuid4())}
    beside = (await things.done(stack, things.SEND, {"i": kept_on}))["run"]["id"]
    async with aclosing(events(stack, "event stream", query, turn)) as heard:
        await anext(heard)
        assert (await stack.graphql(DELETE, {"c": conversation_id}))["data"]["deleteConversation"]["errors"] == []
        end = [event async for event in heard][-1]
    assert (end["outcome"], end["run"]["status"]) == ("CANCELLED", "CANCELLED")
    assert end["conversation"] in (None, {"id": conversation_id})  # the event may come before the deletion
    still = "query($r: ID!) { run(id: $r) { status } }"
    assert (await stack.graphql(still, {"r": beside}))["data"]["run"]["status"] == "RUNNING"
    await stack.graphql("mutation($r: ID!) { cancelRun(input: {runId: $r}) { run { status } } }", {"r": beside})


async def test_a_default_conversation_cannot_be_changed(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    stack.platform.state.calls.clear()
    for query, given in ((UPDATE, {"s": "mine"}), (FORK, {}), (DELETE, {})):
        answer = await stack.graphql(query, {"c": f"conversation:{agent_id}", **given})
        assert refused(answer) == ("BAD_USER_INPUT", "DEFAULT_CONVERSATION")
    assert stack.calls("letta") == []


async def test_a_conversation_of_another_user_is_not_changed(stack: Stack) -> None:
    graces = await stack.make_agent(GRACE)
    conversation_id = await made(stack, graces, "Grace's own", user=GRACE)
    await stack.make_agent()
    stack.platform.state.calls.clear()
    for query, given in ((UPDATE, {"s": "taken"}), (FORK, {}), (DELETE, {})):
        for wanted in (conversation_id, f"conversation:{graces}", "conv-../../agents", f"conv-{uuid.uuid4()}"):
            assert code_of(await stack.graphql(query, {"c": wanted, **given})) == "NOT_FOUND"
    assert {call.split()[0] for call in stack.calls("letta")} <= {"GET"}
    assert code_of(await stack.graphql(LIST, {"a": graces, "s": "own"})) == "NOT_FOUND"
    read = await stack.graphql(READ, {"c": conversation_id}, user=GRACE)
    assert read["data"]["conversation"]["summary"] == "Grace's own"
