"""What the process keeps in memory: no token after its request, and no content after its retention.

All objects that the application refers to are searched: caches, quotas, metrics, streams, stored answers and breakers.
A connection has the headers of its latest request until it closes, so the clients close their connections first.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.embedded import http_client
from clients.ams import Ams
from tests.support.canaries import Canaries
from tests.support.documents import COMPLETION, INSERT_PASSAGE, SEND_MESSAGE, UPDATE_MEMORY_BLOCK
from tests.support.doors import events
from tests.support.kept import texts_in
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, opened_socket, until
from tests.support.streaming import completion, message_input

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with embedded_stack(stream_retention_seconds=0.2, stream_grace_seconds=0) as running:
        yield running


def kept(stack: Stack, canaries: Canaries) -> set[str]:
    """Return the names of the canaries that the application refers to."""
    canaries.sinks["kept"] = bytearray(b"\n".join(texts_in(stack.app)))
    return {name for name, sinks in canaries.found().items() if "kept" in sinks}


def bearer(canaries: Canaries, name: str, token: str) -> dict[str, str]:
    canaries.plant(f"token:{name}", token[-40:])
    return {"authorization": f"Bearer {token}"}


async def test_no_content_is_kept_after_its_retention(stack: Stack) -> None:
    canaries, agent_id = Canaries(), await stack.make_agent()
    headers = bearer(canaries, "ada", stack.token(lifetime_seconds=1000))

    def text(name: str) -> str:
        return canaries.plant(f"text:{name}")

    async def ask(query: str, **variables: Any) -> None:
        body = {"query": query, "variables": variables}
        assert (await stack.client.post("/graphql", json=body, headers=headers)).status_code == 200

    key = canaries.plant("key")
    await ask(f'{{ viewer {{ agents(filter: {{search: "{text("document")}"}}) {{ totalCount }} }} }}')
    await ask(INSERT_PASSAGE, a=agent_id, t=text("passage"), k=key)
    await ask(UPDATE_MEMORY_BLOCK, b=f"block-{uuid.uuid4()}", v=text("block"))
    said = message_input(agent_id, f"tokens=3 {text('message')}")
    await ask(SEND_MESSAGE, i=said | {"idempotencyKey": f"{key}-m", "waitSeconds": 5})
    asked = completion(stack, f"tokens=3 {text('completion')}")
    assert [event async for event in events(stack, "event stream", COMPLETION, {"i": asked, "k": f"{key}-c"})]
    chat = {"model": stack.chat_model, "messages": [{"role": "user", "content": text("prompt")}]}
    keyed = headers | {"idempotency-key": key}
    for body in (chat, chat | {"stream": True}, {"model": text("model"), "messages": chat["messages"]}):
        await stack.client.post("/v1/chat/completions", json=body, headers=keyed if "stream" not in body else headers)
    async with opened_socket(stack, stack.token(lifetime_seconds=1001)) as socket:
        await socket.subscribe(COMPLETION, {"i": asked, "k": f"{key}-w"})
        while (await socket.hear())["type"] != "complete":
            pass
    await until(lambda: kept(stack, canaries) <= {"text:document"})
    assert kept(stack, canaries) == {"text:document"}, "the cache of documents has the texts of operations"


async def test_no_token_is_kept_while_it_is_valid_or_after_it_is_refused(stack: Stack) -> None:
    canaries = Canaries()
    tokens = {"valid": stack.token(lifetime_seconds=999), "expired": stack.token(lifetime_seconds=-60)}
    tokens["unknown"] = f"{canaries.plant('token:unknown')}.e.f"
    tokens["agent"] = f"x.{stack.agent_secret()}"
    async with opened_socket(stack, tokens["valid"]), http_client.client(base_url=stack.url) as client:
        for name, token in tokens.items():
            headers = bearer(canaries, name, token.removeprefix("x."))
            for path in ("/graphql", "/v1/models", f"/api/v1/agents/{ADA}/proxy/models"):
                await client.get(path, params={"query": "{ viewer { id } }"}, headers=headers)
        await client.aclose()
        await until(lambda: kept(stack, canaries) == set())


async def test_a_crash_keeps_and_logs_no_value(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = Canaries()
    secret, alias = canaries.plant("secret"), canaries.plant("alias")
    before = len(stack.log.getvalue())

    async def crash(*_: object, **__: object) -> None:
        held = {secret: "a local variable"}
        raise KeyError(f"no {secret} in {held}")

    with monkeypatch.context() as crashing:
        crashing.setattr(Ams, "account", crash)
        answer = await stack.graphql(f"{{ viewer {{ {alias}: agents(first: 1) {{ totalCount }} }} }}", user=GRACE)
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"
    canaries.leak("reply", answer["errors"][0]["message"])
    canaries.leak("log", stack.log.getvalue()[before:])
    assert b"in crash" in canaries.sinks["log"]
    assert b'"field":"agents"' in canaries.sinks["log"]
    assert canaries.found() == {"secret": set(), "alias": set()}
    assert "secret" not in kept(stack, canaries)
