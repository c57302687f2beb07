"""The audit log of a gateway, at every endpoint: one line per act, and no line about reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from app.audit import MAX_LINES
from tests.support import things
from tests.support.documents import (
    AGENT_MEMORY,
    COMPLETION,
    CREATE_CONVERSATION,
    DASHBOARD,
    INSERT_PASSAGE,
    MESSAGE,
    SEND_MESSAGE,
    STREAM,
    UPDATE_MEMORY_BLOCK,
)
from tests.support.doors import DOORS, events
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, opened_socket, until
from tests.support.streaming import completion, message_input
from tests.support.websocket import PROTOCOL

REVOKE = "mutation($id: String!) { revokeSession(input: {sessionId: $id}) { sessionId } }"
PUBLISH = "mutation($s: String!) { publishTemplate(input: {source: $s}) { errors { __typename } template { id } } }"
DELETE = "mutation($a: ID!) { deleteAgent(input: {agentId: $a}) { deletedAgentId } }"
Line = dict[str, Any]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with embedded_stack(rate_limit_llm=0) as running:
        yield running


class Trail:
    """The audit lines that a gateway has written since the creation of this object."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._start = len(stack.log.getvalue())

    @property
    def lines(self) -> list[Line]:
        lines = map(json.loads, self._stack.log.getvalue()[self._start :].splitlines())
        return [line for line in lines if line.get("logger") == "audit"]

    def line(self) -> Line:
        """Return the only line, without its time and duration."""
        [line] = self.lines
        return facts(line)


def facts(line: Line) -> Line:
    assert line.pop("timestamp")
    assert isinstance(line.pop("ms", 0.0), float)
    assert line.pop("request_id")
    assert line.pop("logger") == "audit"
    assert line.pop("level") == ("warning" if line["event"] in {"sign-in failed", "limit"} else "info")
    return line


def acted(event: str, name: str, **more: Any) -> Line:
    act = {"event": event, "name": name, "user": ADA, "role": "user", "outcome": "ok", "endpoint": "http"}
    return act | {"objects": {}, **more}


async def test_reads_leave_no_line(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    sent = await things.sent(stack, agent_id=agent_id)
    trail = Trail(stack)
    await stack.graphql(DASHBOARD)
    await stack.graphql(AGENT_MEMORY, {"a": agent_id})
    async for _ in events(stack, "event stream", STREAM, {"id": sent["stream"]["id"]}):
        pass
    await stack.client.get("/v1/models", headers=stack.headers())
    await stack.client.post("/graphql", json={"query": "mutation { __typename }"}, headers=stack.headers())
    assert trail.lines == []


async def test_a_mutation_is_logged_with_the_ids_of_its_objects(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    trail = Trail(stack)
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id, "s": "secret topic"})
    conversation_id = made["conversation"]["id"]
    ids = {"agentId": agent_id, "conversationId": conversation_id}
    assert trail.line() == acted("mutation", "createConversation", objects=ids)


async def test_a_line_has_the_request_id_that_the_client_receives(stack: Stack) -> None:
    trail = Trail(stack)
    body = {"query": DELETE, "variables": {"a": await stack.make_agent()}}
    answer = await stack.client.post("/graphql", json=body, headers=stack.headers())
    assert [line["request_id"] for line in trail.lines] == [answer.headers["x-request-id"]]


async def test_memory_and_messages_are_logged_without_their_text(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    block = (await stack.graphql(AGENT_MEMORY, {"a": agent_id}))["data"]["agent"]["memoryBlocks"][0]["id"]
    trail = Trail(stack)
    await things.done(stack, UPDATE_MEMORY_BLOCK, {"b": block, "v": "canary-value"})
    passage = await things.done(stack, INSERT_PASSAGE, {"a": agent_id, "t": "canary-text", "g": ["canary-tag"]})
    say = {"i": message_input(agent_id) | {"idempotencyKey": "canary-key"}}
    sent = await things.done(stack, SEND_MESSAGE, say)
    passage_id = passage["passageEdges"][0]["node"]["id"]
    logged = [(line["name"], line["objects"]) for line in trail.lines]
    assert logged[:2] == [
        ("updateMemoryBlock", {"blockId": block}),
        ("insertPassage", {"agentId": agent_id, "passageId": passage_id}),
    ]
    name, objects = logged[2]
    assert name == "sendMessage"
    assert (
        objects.items() >= {"agentId": agent_id, "streamId": sent["stream"]["id"], "runId": sent["run"]["id"]}.items()
    )
    assert "canary" not in json.dumps(trail.lines)


async def test_a_retry_with_the_key_is_logged_as_replayed(stack: Stack) -> None:
    agent_id, key = await stack.make_agent(), str(uuid.uuid4())
    complete = "mutation($i: CompletionInput!) { complete(input: $i) { text } }"
    acts: list[tuple[str, Line]] = [
        (INSERT_PASSAGE, {"a": agent_id, "t": "canary", "k": key}),
        (SEND_MESSAGE, {"i": message_input(agent_id) | {"idempotencyKey": key}}),
        (complete, {"i": completion(stack, "tokens=2") | {"idempotencyKey": key}}),
    ]
    for query, variables in acts:
        trail = Trail(stack)
        await stack.graphql(query, variables)
        await stack.graphql(query, variables)
        first, second = trail.lines
        assert (first["outcome"], second["outcome"], first["objects"]) == ("ok", "ok", second["objects"])
        assert (first.get("replayed"), second.get("replayed")) == (None, True), first["name"]
    made = (await stack.graphql(complete.replace("text", "stream { id }"), acts[2][1]))["data"]["complete"]
    trail = Trail(stack)
    cancel = "mutation($s: ID!) { cancelStream(input: {streamId: $s}) { stream { id } } }"
    await stack.graphql(cancel, {"s": made["stream"]["id"]})
    assert trail.line() == acted("mutation", "cancelStream", objects={"streamId": made["stream"]["id"]})


async def test_a_mutation_whose_client_disconnects_is_logged_as_cancelled(stack: Stack) -> None:
    asked = completion(stack, "tokens=50 delay=0.1") | {"idempotencyKey": str(uuid.uuid4())}
    trail = Trail(stack)
    async with opened_socket(stack) as socket:
        await socket.subscribe("mutation($i: CompletionInput!) { complete(input: $i) { text } }", {"i": asked})
        operation_id = await socket.subscribe("{ viewer { id } }")
        assert (await socket.hear())["id"] == operation_id, "the mutation has begun earlier, and has not ended"
    await until(lambda: bool(trail.lines))
    assert trail.line() == acted("mutation", "complete", outcome="cancelled", endpoint="websocket")


async def test_each_mutation_of_a_request_has_a_line(stack: Stack) -> None:
    agents = [await stack.make_agent() for _ in range(2)]
    query = f"""mutation {{ one: deleteAgent(input: {{agentId: "{agents[0]}"}}) {{ deletedAgentId }}
      none: deleteAgent(input: {{agentId: "agent-{uuid.uuid4()}"}}) {{ deletedAgentId }} }}"""
    trail = Trail(stack)
    await stack.graphql(query)
    first, second = trail.lines
    assert facts(first) == acted("mutation", "deleteAgent", objects={"agentId": agents[0]})
    assert (second["outcome"], second["error"]) == ("error", "NOT_FOUND")
    assert second["objects"]["agentId"].startswith("agent-")


async def test_a_mutation_over_websocket_has_one_line(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    trail = Trail(stack)
    async with opened_socket(stack) as socket:
        await socket.subscribe(DELETE, {"a": agent_id})
        assert (await socket.hear())["type"] == "next"
    expected = acted("mutation", "deleteAgent", objects={"agentId": agent_id}, endpoint="websocket")
    assert trail.line() == expected


async def test_a_user_error_is_logged_by_its_type(stack: Stack) -> None:
    trail = Trail(stack)
    admin = {"authorization": f"Bearer {stack.token(GRACE, admin=True)}"}
    body = {"query": PUBLISH, "variables": {"s": "canary: [not an agent file"}}
    answer = (await stack.client.post("/graphql", json=body, headers=admin)).json()
    assert answer["data"]["publishTemplate"]["errors"] == [{"__typename": "TemplateInvalid"}]
    more = {"user": GRACE, "role": "admin", "outcome": "user error", "error": "TemplateInvalid"}
    assert trail.line() == acted("mutation", "publishTemplate", **more)


async def test_an_admins_act_and_a_users_attempt_are_logged(stack: Stack) -> None:
    session_id = str(uuid.uuid4())
    trail = Trail(stack)
    body = {"query": REVOKE, "variables": {"id": session_id}}
    for role, more in (
        ("user", {"outcome": "error", "error": "FORBIDDEN", "reason": "ROLE"}),
        ("admin", {}),
    ):
        token = stack.token(ADA, admin=role == "admin")
        await stack.client.post("/graphql", json=body, headers={"authorization": f"Bearer {token}"})
        line = facts(trail.lines[-1])
        assert line == acted("mutation", "revokeSession", role=role, objects={"sessionId": session_id}, **more)
    assert len(trail.lines) == 2


async def test_invalid_arguments_are_logged_without_their_values(stack: Stack) -> None:
    trail = Trail(stack)
    body = {"query": DELETE, "variables": {"a": 'canary"\n{"event": "mutation"}'}}
    await stack.client.post("/graphql", json=body, headers=stack.headers())
    line = trail.line()
    assert (line["objects"], line["outcome"], line["error"]) == ({"agentId": "(hidden)"}, "error", "NOT_FOUND")


@pytest.mark.parametrize("door", DOORS)
async def test_a_subscription_that_starts_a_model_call_has_one_line(stack: Stack, door: str) -> None:
    endpoint = "websocket" if door == "websocket" else "http"
    key, agent_id = str(uuid.uuid4()), await stack.make_agent()
    started = {}
    for query, asked, name, objects in (
        (MESSAGE, message_input(agent_id), "message", {"agentId": agent_id}),
        (COMPLETION, completion(stack, "tokens=2"), "completion", {}),
    ):
        trail = Trail(stack)
        heard = [event async for event in events(stack, door, query, {"i": asked, "k": key})]
        started = {"streamId": heard[0]["stream"]["id"]}
        line = trail.line()
        line["objects"].pop("runId", None)
        assert line == acted("subscription", name, objects=objects | started, endpoint=endpoint)
    trail = Trail(stack)
    assert [event async for event in events(stack, door, COMPLETION, {"i": asked, "k": key})]
    assert trail.line() == acted("subscription", "completion", objects=started, replayed=True, endpoint=endpoint)


@pytest.mark.parametrize("door", DOORS)
async def test_a_completion_that_calls_the_model_again_is_not_logged_as_replayed(stack: Stack, door: str) -> None:
    complete = "mutation($i: CompletionInput!) { complete(input: $i) { text } }"
    given = {"i": completion(stack, "tokens=4 error=cut delay=0", idempotencyKey=str(uuid.uuid4()))}
    keyed, body = stack.headers() | {"idempotency-key": str(uuid.uuid4())}, chat(stack, "error=cut", stream=True)
    left = {"i": completion(stack, "tokens=50 delay=0.02"), "k": str(uuid.uuid4())}
    calls, trail = (await stack.model_stats())["total"], Trail(stack)
    for _ in range(2):
        await stack.graphql(complete, given)
        await stack.client.post("/v1/chat/completions", json=body, headers=keyed)
    async with aclosing(events(stack, door, COMPLETION, left)) as reading:
        async for event in reading:
            if event["__typename"] == "TextDelta":
                break
    again = [event async for event in events(stack, door, COMPLETION, left)]
    assert again[0]["replayed"] is True
    assert (await stack.model_stats())["total"] == calls + 6
    assert [line.get("replayed") for line in trail.lines] == [None] * 6


async def test_a_refused_subscription_has_one_line(stack: Stack) -> None:
    trail = Trail(stack)
    asked = {"query": MESSAGE, "variables": {"i": message_input(f"agent-{uuid.uuid4()}"), "k": "refused"}}
    headers = stack.headers() | {"accept": "text/event-stream"}
    await stack.client.post("/graphql", json=asked, headers=headers)
    line = trail.line()
    assert (line["name"], line["outcome"], line["error"]) == ("message", "error", "NOT_FOUND")


def chat(stack: Stack, directive: str = "tokens=2", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"canary [[{directive}]]"}]
    return {"model": stack.chat_model, "messages": messages, **more}


async def test_a_model_call_of_v1_has_one_line(stack: Stack) -> None:
    path, model = "/v1/chat/completions", {"model": stack.chat_model}
    trail = Trail(stack)
    await stack.client.post(path, json=chat(stack), headers=stack.headers())
    assert trail.line() == acted("model call", path, objects=model, endpoint="v1")
    keyed = stack.headers() | {"idempotency-key": str(uuid.uuid4())}
    for replayed in ({}, {"replayed": True}):
        trail = Trail(stack)
        await stack.client.post(path, json=chat(stack), headers=keyed)
        assert trail.line() == acted("model call", path, objects=model, endpoint="v1", **replayed)
    trail = Trail(stack)
    answer = await stack.client.post(path, json=chat(stack, stream=True), headers=stack.headers())
    streamed = model | {"streamId": answer.headers["x-stream-id"]}
    assert trail.line() == acted("model call", path, objects=streamed, endpoint="v1")


async def test_a_model_call_that_fails_is_logged_without_the_clients_text(stack: Stack) -> None:
    trail = Trail(stack)
    for stream in (False, True):
        await stack.client.post(
            "/v1/chat/completions", json=chat(stack, model="canary-model", stream=stream), headers=stack.headers()
        )
    assert [(line["outcome"], line["objects"]) for line in trail.lines] == [("error", {"model": "(hidden)"})] * 2
    assert {line["reason"] for line in trail.lines} == {"MODEL_NOT_FOUND"}


async def test_an_internal_error_of_a_model_call_is_no_cancellation(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("canary")

    monkeypatch.setattr("app.rest.relay.naming", broken)
    trail = Trail(stack)
    answer = await stack.client.post("/v1/chat/completions", json=chat(stack), headers=stack.headers())
    assert answer.status_code == 500
    line = trail.line()
    assert (line["outcome"], line["error"]) == ("error", "INTERNAL_ERROR")


async def test_a_model_call_of_an_agent_is_logged_for_its_user(stack: Stack) -> None:
    trail = Trail(stack)
    asked = {"model": stack.embedding_model, "input": "canary"}
    headers = {"authorization": f"Bearer {stack.agent_secret()}"}
    assert (await stack.client.post(f"{stack.proxy()}/embeddings", json=asked, headers=headers)).status_code == 200
    name = "/api/v1/agents/{user_id}/proxy/embeddings"
    assert trail.line() == acted("model call", name, objects={"model": stack.embedding_model}, endpoint="proxy")


async def test_failed_sign_ins_are_logged_at_every_endpoint() -> None:
    async with embedded_stack(metrics_token="m" * 40) as stack:
        trail = Trail(stack)
        wrong = {"authorization": "Bearer canary.canary.canary"}
        query = {"query": "{ viewer { id } }"}
        await stack.client.post("/graphql", json=query, headers=wrong)
        await stack.client.post("/graphql", json=query)
        await stack.client.get("/v1/models", headers=wrong)
        await stack.client.post(f"{stack.proxy()}/embeddings", json={}, headers=wrong)
        await stack.client.get("/metrics", headers=wrong)
        expired = {"authorization": f"Bearer {stack.token(lifetime_seconds=-60)}"}
        await stack.client.post("/graphql", json=query, headers=expired)
        url = stack.url.replace("http", "ws") + "/graphql"
        async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": wrong}))
            await socket.wait_closed()
        await until(lambda: len(trail.lines) == 7)
        assert all(facts(line)["address"] == "127.0.0.1" for line in trail.lines)
        assert [(line["event"], line["endpoint"], line["reason"]) for line in trail.lines] == [
            ("sign-in failed", "http", "TOKEN_INVALID"),
            ("sign-in failed", "http", "TOKEN_MISSING"),
            ("sign-in failed", "v1", "TOKEN_INVALID"),
            ("sign-in failed", "proxy", "TOKEN_INVALID"),
            ("sign-in failed", "metrics", "TOKEN_INVALID"),
            ("sign-in failed", "http", "TOKEN_EXPIRED"),
            ("sign-in failed", "websocket", "TOKEN_INVALID"),
        ]
        assert "canary" not in json.dumps(trail.lines)


async def test_limits_are_logged_and_a_storm_is_summed_up_at_the_end() -> None:
    async with embedded_stack(rate_limit_general=1, rate_limit_proxy=1) as stack:
        trail = Trail(stack)
        storm = MAX_LINES + 3
        for _ in range(1 + storm):
            await stack.client.get("/v1/models", headers=stack.headers())
        expected = {"event": "limit", "limit": "RATE_LIMIT_GENERAL", "user": ADA, "endpoint": "v1"}
        assert [facts(line) for line in trail.lines] == [expected] * MAX_LINES
        secret = {"authorization": f"Bearer {stack.agent_secret(GRACE)}"}
        for _ in range(2):
            await stack.client.get(f"{stack.proxy(GRACE)}/models", headers=secret)
        last = trail.lines[-1]
        assert (last["limit"], last["user"], last["endpoint"]) == ("RATE_LIMIT_PROXY", GRACE, "proxy")
    last = trail.lines[-1]
    assert (last["event"], last["suppressed"], last["subject"], last["lines"]) == ("suppressed", "limit", ADA, 3)


async def test_a_limit_inside_an_operation_is_logged_besides_the_mutation() -> None:
    async with embedded_stack(rate_limit_llm=1) as stack:
        embed = 'mutation { embed(input: {model: "text-embedding-3-small", inputs: ["canary"]}) { usage { costUsd } } }'
        await stack.graphql(embed)
        trail = Trail(stack)
        await stack.graphql(embed)
        async with opened_socket(stack) as socket:
            await socket.subscribe(embed)
            assert (await socket.hear())["type"] == "next"
        assert [(line["event"], line["endpoint"]) for line in trail.lines] == [
            ("mutation", "http"),
            ("limit", "http"),
            ("mutation", "websocket"),
            ("limit", "websocket"),
        ]
        assert {line.get("reason") or line["limit"] for line in trail.lines} == {"RATE_LIMIT_LLM"}
