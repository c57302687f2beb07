"""Sessions that an admin revokes, at every endpoint."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed

from app import devtokens
from app.cli import main
from app.embedded.server import LoopbackServer
from app.embedded.supabase.signing import claims_of
from tests.support.documents import COMPLETION
from tests.support.doors import ACCEPTS, event_stream
from tests.support.redis_server import redis_server
from tests.support.stack import ADA, GRACE, Stack, embedded_stack, opened_socket, replica_of, until
from tests.support.streaming import completion
from tests.support.supabase import supabase_project, token_of

REVOKE = """mutation($id: String!) { revokeSession(input: { sessionId: $id }) { sessionId errors { message } } }"""
VIEWER = "{ viewer { id } }"
LONG = "tokens=2000 delay=0.02"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def revoke(stack: Stack, admin: str, session_id: str) -> dict[str, Any]:
    body = {"query": REVOKE, "variables": {"id": session_id}}
    answer: dict[str, Any] = (await stack.client.post("/graphql", json=body, headers=bearer(admin))).json()
    return answer


async def heard_to_the_end(events: AsyncIterator[dict[str, Any]]) -> str:
    """Return the type of a completion's last event. ``complete`` follows it (decision 0059)."""
    return [str(event["data"]["completion"]["__typename"]) async for event in events][-1]


async def test_the_tokens_of_a_revoked_session_are_refused_and_its_connections_end() -> None:
    async with supabase_project() as project, embedded_stack(supabase_url=project.url) as stack:
        session, admin = str(uuid.uuid4()), token_of(project, admin=True, user_id=GRACE)
        token, other = token_of(project, session_id=session), token_of(project)
        asked = {"query": COMPLETION, "variables": {"i": completion(stack, LONG), "k": "sse"}}
        headers = bearer(token) | {"accept": ACCEPTS["event stream"]}
        body = {"model": stack.chat_model, "stream": True, "messages": [{"role": "user", "content": f"[[{LONG}]]"}]}
        async with (
            opened_socket(stack, token) as socket,
            opened_socket(stack, other) as kept,
            stack.client.stream("POST", "/graphql", json=asked, headers=headers) as sse,
            stack.client.stream("POST", "/v1/chat/completions", json=body, headers=bearer(token)) as openai,
        ):
            events, lines = event_stream(sse), openai.aiter_lines()
            assert "data" in await anext(events)
            assert (await anext(lines)).startswith("data: ")
            answer = await revoke(stack, admin, session)
            assert answer == {"data": {"revokeSession": {"sessionId": session, "errors": []}}}
            with pytest.raises(ConnectionClosed) as closed:
                await socket.hear()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "TOKEN_REVOKED")
            assert await heard_to_the_end(events) == "ReaderDetached"
            texts = [line async for line in lines if line]
            assert "[DONE]" not in texts[-1]
            late = json.loads(texts[-1].removeprefix("data: "))
            await kept.tell(type="ping")
            assert (await kept.hear())["type"] == "pong"
        refused = await stack.client.post("/graphql", json={"query": VIEWER}, headers=bearer(token))
        assert refused.status_code == 401
        assert refused.json()["errors"][0]["extensions"]["reason"] == "TOKEN_REVOKED"
        openai_refused = await stack.client.get("/v1/models", headers=bearer(token))
        assert (openai_refused.status_code, openai_refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert openai_refused.json() == late
        assert (await stack.client.get("/v1/models", headers=bearer(other))).status_code == 200


@pytest.mark.needs_redis
async def test_a_revocation_applies_at_each_replica_and_after_a_restart(redis_url: str) -> None:
    async with (
        supabase_project() as project,
        embedded_stack(supabase_url=project.url, redis_url=redis_url) as one,
        replica_of(one) as other,
    ):
        session, admin = str(uuid.uuid4()), token_of(project, admin=True, user_id=GRACE)
        token = token_of(project, session_id=session)
        asked = {"query": COMPLETION, "variables": {"i": completion(other, LONG), "k": "sse"}}
        headers = bearer(token) | {"accept": ACCEPTS["event stream"]}
        async with (
            opened_socket(other, token) as socket,
            other.client.stream("POST", "/graphql", json=asked, headers=headers) as sse,
        ):
            events = event_stream(sse)
            assert "data" in await anext(events)
            assert (await other.client.get("/v1/models", headers=bearer(token))).status_code == 200
            await revoke(one, admin, session)
            async with asyncio.timeout(2):
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.hear()
                last = await heard_to_the_end(events)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "TOKEN_REVOKED")
            assert last == "ReaderDetached"
            assert (await other.client.get("/v1/models", headers=bearer(token))).status_code == 401
        async with replica_of(one) as restarted:
            refused = await restarted.client.post("/graphql", json={"query": VIEWER}, headers=bearer(token))
            assert refused.json()["errors"][0]["extensions"]["reason"] == "TOKEN_REVOKED"


@pytest.mark.needs_redis
async def test_a_revocation_during_an_outage_of_redis_applies_everywhere_after_it() -> None:
    with redis_server() as redis:
        async with (
            supabase_project() as project,
            embedded_stack(supabase_url=project.url, redis_url=redis.url()) as one,
            replica_of(one) as other,
        ):
            session = str(uuid.uuid4())
            token = bearer(token_of(project, session_id=session))

            async def status(stack: Stack) -> int:
                return (await stack.client.get("/v1/models", headers=token)).status_code

            redis.kill()
            await revoke(one, token_of(project, admin=True, user_id=GRACE), session)
            assert [await status(one), await status(other)] == [401, 200]
            redis.start()
            await until(lambda: _is_refused(status(other)))


async def _is_refused(status: Awaitable[int]) -> bool:
    return await status == 401


@pytest.mark.parametrize("session", ["", "no uuid", "s" * 101])
async def test_only_an_admin_revokes_and_only_a_session(session: str) -> None:
    async with supabase_project() as project, embedded_stack(supabase_url=project.url) as stack:
        user, admin = token_of(project), token_of(project, admin=True)
        [error] = (await revoke(stack, user, "s"))["errors"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("FORBIDDEN", "ROLE")
        [error] = (await revoke(stack, admin, session))["errors"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", "TEXT")


@pytest.mark.parametrize("path", ["/graphql", "/v1/chat/completions"])
async def test_a_request_whose_session_is_revoked_before_its_body_has_arrived_is_refused(path: str) -> None:
    async with supabase_project() as project, embedded_stack(supabase_url=project.url) as stack:
        session = str(uuid.uuid4())
        body = json.dumps({"query": VIEWER}).encode()

        async def slow() -> AsyncIterator[bytes]:
            yield body[:5]
            assert "data" in await revoke(stack, token_of(project, admin=True), session)
            yield body[5:]

        headers = bearer(token_of(project, session_id=session)) | {"content-type": "application/json"}
        answer = await stack.client.post(path, content=slow(), headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "answer",
    [
        (404, b'{"detail":"Not Found"}'),
        (200, b"{}"),
        (200, b'{"data":{"revokeSession":null}}'),
        (200, b"[]"),
        (302, b""),
        (200, b"x"),
    ],
)
async def test_the_command_confirms_only_what_the_gateway_confirms(
    answer: tuple[int, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def respond(_: Request) -> Response:
        return Response(answer[1], answer[0], {"location": "http://127.0.0.1:1/steal"})

    monkeypatch.setenv("AGENTGRAPH_TOKEN", "s3cret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = LoopbackServer(Starlette(routes=[Route("/graphql", respond, methods=["POST"])]))
    await server.start()
    assert await asyncio.to_thread(main, ["revoke", str(uuid.uuid4()), "--url", server.url]) == 1
    await server.stop()
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err
    assert "127.0.0.1:1/" not in printed.err


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x", "nowhere"])
def test_the_command_takes_only_http_urls(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revoke", "s", "--url", url]) == 1
    assert "--url must be" in capsys.readouterr().err


async def test_the_command_revokes_a_session(capsys: pytest.CaptureFixture[str]) -> None:
    async with embedded_stack() as stack:
        session = str(uuid.uuid4())
        token = devtokens.signing_key().sign(
            claims_of(issuer=devtokens.ISSUER, user_id=ADA, email=None, session_id=session)
        )
        assert (await stack.client.get("/v1/models", headers=bearer(token))).status_code == 200
        assert await asyncio.to_thread(main, ["revoke", session, "--url", stack.url]) == 0
        assert session in capsys.readouterr().out
        assert (await stack.client.get("/v1/models", headers=bearer(token))).status_code == 401
        assert await asyncio.to_thread(main, ["revoke", "s" * 101, "--url", stack.url]) == 1
        assert "must be a UUID" in capsys.readouterr().err


def test_the_command_names_a_gateway_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revoke", "s", "--url", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1/graphql does not answer" in capsys.readouterr().err


async def test_a_cancelled_stream_leaves_nothing_to_revoke() -> None:
    async with supabase_project() as project, embedded_stack(supabase_url=project.url) as stack:
        session = str(uuid.uuid4())
        async with opened_socket(stack, token_of(project, session_id=session)) as socket:
            await socket.tell(type="ping")
            await socket.hear()
        await asyncio.sleep(0)
        assert "data" in await revoke(stack, token_of(project, admin=True), session)


async def test_a_stream_at_v1_ends_after_its_token_and_the_grace_period() -> None:
    async with (
        supabase_project() as project,
        embedded_stack(supabase_url=project.url, stream_grace_seconds=0.2) as stack,
    ):
        headers = bearer(token_of(project, lifetime_seconds=1))
        body = {"model": stack.chat_model, "stream": True, "messages": [{"role": "user", "content": f"[[{LONG}]]"}]}
        async with stack.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
    assert lines[0].startswith("data: ")
    assert "error" in json.loads(lines[-1].removeprefix("data: "))
