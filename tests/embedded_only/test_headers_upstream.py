from __future__ import annotations

from starlette.types import Receive, Scope, Send

from app.embedded.server import LoopbackServer
from tests.doors.test_proxy import EMBEDDING, asking
from tests.doors.test_requests import ask
from tests.support.stack import embedded_stack

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


async def test_no_header_of_the_callers_reaches_litellm() -> None:
    seen: list[dict[str, str]] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    server = LoopbackServer(listening)
    await server.start()
    try:
        async with embedded_stack(litellm_base_url=server.url, litellm_api_key="sk-platform") as stack:
            chat = asking(stack, "tokens=1")
            for path in ("/v1/chat/completions", "proxy/chat/completions"):
                for body in (chat, chat | {"stream": True}):
                    assert (await ask(stack, path, body, **STEERING)).status_code == 400
            for path in ("/v1/embeddings", "proxy/embeddings"):
                assert (await ask(stack, path, EMBEDDING, **STEERING)).status_code == 400
    finally:
        await server.stop()
    assert len(seen) == 6
    for headers in seen:
        assert set(headers) <= OURS
        assert "mine" not in headers["authorization"]
