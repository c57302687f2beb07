"""The limit on failed sign-ins of one address, and the address that trusted proxies report."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app import devtokens
from app.embedded import http_client
from app.embedded.supabase.signing import claims_of
from app.identity import address_of
from tests.support.openai import EMBEDDING
from tests.support.serving import served
from tests.support.settings import settings_of
from tests.support.stack import ADA, GRACE, Stack, embedded_stack
from tests.support.websocket import PROTOCOL

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 3
QUERY = {"query": "{ viewer { id } }"}
ADDRESSES = (f"203.0.113.{number}" for number in itertools.count(1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    proxies = "127.0.0.1,10.0.0.0/8,fd00::/8"
    async with embedded_stack(sign_in_failures_per_minute=LIMIT, forwarded_allow_ips=proxies) as running:
        yield running


@pytest.fixture
def address() -> str:
    """A client's address that no other test uses."""
    return next(ADDRESSES)


def token(session_id: str | None = None, user: str = ADA, **options: Any) -> str:
    """Return a token of a session, by default of a new one."""
    claims = claims_of(issuer=devtokens.ISSUER, user_id=user, email=None, session_id=session_id, **options)
    return devtokens.signing_key().sign(claims)


def forged(session_id: str | None = None) -> str:
    """Return a token with an invalid signature."""
    return token(session_id)[:-8] + "AAAAAAAA"


async def graphql(stack: Stack, address: str, bearer: str | None) -> httpx.Response:
    headers = {"x-forwarded-for": address} | ({} if bearer is None else {"authorization": f"Bearer {bearer}"})
    return await stack.client.post("/graphql", json=QUERY, headers=headers)


async def models(stack: Stack, address: str, bearer: str | None) -> httpx.Response:
    headers = {"x-forwarded-for": address} | ({} if bearer is None else {"authorization": f"Bearer {bearer}"})
    return await stack.client.get("/v1/models", headers=headers)


async def closed_with(stack: Stack, address: str, bearer: str | None) -> tuple[int, str] | None:
    """Return the code and reason with which a socket is closed, or ``None`` if it is signed in."""
    url, headers = stack.url.replace("http", "ws") + "/graphql", {"x-forwarded-for": address}
    async with connect(url, subprotocols=[PROTOCOL], additional_headers=headers, proxy=None) as socket:
        payload = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        try:
            assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
    return None


async def exhaust(stack: Stack, address: str) -> None:
    """Send as many invalid tokens as the limit allows, over each transport."""
    assert (await graphql(stack, address, forged())).status_code == 401
    assert (await models(stack, address, forged())).status_code == 401
    assert await closed_with(stack, address, forged()) == (4403, "TOKEN_INVALID")


@pytest.mark.bound("sign-ins-with-invalid-token")
async def test_invalid_tokens_of_one_address_are_limited_over_all_transports(stack: Stack, address: str) -> None:
    await exhaust(stack, address)
    for bearer in (forged(), token(), "nonsense"):  # no signature is verified, even a valid one
        answer = await graphql(stack, address, bearer)
        extensions = answer.json()["errors"][0]["extensions"]
        assert (answer.status_code, extensions["code"], extensions["reason"]) == (
            429,
            "RATE_LIMITED",
            "RATE_LIMIT_SIGN_IN",
        )
        assert 1 <= int(answer.headers["retry-after"]) <= 59
        assert extensions["retryable"]
        at_openai = await models(stack, address, bearer)
        assert (at_openai.status_code, at_openai.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert await closed_with(stack, address, bearer) == (1013, "RATE_LIMIT_SIGN_IN")
    assert (await graphql(stack, next(ADDRESSES), token())).status_code == 200
    metrics = (await stack.client.get("/metrics")).text
    assert 'agentgraph_rate_limited_total{limit="sign_in"}' in metrics
    assert 'agentgraph_sign_in_failures_total{reason="TOKEN_INVALID"}' in metrics


@pytest.mark.bound("sign-ins-without-token")
async def test_requests_without_a_token_are_limited_and_delay_no_token(stack: Stack, address: str) -> None:
    for _ in range(LIMIT):
        assert (await models(stack, address, None)).status_code == 401
    assert (await models(stack, address, None)).status_code == 429
    assert await closed_with(stack, address, None) == (1013, "RATE_LIMIT_SIGN_IN")
    assert (await graphql(stack, address, token())).status_code == 200
    assert await closed_with(stack, address, token()) is None


async def test_a_neighbour_signs_nobody_out(stack: Stack, address: str) -> None:
    session_id, cached = str(uuid.uuid4()), token(user=GRACE)
    assert (await graphql(stack, address, cached)).status_code == 200
    assert (await graphql(stack, address, token(session_id))).status_code == 200
    await exhaust(stack, address)
    assert (await graphql(stack, address, token())).status_code == 429
    for bearer in (cached, token(session_id), token(session_id, lifetime_seconds=50)):  # refreshed twice
        assert (await graphql(stack, address, bearer)).status_code == 200
        assert (await models(stack, address, bearer)).status_code == 200
        assert await closed_with(stack, address, bearer) is None


async def test_a_known_session_gives_one_attempt_to_a_forger(stack: Stack, address: str) -> None:
    session_id = str(uuid.uuid4())
    assert (await graphql(stack, address, token(session_id))).status_code == 200
    await exhaust(stack, address)
    answers = [(await graphql(stack, address, forged(session_id))).status_code for _ in range(3)]
    assert answers == [429] * 3
    assert (await graphql(stack, address, token(session_id, lifetime_seconds=50))).status_code == 429


async def test_tokens_without_a_session_do_not_vouch_for_each_other(stack: Stack, address: str) -> None:
    claims = [claims_of(issuer=devtokens.ISSUER, user_id=user, email=None) for user in (ADA, GRACE)]
    first, second = (devtokens.signing_key().sign({**one, "session_id": None}) for one in claims)
    assert (await graphql(stack, address, first)).status_code == 200
    await exhaust(stack, address)
    assert (await graphql(stack, address, second)).status_code == 429
    assert (await graphql(stack, address, first)).status_code == 200


async def test_what_needs_no_sign_in_is_no_failure(stack: Stack, address: str) -> None:
    headers = {"x-forwarded-for": address}
    for _ in range(LIMIT + 1):
        for path in ("/", "/ping", "/health", "/metrics", "/auth/v1/.well-known/jwks.json", "/nope"):
            assert (await stack.client.get(path, headers=headers)).status_code != 429
        page = await stack.client.get("/graphql", headers=headers | {"accept": "text/html"})
        assert page.status_code == 200
        read = await stack.client.post(
            "/graphql", json={"query": "{ __schema { queryType { name } } }"}, headers=headers
        )
        assert "errors" not in read.json()
        for secret in (stack.agent_secret(GRACE), token()):  # at the proxy, Letta would retry a 429
            wrong = {"authorization": f"Bearer {secret}"} | headers
            answer = await stack.client.post(f"{stack.proxy()}/embeddings", json=EMBEDDING, headers=wrong)
            assert answer.status_code == 401
        assert (await graphql(stack, address, token(lifetime_seconds=-60))).status_code == 401
    assert (await models(stack, address, None)).status_code == 401
    assert (await graphql(stack, address, token())).status_code == 200


@pytest.mark.parametrize(
    ("reported", "other", "shares"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:3::1", "2001:db8:1:4::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.2", "::ffff:192.0.2.3", False),
        ("192.0.2.4:1000", "192.0.2.4:2000", True),
        ("[2001:db8:1:5::1]:1000", "2001:db8:1:5::2", True),
        ("6.6.6.6, 192.0.2.5", "7.7.7.7, 192.0.2.5", True),
        ("192.0.2.6, 192.0.2.7, 10.1.2.3", "192.0.2.8, 192.0.2.7, fd00::1, 10.9.9.9", True),
        ("192.0.2.13, ::ffff:10.1.2.3", "192.0.2.13, ::FFFF:10.9.9.9", True),
        ("192.0.2.14, ::ffff:10.1.2.3", "192.0.2.15, ::ffff:10.1.2.3", False),
        ("192.0.2.9, 192.0.2.10", "192.0.2.9, 192.0.2.11", False),
        ("unknown, 192.0.2.12", "x" * 500 + ", 192.0.2.12", True),
    ],
)
async def test_the_last_address_that_no_trusted_proxy_has_is_counted(
    stack: Stack, reported: str, other: str, shares: bool
) -> None:
    await exhaust(stack, reported)
    assert (await graphql(stack, other, forged())).status_code == (429 if shares else 401)


async def test_a_client_that_is_no_trusted_proxy_cannot_choose_its_address() -> None:
    headers = ("x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip")
    async with embedded_stack(sign_in_failures_per_minute=LIMIT, forwarded_allow_ips="10.0.0.0/8") as stack:
        statuses = []
        for number, name in enumerate(headers):
            claimed = f"for=192.0.2.{number}" if name == "forwarded" else f"192.0.2.{number}"
            sent = {name: claimed, "authorization": f"Bearer {forged()}"}
            statuses.append((await stack.client.post("/graphql", json=QUERY, headers=sent)).status_code)
    assert statuses == [401] * LIMIT + [429] * (len(headers) - LIMIT)


async def test_an_ipv4_proxy_of_a_socket_for_both_protocols_is_trusted() -> None:
    """A socket that listens on ``::`` reports IPv4 clients as ``::ffff:127.0.0.1``."""

    async def client_of(request: Request) -> PlainTextResponse:
        return PlainTextResponse(address_of(request.scope))

    app = Starlette(routes=[Route("/", client_of)])
    client_by_trusted = {
        "127.0.0.1": "192.0.2.1",
        "127.0.0.0/8": "192.0.2.1",
        "10.0.0.0/8": "127.0.0.1",
        ",": "127.0.0.1",
    }
    for trusted, reported in client_by_trusted.items():
        settings = settings_of(forwarded_allow_ips=trusted)
        async with served(app, settings, "::") as url, http_client.client(base_url=url) as client:
            assert (await client.get("/")).text == "127.0.0.1"
            assert (await client.get("/", headers={"x-forwarded-for": "192.0.2.1"})).text == reported
