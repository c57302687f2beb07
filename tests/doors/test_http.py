from __future__ import annotations

import asyncio
import gc
import json

import pytest

from app.graphql.errors import RequestError
from tests.support.stack import Stack

POST = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "BAD_USER_INPUT"),
        (b"null", 400, "BAD_USER_INPUT"),
        (b"[1]", 400, "BAD_USER_INPUT"),
        (b"\xff\xfe", 400, "BAD_USER_INPUT"),
        (b"[" * 20_000, 400, "BAD_USER_INPUT"),
        (b'{"query": 1}', 400, "BAD_USER_INPUT"),
        (b'{"query": "{ viewer { id } }", "variables": []}', 400, "BAD_USER_INPUT"),
        (b'{"query": "{ viewer { id } }", "operationName": 1}', 400, "BAD_USER_INPUT"),
        (b'{"query": "{ viewer { id }"}', 200, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "{ nope }"}', 200, "GRAPHQL_VALIDATION_FAILED"),
        (b'{"query": "query A { viewer { id } } query B { viewer { id } }"}', 200, "OPERATION_RESOLUTION_FAILURE"),
        (b'{"query": "query($a: Int!) { viewer { agents(first: $a) { nodes { id } } } }"}', 200, "BAD_USER_INPUT"),
        (b'{"extensions": {"persistedQuery": {"version": 1}}}', 200, "PERSISTED_QUERY_NOT_SUPPORTED"),
        (b'{"query": "", "extensions": {"persistedQuery": {"version": 1}}}', 200, "PERSISTED_QUERY_NOT_SUPPORTED"),
        (b'{"documentId": "sha256:00"}', 200, "PERSISTED_QUERY_NOT_SUPPORTED"),
        (b'{"extensions": {"persistedQuery": null}}', 400, "BAD_USER_INPUT"),
        (json.dumps({"query": "{" + "a" * 3 + "{ a" * 3000 + "}" * 3001}).encode(), 200, "QUERY_TOO_COMPLEX"),
        (json.dumps({"query": "{" * 20_000}).encode(), 200, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "' + b" " * 1_000_001 + b'"}', 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_invalid_requests_get_an_error_with_a_code(stack: Stack, body: bytes, status: int, code: str) -> None:
    response = await stack.client.post("/graphql", content=body, headers=POST | stack.headers())
    assert response.status_code == status
    assert response.json()["errors"][0]["extensions"]["code"] == code
    assert "data" not in response.json()
    assert "Traceback" not in response.text


async def test_a_document_past_the_depth_limit_is_refused(stack: Stack) -> None:
    query = "{ viewer { " + "agents { nodes { defaultConversation { agent { conversations { nodes { agent { " * 4
    query += "id" + " }" * 30
    answer = await stack.graphql(query)
    assert answer["errors"][0]["extensions"]["reason"] == "DEPTH"
    hidden = "{ " + "... { " * 61 + query[2:-2] + " }" * 61 + " }"
    answer = await stack.graphql(hidden)
    assert answer["errors"][0]["extensions"]["reason"] == "DEPTH"


async def test_an_invalid_document_of_multiplying_fragments_is_refused_at_once(stack: Stack) -> None:
    fragments = " ".join(f"fragment F{n} on User {{ ...F{n + 1} ...F{n + 1} }}" for n in range(25))
    answer = await stack.graphql(f"{{ viewer {{ ...F0 }} }} {fragments} fragment F25 on User {{ nope }}")
    assert answer["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_introspection_through_multiplying_fragments_is_answered_at_once(stack: Stack) -> None:
    levels = 200
    fragments = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(levels))
    async with asyncio.timeout(10):
        query = f"{{ ...F0 }} {fragments} fragment F{levels} on Query {{ __typename }}"
        answer = await stack.client.post("/graphql", json={"query": query})
    assert answer.json()["errors"][0]["extensions"]["code"] in {"QUERY_TOO_COMPLEX", "GRAPHQL_VALIDATION_FAILED"}
    shallow = fragments.replace(f"...F{levels} ...F{levels}", "__typename").split(" fragment F12 ")[0]
    query = f"{{ ...F0 }} {shallow} fragment F12 on Query {{ __typename }}"
    answer = await stack.client.post("/graphql", json={"query": query})
    assert answer.json() == {"data": {"__typename": "Query"}}


async def test_refused_documents_keep_no_request_errors(stack: Stack) -> None:
    answers = [await stack.client.post("/graphql", json={"query": "{ nope }"}) for _ in range(3)]
    ids = {answer.json()["errors"][0]["extensions"]["requestId"] for answer in answers}
    assert len(ids) == 3
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, RequestError)]
    assert kept == []


async def test_a_number_that_is_too_long_is_refused(stack: Stack) -> None:
    answer = await stack.graphql("{ viewer { agents(first: " + "9" * 5000 + ") { nodes { id } } } }")
    message = answer["errors"][0]["message"]
    assert "set_int_max_str_digits" not in message
    assert len(message) < 600


async def test_a_trailing_slash_is_404_without_a_redirect(stack: Stack) -> None:
    answer = await stack.client.get("/graphql/", headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers


HASH = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}


async def test_a_hash_needs_a_document(stack: Stack) -> None:
    query, extensions = "{ viewer { email } }", json.dumps(HASH)
    for _ in range(2):
        for alone in (
            await stack.client.post("/graphql", json={"extensions": HASH}, headers=stack.headers()),
            await stack.client.get("/graphql", params={"extensions": extensions}, headers=stack.headers()),
            await stack.client.get("/graphql", params={"extensions": extensions, "query": ""}, headers=stack.headers()),
        ):
            [error] = alone.json()["errors"]
            assert (alone.status_code, error["message"]) == (200, "PersistedQueryNotSupported")
            assert error["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
        for both in (
            await stack.client.post("/graphql", json={"query": query, "extensions": HASH}, headers=stack.headers()),
            await stack.client.get(
                "/graphql", params={"query": query, "extensions": extensions}, headers=stack.headers()
            ),
        ):
            assert both.json() == {"data": {"viewer": {"email": "ada@example.com"}}}


async def test_get_serves_queries_only(stack: Stack) -> None:
    ok = await stack.client.get("/graphql", params={"query": "{ viewer { email } }"}, headers=stack.headers())
    assert ok.json() == {"data": {"viewer": {"email": "ada@example.com"}}}
    mutation = 'mutation { createConversation(input: {agentId: "x"}) { errors { message } } }'
    refused = await stack.client.get("/graphql", params={"query": mutation}, headers=stack.headers())
    assert refused.status_code == 405
    assert refused.headers["allow"] == "POST"
    assert (await stack.client.put("/graphql", headers=stack.headers())).status_code == 405
    form = await stack.client.post("/graphql", data={"query": "{ viewer { id } }"}, headers=stack.headers())
    assert form.status_code == 415
    subscription = {"query": 'subscription { stream(id: "x") { cursor } }'}
    assert (await stack.client.post("/graphql", json=subscription, headers=stack.headers())).status_code == 406


async def test_accept_chooses_the_media_type(stack: Stack) -> None:
    new = stack.headers() | {"accept": "application/graphql-response+json"}
    good = await stack.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=new)
    assert good.headers["content-type"].startswith("application/graphql-response+json")
    bad = await stack.client.post("/graphql", json={"query": "{ nope }"}, headers=new)
    assert bad.status_code == 400
    page = await stack.client.post(
        "/graphql", json={"query": "{ viewer { id } }"}, headers=new | {"accept": "text/html"}
    )
    assert page.status_code == 406


async def test_operators_get_health_metrics_and_descriptions(stack: Stack) -> None:
    await stack.graphql("{ viewer { agents { nodes { name } } } }")
    assert (await stack.client.get("/ping")).json() == {"status": "ok"}
    health = (await stack.client.get("/health")).json()
    assert health["status"] == "ok"
    assert set(health["services"]) == {"ams", "letta", "litellm", "supabase"}
    metrics = (await stack.client.get("/metrics")).text
    assert 'agentgraph_upstream_calls_total{operation="me",outcome="ok",service="ams"} 1.0' in metrics
    assert 'agentgraph_requests_total{method="POST",route="/graphql",status="200"} 1.0' in metrics
    assert 'agentgraph_breaker{agentgraph_breaker="closed",service="letta"} 1.0' in metrics
    document = (await stack.client.get("/openapi.json")).json()
    assert {"/v1/chat/completions", "/v1/models", "/ping", "/readyz", "/health", "/metrics"} <= set(document["paths"])
    for path in ("/docs", "/redoc"):
        assert (await stack.client.get(path)).status_code == 200
