from __future__ import annotations

import asyncio
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from app import gateway
from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from clients.bulkhead import SHARES
from clients.calls import UpstreamLimits
from tests.support.stack import Stack, embedded_stack, until
from tests.support.supabase import supabase_project, token_of

ROOT = Path(__file__).parents[2]


async def test_the_metrics_token_guards_metrics_and_the_details_of_health() -> None:
    async with embedded_stack(metrics_token="m" * 20) as stack:
        insider = {"authorization": f"Bearer {'m' * 20}"}
        for headers, status in (({}, 401), ({"authorization": "Bearer no"}, 401), (insider, 200)):
            assert (await stack.client.get("/metrics", headers=headers)).status_code == status
        assert (await stack.client.get("/health")).json() == {"status": "ok"}
        assert "services" in (await stack.client.get("/health", headers=insider)).json()


@pytest.mark.bound("requests")
async def test_requests_above_the_bound_are_refused() -> None:
    async with embedded_stack(max_concurrent_requests=1) as stack:
        stack.platform.faults["ams"] = Fault(hang=True)
        slow = asyncio.create_task(stack.graphql("{ viewer { name } }"))
        await until(lambda: stack.calls("ams"))
        origin = {"origin": "http://localhost:5173"}
        body = {"query": "{ viewer { id } }"}
        for user, status, code in ((ADA, 429, "RATE_LIMITED"), (GRACE, 503, "OVERLOADED")):
            headers = {**origin, **stack.headers(user), "x-request-id": "mine"}
            refused = await stack.client.post("/graphql", json=body, headers=headers)
            assert refused.status_code == status
            error = refused.json()["errors"][0]["extensions"]
            assert (error["code"], error["reason"], error["requestId"]) == (code, "REQUESTS", "mine")
            assert refused.headers["access-control-allow-origin"] == origin["origin"]
            assert "X-Request-ID" in refused.headers["access-control-expose-headers"]
            assert (refused.headers["x-request-id"], refused.headers["vary"]) == ("mine", "Origin")
            assert refused.headers["x-content-type-options"] == "nosniff"
        at_openai = await stack.client.get("/v1/models", headers=stack.headers(GRACE))
        assert (at_openai.status_code, at_openai.json()["error"]["code"]) == (503, "requests")
        assert at_openai.headers["retry-after"] == "1"
        assert (await stack.client.get("/ping")).status_code == 200
        slow.cancel()


async def test_a_user_with_many_calls_leaves_slots_for_other_users(stack: Stack) -> None:
    path = "/user/daily/activity"
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(200)]
    each = [f'u{n}: usage(from: "{day}", to: "{day}") {{ from }}' for n, day in enumerate(days)]
    documents = [f"{{ viewer {{ {''.join(each[:100])} }} }}", f"{{ viewer {{ {''.join(each[100:])} }} }}"]
    stack.platform.faults["litellm"] = Fault(hang=True, path=path)
    greedy = asyncio.gather(*(stack.graphql(document) for document in documents))

    def full() -> bool:
        return sum(path in call for call in stack.calls("litellm")) == UpstreamLimits().max_concurrent // SHARES

    await until(full)
    answer = await stack.graphql("{ models { id } }", user=GRACE)
    assert "errors" not in answer
    assert answer["data"]["models"]
    assert full()
    greedy.cancel()
    stack.platform.faults.clear()
    for document in documents:
        assert "errors" not in await stack.graphql(document)


async def refusal_of_half_a_body(stack: Stack, path: str, secret: str) -> tuple[int, str]:
    """Send half a body, and return the status and reason of the refusal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n"
    writer.write(f'{head}authorization: Bearer {secret}\r\n\r\n{{"a"'.encode())
    status = int((await reader.readline()).split()[1])
    length = re.search(rb"content-length: (\d+)", await reader.readuntil(b"\r\n\r\n"))
    assert length
    body = await reader.readexactly(int(length[1]))
    writer.close()
    [reason] = re.findall(rb'"(?:reason|code)":"(body_timeout|BODY_TIMEOUT)"', body)
    return status, reason.decode()


@pytest.mark.bound("body-time")
async def test_a_slow_body_is_refused() -> None:
    async with embedded_stack(request_timeout=0.1) as stack:
        for path, reason in (("/graphql", "BODY_TIMEOUT"), ("/v1/chat/completions", "body_timeout")):
            assert await refusal_of_half_a_body(stack, path, stack.token()) == (408, reason)


@pytest.mark.bound("letta-body-time")
async def test_a_slow_body_of_letta_is_refused_earlier(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "LETTA_BODY_SECONDS", 0.1)
    path = f"/api/v1/agents/{ADA}/proxy/chat/completions"
    assert await refusal_of_half_a_body(stack, path, stack.agent_secret()) == (408, "body_timeout")


@pytest.mark.bound("head")
async def test_a_large_or_slow_request_head_is_refused() -> None:
    async with embedded_stack(request_timeout=0.2) as stack:
        port = int(stack.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):  # the bounds also apply to the second request of a connection
            writer.write(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b'"ok"}')).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /ping HTTP/1.1\r\nx-large: " + b"x" * 100_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 431")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ping HTTP/1.1\r\nx-slow: ")
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_introspection_needs_a_token_in_production() -> None:
    async with (
        supabase_project() as project,
        embedded_stack(environment="production", supabase_url=project.url) as stack,
    ):
        asked = {"query": "{ __schema { queryType { name } } }"}
        sdl = {"query": "{ ...F } fragment F on Query { _service { sdl } }"}
        kind = {"query": '{ __type(name: "User") { name } }'}
        named = {"query": "{ __typename }"}
        for query in (asked, sdl, kind, named):
            refused = await stack.client.post("/graphql", json=query)
            assert refused.status_code == 401
        nonsense = await stack.client.post("/graphql", content=b"{")
        assert nonsense.status_code == 401
        token = token_of(project)
        read = await stack.client.post("/graphql", json=asked, headers={"authorization": f"Bearer {token}"})
        assert read.json()["data"]["__schema"]["queryType"]["name"] == "Query"
        composed = await stack.client.post("/graphql", json=sdl, headers={"authorization": f"Bearer {token}"})
        assert composed.json()["data"]["_service"]["sdl"] == (ROOT / "schema" / "subgraph.graphql").read_text()
        development = await stack.client.post("/graphql", json=asked, headers=stack.headers())
        assert development.status_code == 401


async def test_concurrent_requests_for_health_share_one_check(stack: Stack) -> None:
    stack.platform.faults["letta"] = Fault(latency=0.2)
    answers = await asyncio.gather(*(stack.client.get("/health") for _ in range(10)))
    assert {answer.json()["status"] for answer in answers} == {"ok"}
    assert stack.calls("letta") == ["GET /v1/health/"]
