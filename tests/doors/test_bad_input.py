"""Invalid input is reported as the caller's error, never as INTERNAL_ERROR or as the error of a service."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from tests.support import things
from tests.support.documents import FOLLOW
from tests.support.stack import Stack, embedded_stack

NUL = "a\0b"
DEEP = json.loads("[" * 500 + "]" * 500)


def cursor(*place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


CURSORS = {
    "no zone": cursor("2024-01-01T00:00:00", "run-11111111-1111-4111-8111-111111111111"),
    "year one": cursor("0001-01-01T00:00:00", "x"),
    "far too long": cursor("x" * 5000),
    "nested": base64.urlsafe_b64encode(b'["2024-01-01T00:00:00Z",' + b"[" * 700).rstrip(b"=").decode(),
}


@pytest.mark.parametrize("given", CURSORS.values(), ids=CURSORS)
async def test_a_forged_cursor_is_refused(stack: Stack, given: str) -> None:
    lists = ["runs", "passages", "conversations", "messages"]
    fields = " ".join(f'{name}(first: 2, after: "{given}") {{ edges {{ cursor }} }}' for name in lists)
    query = f"""query($id: ID!) {{
      agent(id: $id) {{ {fields} active: runs(active: true, after: "{given}") {{ edges {{ cursor }} }} }}
      viewer {{ agents(after: "{given}") {{ nodes {{ id }} }} }}
      templates(after: "{given}") {{ nodes {{ id }} }} }}"""
    answer = await stack.graphql(query, {"id": await stack.make_agent()})
    reasons = {error["path"][-1]: error["extensions"].get("reason") for error in answer["errors"]}
    assert reasons == dict.fromkeys([*lists, "active", "agents", "templates"], "CURSOR")


@pytest.mark.parametrize(
    "asked",
    [
        "createConversation(input: {agentId: $id, summary: $text}) { errors { message } }",
        'insertPassage(input: {agentId: $id, text: "t", tags: [$text]}) { errors { message } }',
        "updateAgent(input: {agentId: $id, description: $text}) { errors { message } }",
    ],
)
@pytest.mark.parametrize("text", [NUL, "x" * 200_001], ids=["NUL", "long"])
async def test_texts_that_letta_cannot_store_are_refused(stack: Stack, asked: str, text: str) -> None:
    variables = {"id": await stack.make_agent(), "text": text}
    before = len(stack.calls("letta"))
    answer = await stack.graphql(f"mutation($id: ID!, $text: String!) {{ {asked} }}", variables)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert len(stack.calls("letta")) == before


async def test_searches_and_summaries_with_nul_are_refused(stack: Stack) -> None:
    conversation_id = await things.conversation(stack)
    answer = await stack.graphql(
        "query($id: ID!, $t: String) { agent(id: $id) { conversations(search: $t) { nodes { id } } } }",
        {"id": await stack.make_agent(), "t": NUL},
    )
    assert answer["errors"][0]["extensions"]["reason"] == "TEXT"
    answer = await stack.graphql(
        "mutation($id: ID!, $t: String!) { updateConversation(input: {conversationId: $id, summary: $t}) "
        "{ errors { message } } }",
        {"id": conversation_id, "t": NUL},
    )
    assert answer["errors"][0]["extensions"]["reason"] == "TEXT"


async def test_a_huge_id_is_not_found(stack: Stack) -> None:
    ids = ["template:support-bot", "template:" + "x" * 70_000, "template:a,b"]
    answer = await stack.graphql("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ids})
    assert answer["data"]["nodes"] == [{"id": ids[0]}, None, None]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"NOT_FOUND"}
    searched = await stack.graphql("query($s: String) { templates(search: $s) { nodes { id } } }", {"s": "x" * 70_000})
    assert searched["errors"][0]["extensions"]["reason"] == "TEXT"


async def test_deeply_nested_input_is_refused(stack: Stack) -> None:
    asked: dict[str, Any] = {
        "model": stack.chat_model,
        "messages": [{"role": "USER", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"deep": DEEP}}}],
        "idempotencyKey": "deep",
    }
    query = "mutation($i: CompletionInput!) { startCompletion(input: $i) { errors { message } } }"
    answer = await stack.graphql(query, {"i": asked})
    assert all(error["extensions"]["code"] == "BAD_USER_INPUT" for error in answer.get("errors", []))


async def test_a_follow_ends_when_its_token_expires() -> None:
    async with embedded_stack(stream_grace_seconds=0) as stack:
        agent_id = await stack.make_agent()
        token = stack.token(lifetime_seconds=1)
        began = time.monotonic()
        headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        body = {"query": FOLLOW, "variables": {"id": f"conversation:{agent_id}"}}
        async with asyncio.timeout(20), stack.client.stream("POST", "/graphql", json=body, headers=headers) as response:
            lines = [line async for line in response.aiter_lines()]
        assert any("SIGNED_OUT" in line or "ReaderDetached" in line for line in lines)
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "source",
    [
        "[" * 200_000,
        "- " * 100_000 + "x",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "a: &a [*a]",
    ],
    ids=["deep", "deep in blocks", "a billion laughs", "itself"],
)
async def test_an_agent_file_that_expands_too_far_is_invalid(stack: Stack, source: str) -> None:
    query = "query($s: String!) { templateValidation(source: $s) { valid problems } }"
    answer = await stack.graphql(query, {"s": source})
    assert answer["data"]["templateValidation"]["valid"] is False


@pytest.mark.parametrize("written", ["{}", '{text: "a", image: {url: "https://a.example/b.png"}}', "{text: null}"])
async def test_a_one_of_input_takes_exactly_one_field(stack: Stack, written: str) -> None:
    query = f"""mutation($id: ID!) {{
      sendMessage(input: {{to: {{agentId: $id}}, content: [{written}], idempotencyKey: "one"}}) {{ __typename }}
    }}"""
    answer = await stack.graphql(query, {"id": await stack.make_agent()})
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"GRAPHQL_VALIDATION_FAILED"}


async def test_introspection_shows_one_of_inputs(stack: Stack) -> None:
    query = '{ __type(name: "MessageTarget") { isOneOf } }'
    assert (await stack.graphql(query))["data"]["__type"]["isOneOf"] is True
