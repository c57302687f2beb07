"""Images in messages to agents."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.doors import DOORS, events
from tests.support.images import DOT, PIXEL
from tests.support.stack import Stack

SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) {
  userMessageEdge { node { id text ... on UserMessage { images { url mediaType } } } }
  run { status } stream { id } errors { message } } }"""
LIST = """query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { id text __typename
  ... on UserMessage { images { url mediaType } } } } } }"""


def sent(agent_id: str, *content: dict[str, Any], **more: Any) -> dict[str, Any]:
    key = str(uuid.uuid4())
    return {"i": {"to": {"agentId": agent_id}, "content": list(content), "idempotencyKey": key, **more}}


async def test_an_image_is_sent_and_read_again(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    words = {"text": "what is this? [[tokens=2 delay=0]]"}
    answer = await stack.graphql(SEND, sent(agent_id, words, {"image": {"url": DOT}}, waitSeconds=20))
    assert "errors" not in answer, answer
    payload = answer["data"]["sendMessage"]
    assert payload["run"]["status"] == "COMPLETED"
    shown = payload["userMessageEdge"]["node"]
    assert shown["text"] == words["text"]
    assert shown["images"] == [{"url": DOT, "mediaType": "image/png"}]
    listed = (await stack.graphql(LIST, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    [again] = [node for node in listed if node["__typename"] == "UserMessage"]
    assert again == {"__typename": "UserMessage", **shown}
    assert listed[-1]["text"].split() == ["tok0", "tok1"]
    assert PIXEL in again["images"][0]["url"]


async def test_an_image_alone_is_a_message(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    answer = await stack.graphql(SEND, sent(agent_id, {"image": {"url": DOT, "detail": "HIGH"}}, waitSeconds=20))
    assert answer["data"]["sendMessage"]["run"]["status"] == "COMPLETED"
    assert answer["data"]["sendMessage"]["userMessageEdge"]["node"]["text"] == ""


async def test_a_message_without_images_has_none(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    answer = await stack.graphql(SEND, sent(agent_id, {"text": "hi [[tokens=1 delay=0]]"}, waitSeconds=20))
    assert answer["data"]["sendMessage"]["userMessageEdge"]["node"]["images"] == []


@pytest.mark.parametrize("door", DOORS)
async def test_an_image_in_a_stream(stack: Stack, door: str) -> None:
    agent_id = await stack.make_agent()
    query = """subscription($i: SendMessageInput!, $k: ID!) { message(input: $i, streamKey: $k) { __typename
      ... on StreamStarted { userMessageEdge { node { ... on UserMessage { images { url } } } } }
      ... on StreamEnded { outcome } } }"""
    given = sent(agent_id, {"text": "see [[tokens=2 delay=0]]"}, {"image": {"url": DOT}}) | {"k": str(uuid.uuid4())}
    read = [event async for event in events(stack, door, query, given)]
    assert read[0]["userMessageEdge"]["node"]["images"] == [{"url": DOT}]
    assert read[-1]["outcome"] == "COMPLETED"


async def test_an_image_that_cannot_be_fetched_fails_the_turn(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    image = {"image": {"url": "https://no-such-host.agentgraph.example.com/cat.png"}}
    query = """subscription($i: SendMessageInput!, $k: ID!) { message(input: $i, streamKey: $k) { __typename
      ... on StreamEnded { outcome error { code reason message } } } }"""
    given = sent(agent_id, {"text": "see"}, image) | {"k": str(uuid.uuid4())}
    read = [event async for event in events(stack, "websocket", query, given)]
    assert read[-1]["outcome"] == "FAILED"
    assert (read[-1]["error"]["code"], read[-1]["error"]["reason"]) == ("BAD_USER_INPUT", "IMAGE")
    assert "no-such-host" not in str(read)
    listed = (await stack.graphql(LIST, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    assert not [node for node in listed if node["__typename"] == "UserMessage"]


@pytest.mark.parametrize(
    "url", ["http://example.com/a.png", "https://127.0.0.1/a.png", "data:image/svg+xml;base64,aGk="]
)
async def test_an_invalid_image_is_refused_before_letta(stack: Stack, url: str) -> None:
    agent_id = await stack.make_agent()
    stack.platform.state.calls.clear()
    answer = await stack.graphql(SEND, sent(agent_id, {"image": {"url": url}}))
    facts = answer["errors"][0]["extensions"]
    assert (facts["code"], facts["reason"]) == ("BAD_USER_INPUT", "IMAGE")
    assert not any("/messages" in call for call in stack.calls("letta"))


async def test_an_empty_message_is_refused(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for content in ([], [{"text": "  "}], [{"text": ""}, {"text": "\n"}]):
        answer = await stack.graphql(SEND, sent(agent_id, *content))
        assert answer["errors"][0]["extensions"]["reason"] == "EMPTY"
