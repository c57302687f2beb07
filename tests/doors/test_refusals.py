"""Refusals have the format of the client's ``Accept``, whatever their cause and time."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import refusal
from tests.support.stack import Stack, any_stack, opened_socket
from tests.support.streaming import completion

SSE, MULTIPART = "text/event-stream", "multipart/mixed"
PLAIN, RESPONSE = "application/json", "application/graphql-response+json"
APOLLO = f"{MULTIPART};boundary=graphql;subscriptionSpec=1.0,{RESPONSE},{PLAIN};q=0.9"
URQL = f"{SSE}, {MULTIPART}"
URQL_QUERY = f"{RESPONSE}, application/graphql+json, {PLAIN}, {SSE}, {MULTIPART}"

NOT_FOUND = {"query": STREAM, "variables": {"id": f"stream:{uuid.uuid4()}"}}
INVALID = {"query": "{ nope }"}
QUERY = {"query": "query($id: ID!) { stream(id: $id) { status } }", "variables": {}}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with any_stack(rate_limit_general=0, rate_limit_llm=0) as running:
        yield running


@pytest.mark.parametrize(
    ("accept", "asked", "signed_in", "media", "status"),
    [
        (SSE, NOT_FOUND, True, SSE, 200),
        (SSE, NOT_FOUND, False, SSE, 200),
        (SSE, INVALID, True, SSE, 200),
        (SSE, QUERY, True, SSE, 200),
        ("TEXT/Event-Stream", NOT_FOUND, True, SSE, 200),
        (URQL, NOT_FOUND, True, SSE, 200),
        (URQL, NOT_FOUND, False, SSE, 200),
        (URQL_QUERY, QUERY, True, RESPONSE, 400),
        (URQL_QUERY, QUERY, False, RESPONSE, 401),
        (APOLLO, NOT_FOUND, True, MULTIPART, 200),
        (APOLLO, NOT_FOUND, False, MULTIPART, 200),
        (APOLLO, QUERY, True, RESPONSE, 400),
        (f"{PLAIN}, {SSE}", NOT_FOUND, True, SSE, 200),
        (f"{PLAIN}, {SSE}", NOT_FOUND, False, SSE, 200),
        (PLAIN, NOT_FOUND, False, PLAIN, 401),
        (f"{PLAIN}, {SSE}", INVALID, True, PLAIN, 200),
        (f"{SSE};q=0.1, {PLAIN}", QUERY, True, PLAIN, 200),
        (f"{SSE};q=0, {PLAIN}", INVALID, True, PLAIN, 200),
        (f"{MULTIPART};deferSpec=20220824,{PLAIN}", QUERY, False, PLAIN, 401),
        (f"{MULTIPART};incrementalSpec=v0.2,{RESPONSE}", QUERY, False, RESPONSE, 401),
        ("*/*", NOT_FOUND, False, PLAIN, 401),
        (PLAIN, NOT_FOUND, True, PLAIN, 406),
        (MULTIPART, QUERY, True, PLAIN, 406),
        ("text/html", QUERY, True, PLAIN, 406),
    ],
)
async def test_a_refusal_comes_in_the_form_that_the_client_chose(
    stack: Stack, accept: str, asked: dict[str, Any], signed_in: bool, media: str, status: int
) -> None:
    headers = {"accept": accept} | (stack.headers() if signed_in else {})
    answer = await stack.client.post("/graphql", json=asked, headers=headers)
    assert (answer.headers["content-type"].partition(";")[0], answer.status_code) == (media, status)
    assert answer.text.count('"errors"') == 1


@pytest.mark.parametrize("accept", [SSE, APOLLO])
async def test_a_refusal_in_a_stream_keeps_its_headers(stack: Stack, accept: str) -> None:
    refused = await stack.client.post("/graphql", json=NOT_FOUND, headers={"accept": accept})
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["cache-control"] == "no-cache, no-transform"
    coded = stack.headers() | {"accept": accept, "content-encoding": "br"}
    refused = await stack.client.post("/graphql", json=NOT_FOUND, headers=coded)
    assert refused.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"content": b"{"}, "BAD_USER_INPUT"),
        ({"content": b"{}"}, "BAD_USER_INPUT"),
        ({"headers": {"content-type": "text/plain"}}, "BAD_USER_INPUT"),
        ({"headers": {"content-encoding": "zstd"}}, "BAD_USER_INPUT"),
        ({"content": b'{"extensions": {"persistedQuery": {}}}'}, "PERSISTED_QUERY_NOT_SUPPORTED"),
    ],
)
async def test_errors_of_the_request_itself_are_reported_in_the_stream(
    stack: Stack, changes: dict[str, Any], code: str
) -> None:
    headers = stack.headers() | {"accept": SSE, "content-type": "application/json", **changes.get("headers", {})}
    content = changes.get("content", b'{"query": "{ __typename }"}')
    answer = await stack.client.post("/graphql", content=content, headers=headers)
    [error] = refusal(answer)["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (200, code)


async def test_a_method_that_is_not_allowed_keeps_its_status(stack: Stack) -> None:
    headers = stack.headers() | {"accept": SSE}
    mutation = 'mutation { createConversation(input: {agentId: "x"}) { errors { message } } }'
    by_get = await stack.client.get("/graphql", params={"query": mutation}, headers=headers)
    put = await stack.client.put("/graphql", headers=headers)
    assert [(one.status_code, one.headers["allow"]) for one in (by_get, put)] == [(405, "POST"), (405, "GET, POST")]
    assert by_get.json()["errors"]


BEGINS = {
    "message": ("$i: SendMessageInput!, $k: ID!", "message(input: $i, streamKey: $k)"),
    "completion": ("$i: CompletionInput!, $k: ID!", "completion(input: $i, streamKey: $k)"),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("accept", [SSE, "multipart/mixed", "application/json"])
@pytest.mark.parametrize("begins", ["message", "completion", "completion in a fragment"])
async def test_a_get_starts_no_turn_or_completion(stack: Stack, begins: str, accept: str, method: str) -> None:
    parameters, field = BEGINS[begins.partition(" ")[0]]
    selections = f"... on Subscription {{ ...F }} }} fragment F on Subscription {{ {field} {{ cursor }} }}"
    query = f"subscription({parameters}) {{ " + (selections if "fragment" in begins else f"{field} {{ cursor }} }}")
    to = {"agentId": await stack.make_agent()}
    given = {"to": to, "content": [{"text": "hi"}]} if begins == "message" else completion(stack, "tokens=1 delay=0")
    params = {"query": query, "variables": json.dumps({"i": given, "k": "k"})}
    before = (await stack.model_stats())["total"], stack.calls("letta")
    answer = await stack.client.request(method, "/graphql", params=params, headers=stack.headers() | {"accept": accept})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert ((await stack.model_stats())["total"], stack.calls("letta")) == before
    if method == "GET":
        [error] = answer.json()["errors"]
        assert error["message"] == "Subscriptions that start a turn or stream require POST."


async def test_a_get_attaches_to_a_stream(stack: Stack) -> None:
    async with opened_socket(stack) as socket:
        given = {"i": completion(stack, "tokens=3 delay=0"), "k": "for a get"}
        [started, *_, ended] = [event async for event in socket.events(COMPLETION, given)]
    params = {"query": STREAM, "variables": json.dumps({"id": started["stream"]["id"]})}
    answer = await stack.client.get("/graphql", params=params, headers=stack.headers() | {"accept": SSE})
    assert answer.status_code == 200
    assert ended["cursor"] in answer.text
    assert '"outcome":"COMPLETED"' in answer.text


async def test_a_get_follows_a_conversation() -> None:
    async with any_stack(stream_heartbeat_seconds=0.05) as stack:
        agent = await stack.make_agent()
        found = await stack.graphql("query($a: ID!) { agent(id: $a) { defaultConversation { id } } }", {"a": agent})
        query = "subscription($id: ID!) { conversation(id: $id) { cursor } }"
        params = {"query": query, "variables": json.dumps({"id": found["data"]["agent"]["defaultConversation"]["id"]})}
        headers = stack.headers() | {"accept": SSE}
        async with stack.client.stream("GET", "/graphql", params=params, headers=headers) as following:
            assert following.status_code == 200
            begun = (await anext(following.aiter_bytes())).decode()
            assert re.fullmatch(r"retry: \d+\n:\n", begun)
