from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from app.embedded.server import LoopbackServer
from tests.support.stack import Stack, embedded_stack

QUERY = """{ viewer { email agents { nodes { version name template { slug } model { name }
  conversations(first: 1) { nodes { id } } } } } models { name } platform { degraded services { service status } } }"""
CONNECT = "UPSTREAM_UNAVAILABLE"


def nulls(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
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


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Its breakers stay open for longer than a test."""
    async with embedded_stack(breaker_reset_seconds=60) as running:
        yield running


@pytest.fixture
async def quick() -> AsyncIterator[Stack]:
    """Its breakers let a trial in at once."""
    async with embedded_stack() as running:
        yield running


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


async def metric(stack: Stack, line: str) -> bool:
    return line in (await stack.client.get("/metrics")).text.splitlines()


async def test_a_dead_service_opens_its_breaker_and_health_and_metrics_agree(stack: Stack) -> None:
    await stack.servers["ams"].stop()
    for _ in range(5):
        assert (await refusal_of(stack, "{ viewer { agents { nodes { id } } } }"))["reason"] == "CONNECT"
    refused = await refusal_of(stack, "{ viewer { agents { nodes { id } } } }", GRACE)
    assert (refused["code"], refused["reason"]) == (CONNECT, "BREAKER_OPEN")
    assert 0 < refused["retryAfterSeconds"] <= 60
    seen = (await stack.client.get("/health")).json()["services"]["ams"]
    assert (seen["status"], seen["breaker"], seen["breakers"]) == ("down", "open", [])
    assert "breaker is open" in seen["note"]
    assert await metric(stack, 'agentgraph_breaker{agentgraph_breaker="open",service="ams"} 1.0')


async def test_a_service_that_answers_again_is_down_while_its_breaker_refuses_calls(stack: Stack) -> None:
    await stack.servers["ams"].stop()
    for _ in range(5):
        await refusal_of(stack, "{ viewer { agents { nodes { id } } } }")
    await stack.servers["ams"].start()
    seen = (await stack.client.get("/health")).json()["services"]["ams"]
    assert (seen["status"], seen["breaker"]) == ("down", "open")
    asked = await stack.graphql("{ platform { degraded services { service status breaker note } } }")
    [told] = [one for one in asked["data"]["platform"]["services"] if one["service"] == "AMS"]
    assert (told["status"], told["breaker"]) == ("DOWN", "OPEN")
    assert "breaker is open" in told["note"]


async def refusal_of(stack: Stack, query: str, user: str = ADA) -> dict[str, Any]:
    """The extensions of a query's first error; empty where there is none."""
    errors = (await stack.graphql(query, user=user)).get("errors", [{"extensions": {}}])
    extensions: dict[str, Any] = errors[0]["extensions"]
    return extensions


async def test_five_failures_open_the_breaker_of_a_kind_of_call_and_one_success_closes_it(quick: Stack) -> None:
    async def ask() -> dict[str, Any]:
        return await refusal_of(quick, "{ viewer { agents { nodes { id } } } }")

    quick.platform.faults["ams"] = Fault(status=503)
    for _ in range(5):
        assert (await ask())["reason"] == "STATUS"
    before = len(quick.calls("ams"))
    refused = await ask()
    assert (refused["code"], refused["reason"]) == (CONNECT, "BREAKER_OPEN")
    assert 0 < refused["retryAfterSeconds"] <= 0.2
    assert len(quick.calls("ams")) == before
    quick.platform.faults.clear()
    async with asyncio.timeout(5):
        while await ask():
            pass
    assert (await quick.client.get("/health")).json()["services"]["ams"]["breakers"] == []


CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[tokens=1 delay=0]]"}]}
OTHER = "gpt-4.1"
FAILING = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[error=500]]"}]}


async def chat(stack: Stack, body: dict[str, Any], user: str = ADA) -> httpx.Response:
    return await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers(user))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_model_is_refused_to_its_caller_alone(stack: Stack, stream: bool) -> None:
    for _ in range(5):
        answer = await chat(stack, FAILING | {"stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model")
    before = len(stack.calls("litellm"))
    refused = await chat(stack, CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model")
    assert "Model gpt-4o-mini keeps failing" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert len(stack.calls("litellm")) == before
    for _ in range(10):
        assert (await chat(stack, CHAT, GRACE)).status_code == 200
        assert (await chat(stack, CHAT | {"model": OTHER})).status_code == 200
    assert (await stack.client.get("/v1/models", headers=stack.headers())).status_code == 200
    assert "errors" not in await stack.graphql("{ models { name } }")


async def test_health_names_a_failing_model_to_operators_and_counts_it_for_users(stack: Stack) -> None:
    for _ in range(5):
        await chat(stack, FAILING)
    seen = (await stack.client.get("/health")).json()
    assert seen["status"] == "degraded"
    litellm = seen["services"]["litellm"]
    assert (litellm["status"], litellm["breaker"]) == ("ok", "closed")
    [part] = litellm["breakers"]
    assert (part["part"], part["state"], part["callers"]) == ("model:gpt-4o-mini", "open", 1)
    assert 0 < part["retry_after_seconds"] <= 60
    asked = await stack.graphql("{ platform { degraded services { service status breaker note } } }", user=GRACE)
    assert asked["data"]["platform"]["degraded"] is True
    assert "gpt-4o-mini" not in str(asked)
    [told] = [one for one in asked["data"]["platform"]["services"] if one["service"] == "LITELLM"]
    assert (told["status"], told["breaker"]) == ("OK", "CLOSED")
    assert told["note"] == "1 of its models or kinds of call keep failing: their breakers are open."
    assert await metric(stack, 'agentgraph_open_part_breakers{service="litellm"} 1.0')
    assert await metric(stack, 'agentgraph_breaker{agentgraph_breaker="closed",service="litellm"} 1.0')
    assert "gpt-4o-mini" not in (await stack.client.get("/metrics")).text


async def test_a_list_of_models_that_fails_blocks_no_completion(stack: Stack) -> None:
    stack.platform.faults["litellm"] = Fault(status=500, path="/v1/models")
    for user in (ADA, GRACE) * 5:
        answer = await stack.client.get("/v1/models", headers=stack.headers(user))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "breaker_open")
    assert "v1.models" in answer.json()["error"]["message"]
    for user in (ADA, GRACE):
        assert (await chat(stack, CHAT, user)).status_code == 200
    assert "errors" not in await stack.graphql("{ models { name } }")


async def test_an_agent_on_which_letta_fails_hurts_no_other(stack: Stack) -> None:
    bad, good = await stack.make_agent(), await stack.make_agent()
    theirs = await stack.make_agent(GRACE)
    bare = bad.removeprefix("Agent:")
    stack.platform.faults["letta"] = Fault(status=500, path=f"/v1/agents/{bare}/archival-memory")
    query = '{{ agent(id: "{0}") {{ name status passages {{ nodes {{ id }} }} }} }}'
    for _ in range(7):
        failed = await refusal_of(stack, query.format(bad))
        for agent, user in ((good, ADA), (theirs, GRACE)):
            assert "errors" not in await stack.graphql(query.format(agent), user=user)
    assert (failed["code"], failed["reason"], failed["service"]) == (CONNECT, "BREAKER_OPEN", "letta")
    assert "errors" not in await stack.graphql(f'{{ agent(id: "{bad}") {{ name status }} }}')
    seen = (await stack.client.get("/health")).json()["services"]["letta"]
    assert (seen["status"], seen["breaker"]) == ("ok", "closed")
    assert [part["part"] for part in seen["breakers"]] == [f"passages:{bare}"]
    assert bare not in str(await stack.graphql("{ platform { services { note } } }", user=GRACE))


async def test_a_rate_of_failures_opens_a_breaker_although_some_calls_succeed(stack: Stack) -> None:
    for _ in range(3):
        answers = [(await chat(stack, body)).status_code for body in (FAILING, CHAT, FAILING, FAILING, CHAT)]
    assert answers == [503] * 5


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
