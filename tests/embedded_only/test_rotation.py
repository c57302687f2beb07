"""Keys of an issuer that rotate, and an issuer that is down, at the endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from websockets.exceptions import ConnectionClosed

from app.embedded.people import ADA
from app.signin import issuer as issuer_module
from app.signin import opening
from clients.http.transport import HttpTransport
from tests.support.documents import COMPLETION_TEXT
from tests.support.stack import Stack, embedded_stack, opened_socket, until
from tests.support.supabase import Issuer, Key, issuing, key_pair

OLD, NEW = key_pair("ES256", "old"), key_pair("ES256", "new")
SHED = {"BUSY", "REQUESTS"}
"""The reasons with which a gateway on a busy machine refuses some of many requests."""

QUERY = {"query": "{ viewer { id } }"}


class Asking:
    """A client of one gateway and issuer that sends any number of queries at a time."""

    def __init__(self, stack: Stack, issuer: Issuer, client: httpx.AsyncClient) -> None:
        self._url = f"{stack.url}/graphql"
        self._issuer = issuer
        self._client = client

    async def __call__(self, key: Key, **header: object) -> tuple[int, Any]:
        """Send a query with a new token until the gateway sheds no load. Return the answer's status and body."""
        headers = {"authorization": f"Bearer {key.token(self._issuer.claims(), **header)}"}
        while True:
            answer = await self._client.post(self._url, json=QUERY, headers=headers)
            body = answer.json()
            if answer.status_code not in {429, 503} or body["errors"][0]["extensions"]["reason"] not in SHED:
                return answer.status_code, body

    async def statuses(self, *keys: Key) -> set[int]:
        """Send a query for each key at once, and return the statuses."""
        return {status for status, _ in await asyncio.gather(*map(self, keys))}


@asynccontextmanager
async def asking(*keys: Key) -> AsyncIterator[tuple[Asking, Issuer, Stack]]:
    """Run a gateway whose issuer publishes keys, and read them once."""
    async with (
        issuing(*(key.jwk for key in keys)) as issuer,
        embedded_stack(supabase_url=issuer.url, rate_limit_general=0) as stack,
        httpx.AsyncClient(transport=HttpTransport(), timeout=None) as client,
    ):
        ask = Asking(stack, issuer, client)
        assert (await ask(keys[0]))[0] == 200
        yield ask, issuer, stack


async def test_no_request_is_refused_while_keys_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "JWKS_SECONDS", 60.0)
    monkeypatch.setattr(issuer_module, "COOL_DOWN_SECONDS", 0.0)
    async with asking(OLD) as (ask, issuer, stack):
        issuer.may_answer.clear()
        issuer.keys = [OLD.jwk, NEW.jwk]
        new = asyncio.create_task(ask.statuses(*[NEW] * 100))
        assert await ask.statuses(*[OLD] * 100) == {200}
        issuer.may_answer.set()
        assert await new == {200}
        issuer.keys = [NEW.jwk]
        async with opened_socket(stack, OLD.token(issuer.claims())) as socket:
            for kid in ("unknown", "unknown again"):
                assert (await ask(OLD, kid=kid))[0] == 401
            with pytest.raises(ConnectionClosed):
                await socket.hear()
        assert (await ask(OLD))[0] == 401
        assert (await ask(NEW))[0] == 200


async def test_a_thousand_unknown_kids_cause_one_fetch() -> None:
    async with asking(OLD) as (ask, issuer, _stack):
        fetches = issuer.fetches
        for hundred in range(10):
            kids = (f"{hundred} {number}" for number in range(100))
            answers = await asyncio.gather(*(ask(NEW, kid=kid) for kid in kids))
            assert {status for status, _ in answers} == {401}
        assert issuer.fetches <= fetches + 1


@pytest.mark.parametrize("failure", ["down", "500", "no JSON", "no keys"])
async def test_known_keys_verify_while_the_issuer_fails(monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    monkeypatch.setattr(issuer_module, "COOL_DOWN_SECONDS", 0.01)
    monkeypatch.setattr(issuer_module, "REFRESH_SECONDS", 0.01)
    async with asking(OLD) as (ask, issuer, stack):
        bodies = {"500": ("", 500), "no JSON": ("<html>", 200), "no keys": ("{}", 200), "down": ("", 503)}
        issuer.answer = PlainTextResponse(*bodies[failure])
        for _ in range(10):
            assert (await ask(OLD))[0] == 200
        status, body = await ask(NEW)
        error = body["errors"][0]["extensions"]
        assert (status, error["code"], error["reason"]) == (503, "UPSTREAM_UNAVAILABLE", "ISSUER")
        assert error["service"] == "supabase"
        headers = {"authorization": f"Bearer {NEW.token(issuer.claims())}"}
        openai = await stack.client.get("/v1/models", headers=headers)
        assert (openai.status_code, openai.json()["error"]["code"]) == (503, "issuer")


async def test_a_stream_runs_on_while_the_issuer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_module, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(issuer_module, "COOL_DOWN_SECONDS", 0.01)
    async with asking(OLD) as (ask, issuer, stack):
        async with opened_socket(stack, OLD.token(issuer.claims())) as socket:
            issuer.may_answer.clear()
            message = {"role": "USER", "content": "hi [[tokens=20 delay=0.01]]"}
            asked = {"i": {"model": stack.chat_model, "messages": [message]}, "k": "k"}
            heard = [event async for event in socket.events(COMPLETION_TEXT, asked)]
        assert heard[-1]["__typename"] == "StreamEnded"
        assert (await ask(OLD))[1] == {"data": {"viewer": {"id": f"user:{ADA}"}}}

        async def fetching() -> bool:
            return issuer.fetches > 1

        await until(fetching)
        issuer.may_answer.set()
