from __future__ import annotations

import httpx
import pytest

from clients.calls import Answer, Call, UpstreamRejected
from clients.errors import UpstreamError
from clients.http.errors import IdleConnectionDropped
from clients.http.transport import FRESH
from tests.support.upstream_calls import answering, ask, failing, parts, raised, scope, upstream_with


async def test_the_scope_and_the_credential_are_sent() -> None:
    seen: list[httpx.Request] = []

    async def act(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}", headers={"Set-Cookie": "a=b"})

    upstream, _, observer = upstream_with(act)
    call = Call("x", "/x", "POST", params=[("a", "1"), ("a", "2")], json={"b": 1})
    await upstream.request(scope(), call)
    await ask(upstream)
    assert seen[0].headers["x-request-id"] == "request-1"
    assert seen[0].headers["traceparent"] == "00-trace"
    assert seen[0].headers["authorization"] == "secret"
    assert seen[0].headers["accept-encoding"] == "identity"
    assert str(seen[0].url) == "http://ams/x?a=1&a=2"
    assert seen[0].content == b'{"b":1}'
    assert "cookie" not in seen[1].headers
    assert observer.outcomes == ["ok", "ok"]


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"not json", b"\xff"])
async def test_an_answer_to_a_health_check_that_is_not_json_is_an_error(body: bytes) -> None:
    upstream, _, _ = upstream_with(answering(content=body))
    caught = await raised(UpstreamError, upstream.ping(scope(), "/health"))
    assert caught.reason == "DECODE"
    assert "AMS_BASE_URL" in caught.message


async def test_a_check_finds_an_error_with_status_200() -> None:
    upstream, _, _ = upstream_with(answering(), breaker_failures=1)
    call = Call("x", "/", check=lambda answer: Answer(429, answer.headers, answer.body))
    assert (await raised(UpstreamRejected, upstream.request(scope(), call))).status == 429
    assert parts(upstream) == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_only_a_read_is_repeated_after_a_dropped_connection(method: str) -> None:
    fresh: list[bool] = []

    async def act(request: httpx.Request) -> httpx.Response:
        fresh.append(FRESH in request.extensions)
        if len(fresh) < 2:
            raise IdleConnectionDropped("")
        return httpx.Response(200, content=b"{}")

    upstream, _, observer = upstream_with(act, breaker_failures=1)
    call = Call("x", "/", method)
    if method == "GET":
        await upstream.request(scope(), call)
        assert (fresh, observer.retried, observer.outcomes) == ([False, True], ["idle"], ["ok"])
        return
    assert (await raised(UpstreamError, upstream.request(scope(), call))).reason == "CUT"
    assert (fresh, observer.retried) == ([False], [])


async def test_a_read_is_repeated_over_a_fresh_connection_once_in_each_attempt() -> None:
    upstream, _, observer = upstream_with(failing(IdleConnectionDropped("")))
    await raised(UpstreamError, ask(upstream))
    assert observer.retried == ["idle", "cut", "idle", "cut", "idle"]
