"""What browsers may do: CORS with patterns, security headers, cross-site request forgery, WebSockets of any page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.pages.files import BUILT
from tests.support.documents import COMPLETION
from tests.support.stack import Stack, embedded_stack
from tests.support.streaming import completion
from tests.support.websocket import PROTOCOL

in_one_loop = pytest.mark.asyncio(loop_scope="module")

HTML = {"accept": "text/html"}
QUERY = {"query": "{ viewer { id } }"}
OVER_TLS = {"x-forwarded-proto": "https"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with embedded_stack(allowed_origins="https://*.example.com,https://app.example", hsts_seconds=600) as running:
        yield running


@in_one_loop
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example.com", True),
        ("https://app.example", True),
        ("https://example.com", False),
        ("https://a.b.example.com", False),
        ("https://evil-example.com", False),
        ("https://a.example.com.evil.org", False),
        ("https://a.example.com:8443", False),
        ("http://a.example.com", False),
        ("http://localhost:5173", False),
        ("null", False),
    ],
)
async def test_pages_of_a_pattern_may_read_answers_and_refusals(stack: Stack, origin: str, allowed: bool) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    asked |= {"access-control-request-headers": "authorization"}
    preflight = await stack.client.options("/graphql", headers=asked)
    answers = [
        await stack.client.post("/graphql", json=QUERY, headers={"origin": origin, **stack.headers()}),
        await stack.client.get("/v1/models", headers={"origin": origin}),
    ]
    assert [answer.status_code for answer in (preflight, *answers)] == [200 if allowed else 400, 200, 401]
    for answer in (preflight, *answers):
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]


def assert_safe(answer: httpx.Response) -> None:
    """Check the headers of any answer. A browser obeys HSTS only if it is sent over https (RFC 6797, 7.2)."""
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "strict-transport-security" not in answer.headers


@in_one_loop
async def test_every_answer_forbids_sniffing_and_frames(stack: Stack) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[tokens=1 delay=0]]"}]}
    stream = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=1 delay=0"), "k": "edges"}}
    events, signed_in = {"accept": "text/event-stream"}, stack.headers()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        *(("GET", path, {}) for path in ("/", "/ping", "/health", "/metrics", "/openapi.json", "/nope", "/demo/nope")),
        *(("GET", path, {"headers": HTML}) for path in ("/graphql", "/docs", "/redoc")),
        *(("DELETE", path, {}) for path in ("/ping", "/graphql", "/v1/models")),
        ("GET", "/pages/assets/nope.js", {}),
        ("GET", "/pages/src/main.js", {}),
        ("GET", "/auth/v1/.well-known/jwks.json", {}),
        ("POST", "/auth/v1/token", {}),
        ("OPTIONS", "/graphql", {"headers": {"origin": "https://evil.org", "access-control-request-method": "POST"}}),
        ("POST", "/graphql", {"json": QUERY}),
        ("POST", "/graphql", {"json": QUERY, "headers": signed_in}),
        ("POST", "/graphql", {"json": stream, "headers": signed_in | events}),
        ("POST", "/v1/chat/completions", {"json": body, "headers": signed_in}),
        ("POST", "/v1/chat/completions", {"json": body | {"stream": True}, "headers": signed_in}),
        ("POST", "/v1/chat/completions", {"content": b"{", "headers": signed_in}),
        ("POST", f"{stack.proxy()}/embeddings", {"json": {}}),
    ]
    statuses = set()
    for method, path, options in asked:
        answer = await stack.client.request(method, path, **options)
        assert_safe(answer)
        statuses.add(answer.status_code)
    assert {200, 400, 401, 404, 405} <= statuses
    url = stack.url.replace("http", "ws")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{url}/nope", proxy=None):
            pass
    assert refused.value.response.headers["x-content-type-options"] == "nosniff"


@in_one_loop
async def test_every_page_has_a_policy_and_sends_no_referrer(stack: Stack) -> None:
    found = {
        path: await stack.client.get(path, headers=HTML) for path in ("/", "/graphql", "/docs", "/redoc", "/demo/")
    }
    pages = {path: page for path, page in found.items() if page.headers["content-type"].startswith("text/html")}
    assert {"/", "/graphql", "/docs", "/redoc"} <= set(pages)
    for path, page in pages.items():
        policy = page.headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert page.headers["referrer-policy"] == "no-referrer"
        assert rules["default-src"] in {"'none'", "'self'"}
        scripts = rules.get("script-src", rules["default-src"]).split()
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & set(scripts), path
        if BUILT.is_dir() and path != "/redoc":
            assert "//" not in policy


@in_one_loop
async def test_hsts_is_sent_over_https_only(stack: Stack) -> None:
    for path, headers in (("/ping", {}), ("/", {}), ("/nope", {}), ("/v1/models", {}), ("/ping", stack.headers())):
        assert "strict-transport-security" not in (await stack.client.get(path, headers=headers)).headers
        over_tls = await stack.client.get(path, headers=headers | OVER_TLS)
        assert over_tls.headers["strict-transport-security"] == "max-age=600"


async def test_hsts_is_off_unless_it_is_set() -> None:
    async with embedded_stack() as stack:
        assert "strict-transport-security" not in (await stack.client.get("/ping", headers=OVER_TLS)).headers


FORMS = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "text/plain; a=json",
    "Text/Plain ;charset=utf-8",
    None,
]


@in_one_loop
@pytest.mark.parametrize("content_type", FORMS)
@pytest.mark.parametrize("content", ['{"query": "%s"}', "query=%s"])
async def test_a_form_executes_nothing_even_with_a_token(stack: Stack, content_type: str | None, content: str) -> None:
    headers = {"content-type": content_type} if content_type is not None else {}
    calls = len(stack.platform.state.calls)
    for document in ("{ __typename }", "{ viewer { agents { nodes { id } } } }"):
        for more in ({}, stack.headers(), {"cookie": "token=x", "graphql-require-preflight": "1"}):
            request = httpx.Request(
                "POST", f"{stack.url}/graphql", content=(content % document).encode(), headers=headers | more
            )
            answer = await stack.client.send(request)
            assert (answer.status_code, "data" in answer.json()) == (415, False)
    assert len(stack.platform.state.calls) == calls


@in_one_loop
async def test_a_simple_get_executes_nothing(stack: Stack) -> None:
    asked = {"query": "{ __typename }"}
    simple = [
        {},
        {"cookie": "a=b"},
        *({"content-type": kind} for kind in FORMS if kind),
        {"origin": "https://evil.org"},
    ]
    for headers in simple:
        answer = await stack.client.get("/graphql", params=asked, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["reason"]) == (400, "PREFLIGHT")
        private = await stack.client.get("/graphql", params=QUERY, headers=headers)
        assert (private.status_code, private.json()["errors"][0]["extensions"]["reason"]) == (401, "TOKEN_MISSING")
    preflighted = [
        {"graphql-require-preflight": "1"},
        {"apollo-require-preflight": "true"},
        {"x-apollo-operation-name": "Q"},
        {"content-type": "application/json"},
        stack.headers(),
    ]
    for headers in preflighted:
        answer = await stack.client.get("/graphql", params=asked, headers=headers)
        assert answer.json() == {"data": {"__typename": "Query"}}


@in_one_loop
async def test_a_socket_has_no_credential_but_its_own(stack: Stack) -> None:
    """A page of any origin may open a socket. A browser adds no credential to it, so it can do nothing."""
    headers = {"origin": "https://evil.org", "cookie": f"token={stack.token()}; sb-access-token={stack.token()}"}
    url = stack.url.replace("http", "ws") + "/graphql"
    for message, code in (
        ({"type": "connection_init"}, 4403),
        ({"type": "subscribe", "id": "1", "payload": QUERY}, 4401),
    ):
        async with connect(url, subprotocols=[PROTOCOL], additional_headers=headers, proxy=None) as socket:
            await socket.send(json.dumps(message))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


@in_one_loop
async def test_sign_in_of_the_development_needs_json_and_the_password(stack: Stack) -> None:
    """With a rebound name in ``Host``, a page can read answers. Without the password, it gets no user's token."""
    user = json.dumps({"email": "ada@example.com", "password": "guessed"})
    for path in ("/auth/v1/token?grant_type=password", "/auth/v1/signup"):
        for kind in FORMS:
            headers = {"content-type": kind} if kind is not None else {}
            request = httpx.Request("POST", f"{stack.url}{path}", content=user.encode(), headers=headers)
            assert (await stack.client.send(request)).status_code == 415
    rebound = {"host": "rebound.example", "content-type": "application/json", "sec-fetch-site": "same-origin"}
    answer = await stack.client.post("/auth/v1/token?grant_type=password", content=user, headers=rebound)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_credentials")
    assert (await stack.client.get("/demo/token", headers=rebound)).status_code == 404
