"""Model requests that would make LiteLLM, Letta or a provider call an internal address are refused at every door."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest

from app import devtokens
from app.embedded.people import ADA
from app.rest.secrets import agent_secret
from tests.support.attack import Target
from tests.support.settings import settings_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

SETTINGS = {"RATE_LIMIT_GENERAL": "0", "RATE_LIMIT_LLM": "0"}
MODEL = "gpt-4o-mini"
INSIDE = "https://169.254.169.254/latest"
HI = {"role": "user", "content": "hi [[tokens=1 delay=0]]"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
MCP = {"server_label": "x", "server_url": INSIDE, "require_approval": "never"}


def graph(name: str) -> str:
    if name == "completion":
        return 'subscription($i: CompletionInput!) { completion(input: $i, streamKey: "k") { __typename } }'
    return f"mutation($i: CompletionInput!) {{ {name}(input: $i) {{ __typename }} }}"


async def in_graph(client: httpx.AsyncClient, name: str, given: dict[str, Any]) -> tuple[str, str | None]:
    """Return code and parameter of a GraphQL completion's refusal."""
    messages = [{"role": "USER", "content": "hi"}]
    asked = {"model": MODEL, "messages": messages, "idempotencyKey": str(uuid.uuid4()), **given}
    body = {"query": graph(name), "variables": {"i": asked}}
    answer = await client.post("/graphql", json=body, headers={"accept": "text/event-stream, application/json"})
    text = next((line[6:] for line in answer.text.splitlines() if line.startswith("data: ")), answer.text)
    facts = json.loads(text)["errors"][0]["extensions"]
    return facts["code"], facts.get("param")


CHATS = ("/v1/chat/completions", "proxy", "proxy/chat/completions")


async def at_rest(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> tuple[int, str | None]:
    """Return status and parameter of a REST answer; a path of ``proxy`` is requested as an agent."""
    headers = {}
    if path.startswith("proxy"):
        path = f"/api/v1/agents/{ADA}/{path}"
        secret = agent_secret(devtokens.master_key(settings_of()) or "", ADA)
        headers["authorization"] = f"Bearer {secret}"
    answer = await client.post(path, json=body, headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("param")


TOOLS = ["mcp", "MCP", "Mcp", "url", "web_fetch_20250910", "file_search", "code_interpreter", "advisor_20260301"]


@pytest.mark.parametrize("name", ["complete", "startCompletion", "completion"])
async def test_graphql_refuses_tools_that_a_provider_runs(target: Target, name: str) -> None:
    async with target.bystander(), target.client() as client, target.measured() as cost:
        for type_ in TOOLS:
            refusal = await in_graph(client, name, {"tools": [FUNCTION, {"type": type_, **MCP}]})
            assert refusal == ("BAD_USER_INPUT", "tools[1].type")
    assert cost.metric("agentgraph_upstream_calls_total", service="litellm") == 0


@pytest.mark.parametrize("path", CHATS)
async def test_v1_refuses_tools_that_a_provider_runs(target: Target, path: str) -> None:
    async with target.client() as client, target.measured() as cost:
        for type_ in TOOLS:
            for stream in (False, True):
                tools = [FUNCTION, {"type": type_, **MCP}]
                body = {"model": MODEL, "messages": [HI], "tools": tools, "stream": stream}
                assert await at_rest(client, path, body) == (400, "tools[1].type")
    assert cost.metric("agentgraph_upstream_calls_total", service="litellm") == 0


SCHEMA = {"type": "object", "properties": {"a": {"$ref": INSIDE}}}
GRAPH: list[tuple[dict[str, Any], str]] = [
    ({"responseFormat": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
     "response_format.json_schema.schema.properties.a.$ref"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
     "tools[0].function.parameters.properties.a.$ref"),
    ({"tools": [{**FUNCTION, "server_url": INSIDE}]}, "tools[0].server_url"),
    ({"model": f"huggingface/{INSIDE}"}, "model"),
]  # fmt: skip


async def test_graphql_refuses_internal_addresses(target: Target) -> None:
    async with target.client() as client, target.measured() as cost:
        for given, place in GRAPH:
            assert await in_graph(client, "complete", given) == ("BAD_USER_INPUT", place)
        embed = "mutation($i: EmbedInput!) { embed(input: $i) { __typename } }"
        given = {"model": "text-embedding-3-small", "inputs": ["hi", "s3://bucket/key"]}
        answer = await target.ask(embed, i=given)
        assert answer["errors"][0]["extensions"]["param"] == "input[1]"
    assert cost.metric("agentgraph_upstream_calls_total", service="litellm") == 0


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": INSIDE}}]},
     "content[0].source.url"),
    ({"type": "input_file", "file_url": INSIDE}, "file_url"),
    ({"type": "input_audio", "input_audio": {"data": INSIDE, "format": "wav"}}, "input_audio.data"),
    ({"type": "image_url", "image_url": "https://redis.production/a.png"}, "image_url"),
    ({"type": "image_url", "image_url": {"url": "https://wiki.corp/a.png"}}, "image_url.url"),
    ({"type": "image_url", "image_url": {"url": "https://\uff11\uff12\uff17.0.0.1/a.png"}}, "image_url.url"),
    ({"type": "image_url", "image_url": {"url": "https://[64:ff9b::7f00:1]/a.png"}}, "image_url.url"),
    ({"type": "image_url", "image_url": {"url": "https://[2002:7f00:1::]/a.png"}}, "image_url.url"),
    ({"type": "image_url", "image_url": {"url": "data:text/html;base64,PHNjcmlwdD4="}}, "image_url.url"),
]  # fmt: skip


@pytest.mark.parametrize("path", CHATS)
async def test_v1_refuses_internal_addresses(target: Target, path: str) -> None:
    async with target.bystander(), target.client() as client, target.measured() as cost:
        for part, place in PARTS:
            for role in ("user", "assistant", "tool"):
                said = [HI, {"role": role, "tool_call_id": "1", "content": [{"type": "text", "text": "hi"}, part]}]
                refusal = await at_rest(client, path, {"model": MODEL, "messages": said})
                assert refusal == (400, f"messages[1].content[1].{place}")
        images = [HI, {"role": "assistant", "content": "hi", "images": [INSIDE]}]
        assert await at_rest(client, path, {"model": MODEL, "messages": images}) == (400, "messages[1].images[0]")
    assert cost.metric("agentgraph_upstream_calls_total", service="litellm") == 0


@pytest.mark.parametrize("path", ["/v1/embeddings", "proxy/embeddings"])
async def test_embeddings_refuse_addresses_of_object_stores(target: Target, path: str) -> None:
    async with target.client() as client, target.measured() as cost:
        for given, place in (("gs://bucket/key", "input"), (["hi", "s3://bucket/key"], "input[1]")):
            body = {"model": "text-embedding-3-small", "input": given}
            assert await at_rest(client, path, body) == (400, place)
    assert cost.metric("agentgraph_upstream_calls_total", service="litellm") == 0


async def test_ordinary_requests_are_accepted(target: Target) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    said = [HI, {"role": "user", "content": [{"type": "text", "text": f"{INSIDE} [[tokens=1 delay=0]]"}, picture]}]
    async with target.client() as client:
        for path in CHATS:
            body = {"model": MODEL, "messages": said, "tools": [FUNCTION], "stream": False}
            assert (await at_rest(client, path, body))[0] == 200


async def test_a_message_has_a_bounded_number_of_image_urls(target: Target) -> None:
    send = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { __typename } }"
    content = [{"image": {"url": f"https://example.com/{index}.png"}} for index in range(101)]
    given = {"to": {"agentId": await target.agent_id()}, "content": content, "idempotencyKey": str(uuid.uuid4())}
    async with target.measured() as cost:
        answer = await target.ask(send, i=given)
    assert answer["errors"][0]["extensions"]["reason"] == "RANGE"
    assert cost.metric("agentgraph_upstream_calls_total", service="letta") == 0
