"""HTTP features that browsers do not use: HEAD, OPTIONS, HTTP/1.0, Expect."""

from __future__ import annotations

import asyncio
import json
import uuid

import httpx
import pytest

from tests.support import things
from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import ACCEPTS
from tests.support.stack import Stack
from tests.support.streaming import completion, expected

ORIGIN = "http://localhost:5173"


async def exchange(stack: Stack, request: bytes) -> tuple[bytes, bytes]:
    """Send raw bytes. Return head and body of the answer once the server has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.lower(), body


def posted(stack: Stack, path: str, body: object, *, version: str = "1.0", headers: str = "") -> bytes:
    sent = json.dumps(body)
    head = f"POST {path} HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {stack.token()}\r\n{headers}"
    return f"{head}content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n{sent}".encode()


PATHS = ("/ping", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/", "/nope")


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_answer_of_get_without_the_body(stack: Stack, path: str) -> None:
    get, head = await stack.client.get(path), await stack.client.head(path)
    assert head.status_code == get.status_code
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["x-request-id"]
    assert head.content == b""
    if path not in {"/", "/health", "/metrics"}:  # which are made anew each time
        assert head.headers["content-length"] == str(len(get.content))


async def test_head_is_answered_at_every_endpoint(stack: Stack) -> None:
    models = await stack.client.head("/v1/models", headers=stack.headers())
    assert (models.status_code, models.content) == (200, b"")
    asked = {"query": "{ viewer { email } }"}
    graph = await stack.client.head("/graphql", params=asked, headers=stack.headers())
    assert (graph.status_code, graph.content) == (200, b"")
    assert (await stack.client.head("/graphql", params=asked)).status_code == 401
    page = await stack.client.head("/graphql", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("media", ["text/event-stream", "multipart/mixed"])
async def test_head_starts_no_stream(stack: Stack, media: str) -> None:
    asked = {"query": STREAM, "variables": json.dumps({"id": await things.stream(stack)})}
    before = len(stack.platform.state.calls)
    answer = await stack.client.head("/graphql", params=asked, headers={**stack.headers(), "accept": media})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith(media)
    assert len(stack.platform.state.calls) == before
    refused = await stack.client.head("/graphql", params=asked, headers={"accept": media})
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_accept_may_come_in_several_headers(stack: Stack) -> None:
    headers = [*stack.headers().items(), ("accept", "image/png"), ("accept", "application/graphql-response+json")]
    answer = await stack.client.post("/graphql", json={"query": "{ __typename }"}, headers=httpx.Headers(headers))
    assert answer.headers["content-type"] == "application/graphql-response+json; charset=utf-8"


async def test_a_connection_continues_after_head(stack: Stack) -> None:
    request = b"HEAD /ping HTTP/1.1\r\nhost: x\r\n\r\nGET /ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    head, rest = await exchange(stack, request)
    assert head.startswith(b"http/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")
    assert rest.endswith(b'{"status":"ok"}')


async def test_a_page_of_an_allowed_origin_may_send_head(stack: Stack) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "HEAD"}
    assert (await stack.client.options("/v1/models", headers=asked)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/ping", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/ping", "GET, HEAD"),
        ("PUT", "/graphql", "GET, POST"),
        ("OPTIONS", "/graphql", "GET, POST"),
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/models", "GET"),
    ],
)
async def test_a_wrong_method_is_405_with_the_allowed_ones(stack: Stack, method: str, path: str, allow: str) -> None:
    answer = await stack.client.request(method, path, headers=stack.headers())
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_an_http_1_0_client_gets_a_stream_without_chunks(stack: Stack) -> None:
    asked = {"model": stack.chat_model, "stream": True, "messages": [{"role": "user", "content": "[[tokens=3]]"}]}
    head, body = await exchange(stack, posted(stack, "/v1/chat/completions", asked))
    assert head.startswith(b"http/1.1 200")
    assert b"\r\ntransfer-encoding:" not in head
    assert b"connection: close" in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")
    assert all(line.startswith((b"data: ", b":")) for line in body.split(b"\n") if line)


@pytest.mark.parametrize("accept", ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"])
async def test_an_http_1_0_client_gets_a_subscription_without_chunks(stack: Stack, accept: str) -> None:
    asked = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=3 delay=0"), "k": "k"}}
    head, body = await exchange(stack, posted(stack, "/graphql", asked, headers=f"accept: {accept}\r\n"))
    assert b"\r\ntransfer-encoding:" not in head
    assert body.endswith(b"event: complete\ndata:\n\n" if "event" in accept else b"--graphql--\r\n")
    assert body.count(b"TextDelta") == body.count(b'"text"') >= 1


@pytest.mark.parametrize("connection", ["", "connection: keep-alive\r\n"])
async def test_an_http_1_0_client_gets_a_whole_answer_with_its_length(stack: Stack, connection: str) -> None:
    head, body = await exchange(stack, posted(stack, "/graphql", {"query": "{ __typename }"}, headers=connection))
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head
    assert json.loads(body) == {"data": {"__typename": "Query"}}


async def test_an_http_1_0_client_gets_no_interim_answer(stack: Stack) -> None:
    request = posted(stack, "/graphql", {"query": "{ __typename }"}, headers="expect: 100-continue\r\n")
    head, _ = await exchange(stack, request)
    assert head.startswith(b"http/1.1 200")


async def test_http_1_0_head_has_no_body(stack: Stack) -> None:
    head, body = await exchange(stack, b"HEAD /ping HTTP/1.0\r\n\r\n")
    assert (head[:12], body) == (b"http/1.1 200", b"")


async def test_expect_is_answered_with_continue_or_a_refusal(stack: Stack) -> None:
    headers = "expect: 100-continue\r\nconnection: close\r\n"
    request = posted(stack, "/graphql", {"query": "{ __typename }"}, version="1.1", headers=headers)
    head, rest = await exchange(stack, request)
    assert head == b"http/1.1 100 continue"
    assert rest.startswith(b"HTTP/1.1 200")
    refused = request.replace(stack.token()[:20].encode(), b"x" * 20)
    head, _ = await exchange(stack, refused)
    assert head.startswith(b"http/1.1 401")


async def test_an_http_1_1_client_gets_chunks(stack: Stack) -> None:
    asked = {"model": stack.chat_model, "stream": True, "messages": [{"role": "user", "content": "[[tokens=3]]"}]}
    answer = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
    assert answer.headers["transfer-encoding"] == "chunked"
    assert expected(3).split()[0] in answer.text


SAFELISTED = {
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
}
OF_THE_CONNECTION = {"date", "connection", "transfer-encoding", "vary", "x-accel-buffering"}
FOR_BROWSERS = {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "location",
    "referrer-policy",
    "x-content-type-options",
}
OF_THE_PROVIDER = "llm_provider-"
"""The prefix of headers that a real LiteLLM copies from the model's provider. The provider chooses their names."""


async def test_a_page_can_read_all_headers_of_answers(stack: Stack) -> None:
    chat = {"model": stack.chat_model, "messages": [{"role": "user", "content": "[[tokens=2 delay=0]]"}]}
    bare, signed_in = {"origin": ORIGIN}, {"origin": ORIGIN} | stack.headers()
    coded, keyed = signed_in | {"content-encoding": "br"}, signed_in | {"idempotency-key": str(uuid.uuid4())}
    vectors = {"model": stack.embedding_model, "input": "a"}
    failing = {"model": stack.chat_model, "messages": [{"role": "user", "content": "[[error=429]]"}]}
    streamed = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=2 delay=0"), "k": str(uuid.uuid4())}}
    by_agent = {"origin": ORIGIN, "authorization": f"Bearer {stack.agent_secret()}"}
    answers = [
        await stack.client.post("/v1/chat/completions", json=chat, headers=signed_in),
        await stack.client.post("/v1/chat/completions", json=chat | {"stream": True}, headers=signed_in),
        await stack.client.post("/v1/chat/completions", json=chat | {"model": "nope"}, headers=signed_in),
        await stack.client.post("/v1/chat/completions", json=chat, headers=bare),
        await stack.client.post("/v1/chat/completions", json=chat, headers=coded),
        await stack.client.get("/v1/chat/completions", headers=signed_in),
        await stack.client.post("/graphql", json={"query": "{ __typename }"}, headers=signed_in),
        await stack.client.post("/graphql", json={"query": "{ __typename }"}, headers=coded),
        await stack.client.post("/v1/chat/completions", json=chat, headers=keyed),
        await stack.client.post("/v1/chat/completions", json=chat | {"n": 1}, headers=keyed),
        await stack.client.post("/v1/chat/completions", json=failing, headers=signed_in),
        await stack.client.post("/v1/embeddings", json=vectors, headers=signed_in),
        await stack.client.get("/v1/models", headers=signed_in),
        await stack.client.get("/v1/models/nope", headers=signed_in),
        await stack.client.post(f"{stack.proxy()}/chat/completions", json=chat, headers=by_agent),
        await stack.client.get("/graphql", params={"query": "{ __typename }"}, headers=signed_in),
        *[
            await stack.client.post("/graphql", json=streamed, headers=signed_in | {"accept": a})
            for a in ACCEPTS.values()
        ],
        *[await stack.client.get(path, headers=bare) for path in PATHS],
    ]
    for answer in answers:
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"retry-after", "x-should-retry"} <= exposed
        theirs = {name for name in answer.headers if not name.startswith(("access-control-", OF_THE_PROVIDER))}
        assert theirs - SAFELISTED - OF_THE_CONNECTION - FOR_BROWSERS - exposed == set()


@pytest.mark.bound("query-fields")
async def test_a_query_string_past_the_bound_on_parameters_is_refused(stack: Stack) -> None:
    for count, status in ((100, 200), (101, 400)):
        address = "/graphql?query=%7B__typename%7D" + "&x=1" * (count - 1)
        answer = await stack.client.get(address, headers=stack.headers())
        assert answer.status_code == status
        assert ("more than 100 parameters" in answer.text) is (status == 400)
