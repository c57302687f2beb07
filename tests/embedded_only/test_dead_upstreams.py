from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from app.embedded.server import LoopbackServer
from tests.support import things
from tests.support.documents import SEND_MESSAGE
from tests.support.stack import Stack, embedded_stack
from tests.support.streaming import message_input

QUERY = """{ viewer { email agents { nodes { version name template { slug } model { name }
  conversations(first: 1) { nodes { id } } } } } models { name } platform { degraded services { service status } } }"""
CONNECT = "UPSTREAM_UNAVAILABLE"


def nulls(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the service and code of each error, by its path without list indices; the field there must be null."""
    found = {}
    for error in answer["errors"]:
        value = answer["data"]
        for key in error["path"]:
            value = value[key]
        assert value is None
        path = ".".join(key for key in error["path"] if isinstance(key, str))
        found[path] = (error["extensions"]["service"], error["extensions"]["code"])
    return found


@asynccontextmanager
async def dead(stack: Stack, service: str) -> AsyncIterator[None]:
    """Stop a service. Its port refuses connections until the context ends, and no other process can get the port."""
    server = stack.servers[service]
    await server.stop()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the closed connections still have the port
        holder.bind(("127.0.0.1", urlsplit(server.url).port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """A stack whose breakers stay open for longer than a test."""
    async with embedded_stack(breaker_reset_seconds=60) as running:
        yield running


@pytest.fixture
async def quick() -> AsyncIterator[Stack]:
    """A stack whose breakers admit a trial call at once."""
    async with embedded_stack() as running:
        yield running


EXPECTED = {
    "ams": {"viewer.agents": ("ams", CONNECT), "models": ("ams", CONNECT)},
    "letta": {f"viewer.agents.nodes.{field}": ("letta", CONNECT) for field in ("name", "model", "conversations")},
    "litellm": {"viewer.agents.nodes.model": ("litellm", CONNECT), "models": ("litellm", CONNECT)},
}


@pytest.mark.parametrize("service", list(EXPECTED))
async def test_a_dead_service_makes_only_its_own_fields_null(stack: Stack, service: str) -> None:
    async with dead(stack, service):
        answer = await stack.graphql(QUERY)
        health = await stack.client.get("/health")
    assert nulls(answer) == EXPECTED[service]
    assert answer["data"]["viewer"]["email"] == "ada@example.com"
    assert answer["data"]["platform"]["degraded"] is True
    status = {one["service"]: one["status"] for one in answer["data"]["platform"]["services"]}
    assert status == {
        name: "DOWN" if name == service.upper() else "OK" for name in ("AMS", "LETTA", "LITELLM", "SUPABASE")
    }
    if service != "ams":
        rows = [node["version"] for node in answer["data"]["viewer"]["agents"]["nodes"]]
        assert rows == [row["version"] for row in stack.platform.state.users[ADA].rows]
    assert (health.status_code, health.json()["status"]) == (200, "degraded")


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ({"status": "ok", "checks": {"database": "ok"}}, None),
        ({"status": "ok", "checks": {"database": "ok", "cache": "disabled"}}, None),
        (
            {"status": "ok", "checks": {"database": "no, secret", "letta_api_key": "error"}},
            "checks: database, key for Letta.",
        ),
        ({"status": "degraded", "checks": {"secret": "error"}}, "a status other than"),
        ("secret", "cannot decode"),
    ],
)
async def test_failed_checks_of_ams_are_in_its_note(body: object, note: str | None) -> None:
    async def health(_: Request) -> JSONResponse:
        return JSONResponse(body)

    server = LoopbackServer(Starlette(routes=[Route("/health", health)]))
    await server.start()
    try:
        async with embedded_stack(ams_base_url=server.url) as stack:
            answer = await stack.graphql("{ platform { degraded services { service status note } } }")
            reported = (await stack.client.get("/health")).json()["services"]["ams"]
    finally:
        await server.stop()
    seen = {one["service"]: one for one in answer["data"]["platform"]["services"]}["AMS"]
    assert (seen["status"], answer["data"]["platform"]["degraded"]) == ("OK", False)
    assert reported["note"] == seen["note"]
    assert (note in seen["note"]) if note else seen["note"] is None
    assert "secret" not in str(seen)


async def metric(stack: Stack, line: str) -> bool:
    return line in (await stack.client.get("/metrics")).text.splitlines()


async def test_a_dead_service_opens_its_breaker_and_is_down_while_the_breaker_is_open(stack: Stack) -> None:
    await stack.servers["ams"].stop()
    for _ in range(5):
        assert (await refusal_of(stack))["reason"] == "CONNECT"
    refused = await refusal_of(stack, user=GRACE)
    assert (refused["code"], refused["reason"]) == (CONNECT, "BREAKER_OPEN")
    assert 0 < refused["retryAfterSeconds"] <= 60
    seen = (await stack.client.get("/health")).json()["services"]["ams"]
    assert (seen["status"], seen["breaker"], seen["breakers"]) == ("down", "open", [])
    assert "breaker is open" in seen["note"]
    assert await metric(stack, 'agentgraph_breaker{agentgraph_breaker="open",service="ams"} 1.0')
    await stack.servers["ams"].start()
    seen = (await stack.client.get("/health")).json()["services"]["ams"]
    assert (seen["status"], seen["breaker"]) == ("down", "open"), "a restarted service whose breaker is open"
    answer = await stack.graphql("{ platform { services { service status breaker note } } }")
    [ams] = [one for one in answer["data"]["platform"]["services"] if one["service"] == "AMS"]
    assert (ams["status"], ams["breaker"]) == ("DOWN", "OPEN")
    assert "breaker is open" in ams["note"]


LIST = "{ viewer { agents { nodes { id } } } }"


async def refusal_of(stack: Stack, query: str = LIST, user: str = ADA) -> dict[str, Any]:
    """Return the extensions of a query's first error; empty if there is none."""
    errors = (await stack.graphql(query, user=user)).get("errors", [{"extensions": {}}])
    extensions: dict[str, Any] = errors[0]["extensions"]
    return extensions


async def test_a_successful_trial_call_closes_the_breaker_of_an_operation(quick: Stack) -> None:
    quick.platform.faults["ams"] = Fault(status=503)
    for _ in range(5):
        assert (await refusal_of(quick))["reason"] == "STATUS"
    before = len(quick.calls("ams"))
    refused = await refusal_of(quick)
    assert (refused["code"], refused["reason"]) == (CONNECT, "BREAKER_OPEN")
    assert 0 < refused["retryAfterSeconds"] <= 0.2
    assert len(quick.calls("ams")) == before
    quick.platform.faults.clear()
    async with asyncio.timeout(5):
        while await refusal_of(quick):
            pass
    assert (await quick.client.get("/health")).json()["services"]["ams"]["breakers"] == []


CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[tokens=1 delay=0]]"}]}
OTHER = "gpt-4.1"
FAILING = CHAT | {"messages": [{"role": "user", "content": "[[error=500]]"}]}


async def chat(stack: Stack, body: dict[str, Any], user: str = ADA) -> httpx.Response:
    return await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers(user))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_model_is_refused_only_for_its_user(stack: Stack, stream: bool) -> None:
    for _ in range(5):
        answer = await chat(stack, FAILING | {"stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model")
    before = len(stack.calls("litellm"))
    refused = await chat(stack, CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model")
    assert "Calls to the model gpt-4o-mini have failed repeatedly" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert len(stack.calls("litellm")) == before
    for _ in range(10):
        assert (await chat(stack, CHAT, GRACE)).status_code == 200
        assert (await chat(stack, CHAT | {"model": OTHER})).status_code == 200
    assert (await stack.client.get("/v1/models", headers=stack.headers())).status_code == 200
    assert "errors" not in await stack.graphql("{ models { name } }")


async def test_health_names_a_failing_model_and_the_graph_counts_it(stack: Stack) -> None:
    for _ in range(5):
        await chat(stack, FAILING)
    seen = (await stack.client.get("/health")).json()
    assert seen["status"] == "degraded"
    litellm = seen["services"]["litellm"]
    assert (litellm["status"], litellm["breaker"]) == ("ok", "closed")
    [part] = litellm["breakers"]
    assert (part["part"], part["state"], part["callers"]) == ("model:gpt-4o-mini", "open", 1)
    assert 0 < part["retry_after_seconds"] <= 60
    answer = await stack.graphql("{ platform { degraded services { service status breaker note } } }", user=GRACE)
    assert answer["data"]["platform"]["degraded"] is True
    assert "gpt-4o-mini" not in str(answer)
    [shown] = [one for one in answer["data"]["platform"]["services"] if one["service"] == "LITELLM"]
    assert (shown["status"], shown["breaker"]) == ("OK", "CLOSED")
    assert shown["note"] == "The number of open circuit breakers for single models and kinds of calls is 1."
    assert await metric(stack, 'agentgraph_open_part_breakers{service="litellm"} 1.0')
    assert await metric(stack, 'agentgraph_breaker{agentgraph_breaker="closed",service="litellm"} 1.0')
    assert "gpt-4o-mini" not in (await stack.client.get("/metrics")).text


async def test_a_failing_list_of_models_does_not_block_completions(stack: Stack) -> None:
    stack.platform.faults["litellm"] = Fault(status=500, path="/v1/models")
    for user in (ADA, GRACE) * 5:
        answer = await stack.client.get("/v1/models", headers=stack.headers(user))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "breaker_open")
    assert "v1.models" in answer.json()["error"]["message"]
    assert int(answer.headers["retry-after"]) >= 1
    for user in (ADA, GRACE):
        assert (await chat(stack, CHAT, user)).status_code == 200
    assert "errors" not in await stack.graphql("{ models { name } }")


async def test_failures_for_an_agent_open_no_breaker_for_other_agents(stack: Stack) -> None:
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


async def test_a_failure_rate_of_twenty_calls_opens_a_breaker_despite_successful_calls(stack: Stack) -> None:
    for _ in range(4):
        answers = [(await chat(stack, body)).status_code for body in (FAILING, CHAT, FAILING, FAILING, CHAT)]
        assert answers == [502, 200, 502, 502, 200]
    assert [(await chat(stack, body)).status_code for body in (FAILING, CHAT)] == [502, 503]


async def test_consecutive_failures_open_a_breaker_after_many_successful_calls(stack: Stack) -> None:
    for _ in range(12):
        assert (await chat(stack, CHAT)).status_code == 200
    answers = [(await chat(stack, body)).status_code for body in [FAILING] * 5 + [CHAT]]
    assert answers == [502] * 5 + [503]


async def test_refused_calls_open_no_breaker(stack: Stack) -> None:
    stack.platform.faults["ams"] = Fault(status=404)
    for _ in range(30):
        assert (await refusal_of(stack))["code"] == "UPSTREAM_ERROR"
    stack.platform.faults.clear()
    assert await refusal_of(stack) == {}


@pytest.mark.parametrize(("slow_seconds", "opens"), [(0.001, True), (0, False)])
async def test_slow_answers_open_a_breaker(slow_seconds: float, opens: bool) -> None:
    settings: dict[str, Any] = {"breaker_calls": 6, "breaker_reset_seconds": 60, "cache": "off"}
    async with embedded_stack(breaker_slow_seconds=slow_seconds, **settings) as stack:
        stack.platform.faults["ams"] = Fault(latency=0.002)
        for _ in range(6):
            assert await refusal_of(stack) == {}
        assert (await refusal_of(stack)).get("reason") == ("BREAKER_OPEN" if opens else None)
        assert await refusal_of(stack, user=GRACE) == {}


async def test_five_503_of_letta_open_its_breaker_without_retries(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    stack.platform.faults["letta"] = Fault(status=503)
    stack.platform.state.calls.clear()
    for number in range(7):
        answer = await stack.graphql(SEND_MESSAGE, {"i": message_input(agent_id, idempotencyKey=str(number))})
    assert answer["errors"][0]["extensions"]["reason"] == "BREAKER_OPEN"
    assert len(stack.calls("letta")) == 5


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault(down=True), "CUT"), (Fault(cut_after=10), "CUT"), (Fault(status=500), "STATUS")]
)
async def test_each_fault_has_its_reason(stack: Stack, fault: Fault, reason: str) -> None:
    stack.platform.faults["ams"] = fault
    assert (await refusal_of(stack))["reason"] == reason


async def test_without_letta_fields_from_ams_are_still_read(stack: Stack) -> None:
    query = """{ viewer { agents(first: 1) { nodes { version status passages { nodes { id } }
      searchMemory(query: "x") { score } runs { nodes { id } } defaultConversation { id } } } } }"""
    async with dead(stack, "letta"):
        answer = await stack.graphql(query)
    fields = ("status", "passages", "searchMemory", "runs")
    assert nulls(answer) == {f"viewer.agents.nodes.{field}": ("letta", CONNECT) for field in fields}
    assert answer["data"]["viewer"]["agents"]["nodes"][0]["version"]


async def test_a_run_that_cannot_be_read_leaves_the_others(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    ids = [(await things.sent(stack, agent_id=agent_id))["run"]["id"] for _ in range(2)]
    stack.platform.faults["letta"] = Fault(status=500, path=f"/v1/runs/{ids[0]}/usage")
    query = f'{{ agent(id: "{agent_id}") {{ runs {{ nodes {{ id usage {{ totalTokens }} }} }} }} }}'
    answer = await stack.graphql(query)
    usage = {node["id"]: node["usage"] for node in answer["data"]["agent"]["runs"]["nodes"]}
    assert usage[ids[0]] is None
    assert usage[ids[1]]["totalTokens"] > 0
    assert nulls(answer) == {"agent.runs.nodes.usage": ("letta", "UPSTREAM_ERROR")}


async def test_a_tool_of_an_unreadable_agent_is_an_upstream_error(stack: Stack) -> None:
    tool_id = next(iter(stack.platform.state.tools))
    stack.platform.faults["letta"] = Fault(status=500)
    answer = await stack.graphql(f'{{ node(id: "{tool_id}") {{ id }} }}')
    assert nulls(answer) == {"node": ("letta", "UPSTREAM_ERROR")}
