from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.graphql.engine import Engine
from app.graphql.ws import MAX_OPERATIONS
from tests.doors.test_streams import COMPLETION, completion
from tests.support.stack import Stack, any_stack, embedded_stack, opened_socket


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
async def test_messages_that_cannot_be_right_close_the_socket(stack: Stack, message: str, code: int) -> None:
    async with opened_socket(stack) as socket:
        await socket.socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


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
        with pytest.raises(ConnectionClosed) as closed:
            _ = [message async for message in socket.socket]
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4409, f"Subscriber for {told} already exists")


@pytest.mark.bound("socket-message")
async def test_a_message_that_is_too_large_closes_the_socket() -> None:
    async with any_stack(max_body_bytes=2000) as stack, opened_socket(stack) as socket:
        await socket.subscribe("{ viewer { id } }" + " " * 2000)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_hash_alone_is_refused_and_the_socket_lives_on(stack: Stack) -> None:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
    async with opened_socket(stack) as socket:
        await socket.tell(id="1", type="subscribe", payload={"extensions": extensions})
        message = await socket.hear()
        assert (message["type"], message["payload"][0]["message"]) == ("error", "PersistedQueryNotSupported")
        assert message["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
        await socket.tell(id="2", type="subscribe", payload={"query": "{ __typename }", "extensions": extensions})
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_subscribing_before_the_init(stack: Stack) -> None:
    url = stack.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"], proxy=None) as socket:
        await socket.send('{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }"}}')
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


@pytest.mark.bound("socket-init")
async def test_a_socket_that_never_inits_is_closed() -> None:
    async with embedded_stack(socket_init_seconds=0.05) as stack:
        url = stack.url.replace("http", "ws") + "/graphql"
        async with connect(url, subprotocols=["graphql-transport-ws"], proxy=None) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408


@pytest.mark.parametrize("offered", [None, ["graphql-ws"]], ids=["none", "the legacy one"])
async def test_another_protocol_is_told(stack: Stack, offered: list | None) -> None:
    url = stack.url.replace("http", "ws") + "/graphql"
    # the legacy one is accepted before it is refused: a browser shows a close code of no other socket
    async with connect(url, subprotocols=offered, proxy=None) as socket:
        assert socket.subprotocol == (offered or [None])[0]
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4406
    assert "graphql-transport-ws" in closed.value.rcvd.reason


@pytest.mark.bound("socket-operations")
async def test_more_operations_than_a_socket_runs(stack: Stack) -> None:
    waits = completion(stack, "tokens=5000 delay=0.05")
    async with opened_socket(stack) as socket:
        for _ in range(MAX_OPERATIONS):
            await socket.subscribe(COMPLETION, {"i": waits, "k": "one"})
        refused = await socket.subscribe("{ viewer { id } }")
        while (message := await socket.hear())["id"] != refused:
            assert message["type"] == "next"
    assert message["type"] == "error"
    assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_an_error_of_ours_ends_its_operation_alone(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
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


async def test_a_ping_that_cannot_be_sent_back_closes_the_socket_with_the_reason(stack: Stack) -> None:
    before = stack.log.getvalue().count("Traceback")
    async with opened_socket(stack) as socket:
        await socket.socket.send('{"type": "ping", "payload": ' + '{"a":' * 900 + "1" + "}" * 901)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4400, "payload is nested too deeply")
    assert stack.log.getvalue().count("Traceback") == before
