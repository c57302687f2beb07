from __future__ import annotations

from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app import sockets
from app.graphql import socket_operations
from app.graphql.engine import Engine
from app.graphql.socket_operations import MAX_OPERATIONS
from tests.support.documents import COMPLETION
from tests.support.rawsocket import raw_socket, text
from tests.support.stack import GRACE, Stack, any_stack, embedded_stack, opened_socket, until
from tests.support.streaming import completion
from tests.support.websocket import close_of, connecting


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("12", 4400),
        ("{", 4400),
        ('{"id": {}}', 4400),
        ('{"type": "nope"}', 4400),
        ('{"type": "subscribe", "payload": {"query": "{ viewer { id } }"}}', 4400),
        ('{"type": "subscribe", "id": "1", "payload": 1}', 4400),
        ('{"type": "connection_init"}', 4429),
        ('{"type": "subscribe", "id": "' + "x" * 300 + '", "payload": {"query": "{ viewer { id } }"}}', 4400),
    ],
)
async def test_invalid_messages_close_the_socket(stack: Stack, message: str, code: int) -> None:
    async with opened_socket(stack) as socket:
        await socket.socket.send(message)
        assert (await close_of(socket.socket))[0] == code


@pytest.mark.parametrize(
    ("operation_id", "told"),
    [
        ("1", "1"),
        ("a'b", "a'b"),
        ("x" * 256, "x" * 80),
        ("\u00e4\n", "\\xe4\\n"),
        ("\U0001f600" * 20, "\\U0001f600" * 8),
    ],
)
async def test_an_id_in_use_is_named_when_the_socket_closes(stack: Stack, operation_id: str, told: str) -> None:
    given = {"query": COMPLETION, "variables": {"i": completion(stack, "tokens=500 delay=0.05"), "k": "one"}}
    async with opened_socket(stack) as socket:
        for _ in range(2):
            await socket.tell(id=operation_id, type="subscribe", payload=given)
        assert await close_of(socket.socket, reads=True) == (4409, f"Subscriber for {told} already exists")


@pytest.mark.bound("socket-message")
async def test_a_message_that_is_too_large_closes_the_socket() -> None:
    async with any_stack(max_body_bytes=2000) as stack, opened_socket(stack) as socket:
        await socket.subscribe("{ viewer { id } }" + " " * 2000)
        assert (await close_of(socket.socket))[0] == 1009


async def test_a_hash_without_a_document_is_refused_and_the_socket_stays_open(stack: Stack) -> None:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
    async with opened_socket(stack) as socket:
        await socket.tell(id="1", type="subscribe", payload={"extensions": extensions})
        message = await socket.hear()
        assert (message["type"], message["payload"][0]["message"]) == ("error", "PersistedQueryNotSupported")
        assert message["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
        await socket.tell(id="2", type="subscribe", payload={"query": "{ __typename }", "extensions": extensions})
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_subscribing_before_connection_init_closes_the_socket(stack: Stack) -> None:
    async with connecting(stack.url) as socket:
        await socket.send('{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }"}}')
        assert (await close_of(socket))[0] == 4401


@pytest.mark.bound("socket-init")
async def test_a_socket_without_connection_init_is_closed() -> None:
    async with embedded_stack(socket_init_seconds=0.05) as stack, connecting(stack.url) as socket:
        assert (await close_of(socket))[0] == 4408


@pytest.mark.parametrize("offered", [None, ["graphql-ws"]], ids=["none", "the legacy one"])
async def test_another_subprotocol_is_refused(stack: Stack, offered: list[Any] | None) -> None:
    # The gateway accepts the legacy one before it closes the socket: otherwise a browser shows no close code.
    async with connecting(stack.url, offered) as socket:
        assert socket.subprotocol == (offered or [None])[0]
        code, reason = await close_of(socket)
    assert (code, "graphql-transport-ws" in reason) == (4406, True)


@pytest.mark.bound("socket-operations")
async def test_an_operation_past_the_bound_of_a_socket_is_refused(stack: Stack) -> None:
    waits = completion(stack, "tokens=5000 delay=0.05")
    async with opened_socket(stack) as socket:
        for _ in range(MAX_OPERATIONS):
            await socket.subscribe(COMPLETION, {"i": waits, "k": "one"})
        refused = await socket.subscribe("{ viewer { id } }")
        while (message := await socket.hear())["id"] != refused:
            assert message["type"] == "next"
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_an_internal_error_ends_only_its_operation(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("an inside story")

    async with opened_socket(stack) as socket:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "execute", broken)
            await socket.subscribe("{ viewer { id } }")
            message = await socket.hear()
        assert message["type"] == "error"
        extensions = message["payload"][0]["extensions"]
        assert (extensions["code"], "requestId" in extensions) == ("INTERNAL_ERROR", True)
        assert "story" not in str(message)
        assert "story" in stack.log.getvalue()
        assert [answer async for answer in socket.events("{ viewer { email } }")] == [{"email": "ada@example.com"}]


async def test_queries_and_mutations_run_on_the_socket_too(stack: Stack) -> None:
    async with opened_socket(stack) as socket:
        answers = [answer async for answer in socket.events("{ viewer { email } }")]
        assert answers == [{"email": "ada@example.com"}]
        await socket.tell(type="ping", payload={"n": 1})
        assert await socket.hear() == {"type": "pong", "payload": {"n": 1}}
        await socket.subscribe("{ nope }")
        message = await socket.hear()
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_a_ping_that_is_nested_too_deeply_closes_the_socket(stack: Stack) -> None:
    before = stack.log.getvalue().count("Traceback")
    async with opened_socket(stack) as socket:
        await socket.socket.send('{"type": "ping", "payload": ' + '{"a":' * 900 + "1" + "}" * 901)
        assert await close_of(socket.socket) == (
            4400,
            "The `payload` of the ping message is nested too deeply. Reduce the nesting.",
        )
    assert stack.log.getvalue().count("Traceback") == before


@pytest.mark.bound("user-sockets")
async def test_the_bound_on_the_sockets_of_a_user_does_not_affect_other_users() -> None:
    async with any_stack(max_sockets_per_user=2) as stack, opened_socket(stack) as first:
        async with opened_socket(stack):
            assert await refused_sign_in(stack) == (
                4429,
                "You have reached your limit of 2 open WebSockets. Retry later.",
            )
            async with opened_socket(stack, stack.token(GRACE)) as other:
                assert [answer async for answer in other.events("{ __typename }")] == ["Query"]
        assert [answer async for answer in first.events("{ __typename }")] == ["Query"]
        await until(lambda: signs_in(stack))


@pytest.mark.bound("sockets")
async def test_sockets_past_the_bound_are_refused_with_retry_after() -> None:
    full = "The gateway has reached its limit of 2 open WebSockets. Retry later."
    async with (
        any_stack(max_sockets=2, max_sockets_per_user=2) as stack,
        connecting(stack.url) as late,
        opened_socket(stack),
    ):
        async with opened_socket(stack):
            with pytest.raises(InvalidStatus) as refused:
                await refused_sign_in(stack)
            response = refused.value.response
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.body.decode() == f"{full}\n"
            assert await refused_init(late, stack.token(GRACE)) == (1013, full)
        await until(lambda: signs_in(stack))


async def refused_sign_in(stack: Stack) -> tuple[int, str]:
    """Return the close code and reason of a socket that tries to sign in."""
    async with connecting(stack.url) as socket:
        return await refused_init(socket, stack.token())


async def refused_init(socket: ClientConnection, token: str) -> tuple[int, str]:
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
    await socket.send(orjson.dumps(init).decode())
    return await close_of(socket)


async def signs_in(stack: Stack) -> bool:
    """Return whether a socket can sign in. The slot of a closed socket is free a moment later."""
    try:
        async with opened_socket(stack):
            return True
    except (ConnectionClosed, InvalidStatus):
        return False


async def test_messages_past_the_rate_limit_close_the_socket() -> None:
    async with any_stack(max_socket_messages_per_second=5) as stack:
        async with opened_socket(stack) as socket:
            for _ in range(45):
                await socket.tell(type="ping")
                assert (await socket.hear())["type"] == "pong"
            for _ in range(200):
                await socket.tell(type="ping")
            assert await close_of(socket.socket, reads=True) == (
                4429,
                "The client sent too many messages. Send fewer messages per second.",
            )
        async with opened_socket(stack, stack.token(GRACE)) as other:
            assert [answer async for answer in other.events("{ __typename }")] == ["Query"]


async def test_large_answers_are_refused_past_the_bound_on_unread_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_UNREAD", 500_000)
    monkeypatch.setattr(socket_operations, "SMALL_BYTES", 10_000)
    query = {"query": "{ _service { sdl } }"}
    async with embedded_stack() as stack:
        host, port = stack.url.removeprefix("http://").split(":")
        async with raw_socket((host, int(port)), receive_buffer=4096) as one:
            await one.sign_in(stack.token())
            await one.send(b"".join(text(id=str(number), type="subscribe", payload=query) for number in range(20)))
            heard: dict[str, list[dict[str, Any]]] = {"next": [], "error": [], "complete": []}
            while len(heard["error"]) + len(heard["complete"]) < 20:
                message = await one.message()
                heard[message["type"]].append(message)
            size = len(orjson.dumps(heard["next"][0]))
            assert len(heard["next"]) == len(heard["complete"]) >= 500_000 // size
            assert heard["error"]
            for error in heard["error"]:
                extensions = error["payload"][0]["extensions"]
                assert (extensions["code"], extensions["reason"]) == ("RATE_LIMITED", "UNREAD")
            await one.send(text(id="again", type="subscribe", payload=query))
            assert (await one.message())["type"] == "next"
