from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.types import Receive, Scope, Send

from app.embedded.server import LoopbackServer
from tests.support.openai import EMBEDDING, ask, asking
from tests.support.stack import Stack, embedded_stack

OURS = {"host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "connection"}
OURS |= {"user-agent", "x-request-id", "traceparent"}
STEERING = {
    "x-litellm-api-key": "sk-mine",
    "x-litellm-tags": "free",
    "x-litellm-timeout": "6000",
    "x-litellm-num-retries": "9",
    "x-litellm-end-user-id": "grace",
    "x-litellm-customer-id": "grace",
    "x-litellm-disable-callbacks": "all",
    "x-api-key": "sk-mine",
    "api-key": "sk-mine",
    "openai-organization": "org-mine",
    "anthropic-beta": "x",
    "cookie": "token=sk-mine",
    "cache-control": "s-maxage=0",
    "baggage": "session.id=1",
}


@asynccontextmanager
async def behind_listener() -> AsyncIterator[tuple[Stack, list[dict[str, str]]]]:
    """Run a gateway with a LiteLLM that refuses every call, and record the headers of the calls."""
    seen: list[dict[str, str]] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    server = LoopbackServer(listening)
    await server.start()
    try:
        async with embedded_stack(litellm_base_url=server.url, litellm_api_key="sk-platform") as stack:
            yield stack, seen
    finally:
        await server.stop()


async def test_no_header_of_the_client_reaches_litellm() -> None:
    async with behind_listener() as (stack, seen):
        chat = asking(stack, "tokens=1")
        for path in ("/v1/chat/completions", "proxy/chat/completions"):
            for body in (chat, chat | {"stream": True}):
                assert (await ask(stack, path, body, **STEERING)).status_code == 400
        for path in ("/v1/embeddings", "proxy/embeddings"):
            assert (await ask(stack, path, EMBEDDING, **STEERING)).status_code == 400
    assert len(seen) == 6
    for headers in seen:
        assert set(headers) <= OURS
        assert "mine" not in headers["authorization"]


TRACE = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VALID = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
REPLACED = [
    "\xff",
    "",
    "0" * 9000,
    f"ff-{TRACE}",
    f"00-{TRACE}-more",
    f"00-{TRACE.upper()}",
    f"00-{'0' * 32}-b7ad6b7169203331-01",
    f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
]


async def test_a_valid_traceparent_is_passed_on_and_an_invalid_one_replaced() -> None:
    async with behind_listener() as (stack, seen):
        for given in (f"00-{TRACE}", f"01-{TRACE}-more", *REPLACED):
            headers = httpx.Headers({**stack.headers(), "traceparent": given}, encoding="latin-1")
            answer = await stack.client.post("/v1/embeddings", json=EMBEDDING, headers=headers)
            assert answer.status_code == 400
        twice = [*stack.headers().items(), *[("traceparent", f"00-{TRACE}")] * 2]
        await stack.client.post("/v1/embeddings", json=EMBEDDING, headers=twice)
        await stack.client.post("/v1/embeddings", json=EMBEDDING, headers=stack.headers())
    traces = [headers.get("traceparent") for headers in seen]
    assert traces[:2] == [f"00-{TRACE}"] * 2
    assert traces[-1] is None
    replaced = traces[2:-1]
    assert len(set(replaced)) == len(replaced) == len(REPLACED) + 1
    assert all(one is not None and VALID.fullmatch(one) and TRACE[:32] not in one for one in replaced)
