from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app import devtokens
from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import events
from tests.support.openai import asking
from tests.support.stack import ADA, Stack, embedded_stack, opened_socket
from tests.support.streaming import completion
from tests.support.websocket import PROTOCOL

ORIGIN = "http://localhost:5173"


def forged(**changes: object) -> str:
    claims = {
        "sub": ADA,
        "role": "authenticated",
        "aud": "authenticated",
        "iss": devtokens.ISSUER,
        "exp": time.time() + 600,
        **changes,
    }
    return devtokens.signing_key().sign({name: value for name, value in claims.items() if value is not None})


def unsigned() -> str:
    return jwt.encode({"sub": ADA, "exp": time.time() + 60}, "", algorithm="none")


BAD: dict[str, Callable[[], str]] = {
    "expired": lambda: forged(exp=time.time() - 60),
    "no exp": lambda: forged(exp=None),
    "other audience": lambda: forged(aud="anon"),
    "other issuer": lambda: forged(iss="https://evil.example"),
    "service role": lambda: forged(role="service_role"),
    "exp is NaN": lambda: forged(exp=float("nan")),
    "exp is Infinity": lambda: forged(exp=float("inf")),
    "exp is text": lambda: forged(exp="tomorrow"),
    "exp is out of range": lambda: forged(exp=10**400),
    "exp is a number as text": lambda: forged(exp=str(int(time.time()) + 600)),
    "iat is Infinity": lambda: forged(iat=float("inf")),
    "nbf is out of range": lambda: forged(nbf=10**400),
    "sub is a URN": lambda: forged(sub=f"urn:uuid:{ADA}"),
    "typ of an access token": lambda: jwt.encode(
        jwt.decode(forged(), options={"verify_signature": False}),
        devtokens.signing_key().private,
        algorithm="ES256",
        headers={"typ": "at+jwt", "kid": devtokens.signing_key().key_id},
    ),
    "aud of lists": lambda: forged(aud=[["authenticated"]]),
    "sub is no uuid": lambda: forged(sub="admin"),
    "alg none": unsigned,
    "other secret": lambda: jwt.encode({"sub": ADA, "exp": time.time() + 60}, "x" * 40, algorithm="HS256"),
    "nonsense": lambda: "nonsense",
    "very long": lambda: "x" * 10_000,
}


@pytest.mark.parametrize("kind", ["missing", *BAD])
async def test_without_a_good_token_there_is_401_and_4403(stack: Stack, kind: str) -> None:
    headers = {"origin": ORIGIN} | ({} if kind == "missing" else {"authorization": f"Bearer {BAD[kind]()}"})
    response = await stack.client.post("/graphql", json={"query": "{ viewer { email } }"}, headers=headers)
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"] == response.json()["errors"][0]["extensions"]["requestId"]
    extensions = response.json()["errors"][0]["extensions"]
    assert (extensions["code"], extensions["reason"] == "TOKEN_MISSING") == ("UNAUTHENTICATED", kind == "missing")
    rest = await stack.client.get("/v1/models", headers=headers)
    assert rest.status_code == 401
    assert rest.json()["error"]["code"] == "invalid_api_key"
    url = stack.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        payload = "{}" if kind == "missing" else f'{{"authorization": "{headers["authorization"]}"}}'
        await socket.send(f'{{"type": "connection_init", "payload": {payload}}}')
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    assert stack.calls("ams") == []


async def test_a_kid_in_the_header_is_no_obstacle(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {forged()}"}
    response = await stack.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers)
    assert response.json() == {"data": {"viewer": {"id": f"user:{ADA}"}}}


async def test_an_anonymous_user_is_refused_at_every_door(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {forged(is_anonymous=True)}"}
    response = await stack.client.post("/graphql", json={"query": "{ viewer { email } }"}, headers=headers)
    assert response.status_code == 403
    extensions = response.json()["errors"][0]["extensions"]
    assert (extensions["code"], extensions["reason"]) == ("FORBIDDEN", "ANONYMOUS")
    rest = await stack.client.get("/v1/models", headers=headers)
    assert (rest.status_code, rest.json()["error"]["code"]) == (403, "anonymous")
    url = stack.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        await socket.send(
            f'{{"type": "connection_init", "payload": {{"authorization": "{headers["authorization"]}"}}}}'
        )
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "ANONYMOUS")
    assert stack.calls("ams") == []


async def test_introspection_needs_no_token_outside_production(stack: Stack) -> None:
    response = await stack.client.post("/graphql", json={"query": "{ __schema { queryType { name } } }"})
    assert response.json()["data"]["__schema"]["queryType"]["name"] == "Query"
    rover = {"query": "query SubgraphIntrospectQuery { _service { sdl } }"}
    assert "@link" in (await stack.client.post("/graphql", json=rover)).json()["data"]["_service"]["sdl"]
    more = {
        "query": '{ _service { sdl } _entities(representations: [{__typename: "User", id: "user:x"}]) { __typename } }'
    }
    assert (await stack.client.post("/graphql", json=more)).status_code == 401


async def test_preflight_and_request_id(stack: Stack) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    response = await stack.client.options("/graphql", headers=asked | {"x-request-id": "mine-0"})
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "mine-0"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    foreign = await stack.client.options("/graphql", headers=asked | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    kept = await stack.client.get("/ping", headers={"x-request-id": "mine-1"})
    assert kept.headers["x-request-id"] == "mine-1"
    url = stack.url.replace("http", "ws") + "/graphql"
    async with connect(url, proxy=None, additional_headers={"x-request-id": "mine-2"}) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] == "mine-2"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(stack.url.replace("http", "ws") + "/nope", proxy=None):
            pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["x-request-id"]
    replaced = await stack.client.get("/ping", headers={"x-request-id": "not plain {}"})
    assert replaced.headers["x-request-id"] != "not plain {}"


async def test_a_socket_closes_when_its_token_expires(stack: Stack) -> None:
    async with opened_socket(stack, stack.token(lifetime_seconds=1)) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


async def test_a_reader_is_told_when_its_tokens_grace_is_over() -> None:
    detached = COMPLETION.replace("cursor", "cursor ... on ReaderDetached { reason }", 1)
    async with embedded_stack(stream_grace_seconds=0.3) as stack:
        variables = {"i": completion(stack, "tokens=600 delay=0.02", onDisconnect="CONTINUE"), "k": "k"}
        async with opened_socket(stack, stack.token(lifetime_seconds=1)) as socket:
            heard = [event async for event in socket.events(detached, variables)]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403
        assert (heard[-1]["__typename"], heard[-1]["reason"]) == ("ReaderDetached", "SIGNED_OUT")
        resume = {"id": heard[0]["stream"]["id"], "after": heard[-1]["cursor"]}
        first = await anext(events(stack, "event stream", STREAM, resume))
        assert first["cursor"] > heard[-1]["cursor"] or len(first["cursor"]) > len(heard[-1]["cursor"])


async def test_a_stream_of_v1_that_an_expired_token_ends_has_the_error_of_an_expired_token() -> None:
    async with embedded_stack(stream_grace_seconds=0.3) as stack:
        token = stack.token(lifetime_seconds=1)
        headers = {"authorization": f"Bearer {token}"}
        body = asking(stack, "tokens=600 delay=0.02", stream=True)
        late = (await stack.client.post("/v1/chat/completions", json=body, headers=headers)).text
        headers = {"authorization": f"Bearer {forged(exp=time.time() - 60)}"}
        early = await stack.client.post("/v1/chat/completions", json=body, headers=headers)
    assert (early.status_code, early.json()["error"]["code"]) == (401, "invalid_api_key")
    assert json.loads(late.rpartition("data: ")[2]) == early.json()


async def test_no_secret_and_no_prompt_in_the_log(stack: Stack) -> None:
    token = stack.token()
    await stack.client.post(
        "/v1/chat/completions",
        json={
            "model": stack.chat_model,
            "messages": [{"role": "user", "content": "my own words [[tokens=1 delay=0]]"}],
        },
        headers={"authorization": f"Bearer {token}"},
    )
    log = stack.log.getvalue()
    assert '"event":"upstream"' in log
    keys = [token, "my own words", stack.platform.options.ams_key, stack.platform.options.user_key]
    assert [key for key in keys if key in log] == []


async def test_an_email_that_cannot_be_shown_is_none(stack: Stack) -> None:
    emails: list[Any] = ["\ud800", "a\x00b", [], 10**400]
    for email in emails:
        headers = {"authorization": f"Bearer {forged(email=email)}"}
        answer = await stack.client.post("/graphql", json={"query": "{ viewer { id email } }"}, headers=headers)
        assert answer.status_code == 200
        assert "errors" not in answer.json()
        assert answer.json()["data"]["viewer"]["email"] in {None, "ada@example.com"}
