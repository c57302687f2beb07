from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.embedded.faults import Fault
from app.embedded.seed import ADA, GRACE
from app.embedded.server import LoopbackServer
from tests.support.stack import Stack, embedded_stack

QUERY = """{ viewer { email agents { nodes { version name template { slug } model { name }
  conversations(first: 1) { nodes { id } } } } } models { name } platform { degraded services { service status } } }"""
CONNECT = "UPSTREAM_UNAVAILABLE"


def nulls(answer: dict) -> dict[str, tuple[str, str]]:
    """Each null with an error: its path without list indices, and the error's service and code."""
    found = {}
    for error in answer["errors"]:
        value = answer["data"]
        for key in error["path"]:
            value = value[key]
        assert value is None
        path = ".".join(key for key in error["path"] if isinstance(key, str))
        found[path] = (error["extensions"]["service"], error["extensions"]["code"])
    return found


EXPECTED = {
    "ams": {"viewer.agents": ("ams", CONNECT), "models": ("ams", CONNECT)},
    "letta": {f"viewer.agents.nodes.{field}": ("letta", CONNECT) for field in ("name", "model", "conversations")},
    "litellm": {"viewer.agents.nodes.model": ("litellm", CONNECT), "models": ("litellm", CONNECT)},
}


@pytest.mark.parametrize("service", list(EXPECTED))
async def test_one_dead_service_nulls_its_own_paths_alone(stack: Stack, service: str) -> None:
    await stack.servers[service].stop()
    answer = await stack.graphql(QUERY)
    assert nulls(answer) == EXPECTED[service]
    assert answer["data"]["viewer"]["email"] == "ada@example.com"
    assert answer["data"]["platform"]["degraded"] is True
    status = {one["service"]: one["status"] for one in answer["data"]["platform"]["services"]}
    assert status == {name: "DOWN" if name == service.upper() else "OK" for name in ("AMS", "LETTA", "LITELLM")}
    if service != "ams":
        rows = [node["version"] for node in answer["data"]["viewer"]["agents"]["nodes"]]
        assert rows == [row["version"] for row in stack.platform.state.users[ADA].rows]
    health = await stack.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ({"status": "ok", "checks": {"database": "ok"}}, None),
        ({"status": "ok", "checks": {"database": "ok", "cache": "disabled"}}, None),
        ({"status": "ok", "checks": {"database": "no, secret", "letta_api_key": "error"}}, "its database, its key"),
        ({"status": "degraded", "checks": {"secret": "error"}}, "not well"),
        ("secret", "cannot be read"),
    ],
)
async def test_an_ams_that_answers_says_what_is_wrong_with_it(body: object, note: str | None) -> None:
    async def health(_: Request) -> JSONResponse:
        return JSONResponse(body)

    server = LoopbackServer(Starlette(routes=[Route("/health", health)]))
    await server.start()
    try:
        async with embedded_stack(ams_base_url=server.url) as stack:
            asked = await stack.graphql("{ platform { degraded services { service status note } } }")
            told = (await stack.client.get("/health")).json()["services"]["ams"]
    finally:
        await server.stop()
    seen = {one["service"]: one for one in asked["data"]["platform"]["services"]}["AMS"]
    assert (seen["status"], asked["data"]["platform"]["degraded"]) == ("OK", False)
    assert told["note"] == seen["note"]
    assert (note in seen["note"]) if note else seen["note"] is None
    assert "secret" not in str(seen)


async def test_five_failures_open_the_breaker_and_one_success_closes_it(stack: Stack) -> None:
    async def ask() -> dict:
        errors = (await stack.graphql("{ viewer { agents { nodes { id } } } }")).get("errors", [{"extensions": {}}])
        return errors[0]["extensions"]

    stack.platform.faults["ams"] = Fault(status=503)
    for _ in range(5):
        assert (await ask())["reason"] == "STATUS"
    before = len(stack.calls("ams"))
    refused = await ask()
    assert (refused["code"], refused["reason"]) == (CONNECT, "BREAKER_OPEN")
    assert 0 < refused["retryAfterSeconds"] <= 0.2
    assert len(stack.calls("ams")) == before
    assert (
        'agentgraph_breaker{agentgraph_breaker="open",service="ams"} 1.0' in (await stack.client.get("/metrics")).text
    )
    stack.platform.faults.clear()
    async with asyncio.timeout(5):
        while await ask():
            pass
    assert (
        'agentgraph_breaker{agentgraph_breaker="closed",service="ams"} 1.0' in (await stack.client.get("/metrics")).text
    )


async def test_a_failing_model_is_no_failing_service(stack: Stack) -> None:
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[error=500]]"}]}
    for stream in (True, False) * 4:
        answer = await stack.client.post(
            "/v1/chat/completions", json=asked | {"stream": stream}, headers=stack.headers()
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model")
    assert "errors" not in await stack.graphql("{ models { name } }", user=GRACE)


async def test_a_letta_that_answers_503_opens_its_breaker_and_is_sent_nothing_twice(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    stack.platform.faults["letta"] = Fault(status=503)
    stack.platform.state.calls.clear()
    sent = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }"
    for number in range(7):
        given = {"to": {"agentId": agent_id}, "content": [{"text": "hi"}], "idempotencyKey": str(number)}
        answer = await stack.graphql(sent, {"i": given})
    assert answer["errors"][0]["extensions"]["reason"] == "BREAKER_OPEN"
    assert len(stack.calls("letta")) == 5


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault(down=True), "CUT"), (Fault(cut_after=10), "CUT"), (Fault(status=500), "STATUS")]
)
async def test_each_fault_has_its_reason(stack: Stack, fault: Fault, reason: str) -> None:
    stack.platform.faults["ams"] = fault
    answer = await stack.graphql("{ viewer { agents { nodes { id } } } }")
    assert answer["errors"][0]["extensions"]["reason"] == reason


async def test_an_open_breaker_at_the_openai_door(stack: Stack) -> None:
    await stack.servers["litellm"].stop()
    for _ in range(6):
        response = await stack.client.get("/v1/models", headers=stack.headers())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "breaker_open"
    assert int(response.headers["retry-after"]) >= 1


async def test_a_dead_letta_nulls_what_it_keeps_and_nothing_else(stack: Stack) -> None:
    await stack.servers["letta"].stop()
    answer = await stack.graphql(
        """{ viewer { agents(first: 1) { nodes { version status passages { nodes { id } }
          searchMemory(query: "x") { score } runs { nodes { id } } defaultConversation { id } } } } }"""
    )
    fields = ("status", "passages", "searchMemory", "runs")
    assert nulls(answer) == {f"viewer.agents.nodes.{field}": ("letta", CONNECT) for field in fields}
    assert answer["data"]["viewer"]["agents"]["nodes"][0]["version"]


async def test_one_run_that_fails_fails_alone(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    send = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }"
    ids = []
    for number in range(2):
        given = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=1 delay=0]]"}], "waitSeconds": 20}
        sent = await stack.graphql(send, {"i": given | {"idempotencyKey": str(number)}})
        ids.append(sent["data"]["sendMessage"]["run"]["id"])
    stack.platform.faults["letta"] = Fault(status=500, path=f"/v1/runs/{ids[0]}/usage")
    query = f'{{ agent(id: "{agent_id}") {{ runs {{ nodes {{ id usage {{ totalTokens }} }} }} }} }}'
    answer = await stack.graphql(query)
    usage = {node["id"]: node["usage"] for node in answer["data"]["agent"]["runs"]["nodes"]}
    assert usage[ids[0]] is None
    assert usage[ids[1]]["totalTokens"] > 0
    assert nulls(answer) == {"agent.runs.nodes.usage": ("letta", "UPSTREAM_ERROR")}


async def test_a_tool_that_may_be_on_an_agent_that_cannot_be_read_is_not_said_to_be_missing(stack: Stack) -> None:
    tool_id = next(iter(stack.platform.state.tools))
    stack.platform.faults["letta"] = Fault(status=500)
    answer = await stack.graphql(f'{{ node(id: "{tool_id}") {{ id }} }}')
    assert nulls(answer) == {"node": ("letta", "UPSTREAM_ERROR")}
