"""Tokens of every kind at every endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.embedded.people import ADA
from tests.support.doors import refusal
from tests.support.stack import Stack, embedded_stack
from tests.support.supabase import SECRET, Issuer, issuing
from tests.support.token_kinds import ANONYMOUS, IN_LEEWAY, JWKS, KINDS, MISSING, OK
from tests.support.websocket import PROTOCOL

UNLIMITED = {"rate_limit_general": 0, "rate_limit_llm": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def project() -> AsyncIterator[tuple[Issuer, Stack]]:
    async with issuing(*JWKS) as issuer:
        settings: dict[str, Any] = {"supabase_url": issuer.url, "supabase_jwt_secret": SECRET, **UNLIMITED}
        async with embedded_stack(**settings) as stack:
            yield issuer, stack


async def over_websocket(stack: Stack, authorization: str | None) -> tuple[int, str]:
    """Return the code and reason with which a socket is closed; 0 if it is signed in."""
    async with connect(stack.url.replace("http", "ws") + "/graphql", subprotocols=[PROTOCOL], proxy=None) as socket:
        payload = {} if authorization is None else {"authorization": authorization}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        try:
            assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
        return 0, OK


def statuses(reason: str) -> tuple[int, str, str]:
    """Return the HTTP status, the code, and the ``code`` at ``/v1``."""
    if reason == ANONYMOUS:
        return 403, "FORBIDDEN", "anonymous"
    return 401, "UNAUTHENTICATED", "invalid_api_key"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
async def test_each_endpoint_accepts_or_refuses_a_token(project: tuple[Issuer, Stack], kind: str) -> None:
    issuer, stack = project
    make, reason = KINDS[kind]
    authorization = make(issuer)
    headers = {} if authorization is None else {"authorization": authorization}
    query = {"query": "{ viewer { id } }"}
    answers = [
        await stack.client.post("/graphql", json=query, headers=headers),
        await stack.client.post("/graphql", json=query, headers=headers | {"accept": "text/event-stream"}),
    ]
    openai = await stack.client.get("/v1/models", headers=headers)
    socket = await over_websocket(stack, authorization)
    if reason == OK:
        assert answers[0].json() == {"data": {"viewer": {"id": f"user:{ADA}"}}}
        assert f'{{"data":{{"viewer":{{"id":"user:{ADA}"}}}}}}' in answers[1].text
        refused = (4403, "TOKEN_EXPIRED")  # a WebSocket takes no token that has expired, not even within the leeway
        assert (openai.status_code, socket) == (200, refused if kind == IN_LEEWAY else (0, OK))
        return
    status, code, openai_code = statuses(reason)
    assert [answer.status_code for answer in answers] == [status, 200]
    for answer in answers:
        extensions = refusal(answer)["errors"][0]["extensions"]
        assert (extensions["code"], extensions["reason"]) == (code, reason)
    assert (openai.status_code, openai.json()["error"]["code"]) == (status, openai_code)
    assert socket == (4403, reason)


def test_the_suite_has_at_least_164_kinds() -> None:
    assert len(KINDS) >= 164
    assert sum(kind.reason not in {OK, MISSING} for kind in KINDS.values()) >= 150
