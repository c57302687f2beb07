"""Completions at the four endpoints for streams, as events with the names and fields of GraphQL.

``tests/doors/test_stream_promises.py`` has the promises.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import httpx
import orjson

from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import ACCEPTS, DOORS, Refused, event_stream, multipart
from tests.support.openai import asking
from tests.support.rawhttp import Raw, raw
from tests.support.rawsocket import RawSocket, raw_socket, text
from tests.support.sse import server_sent
from tests.support.stack import Stack, any_stack, embedded_stack, opened_socket
from tests.support.streaming import completion

FOUR = (*DOORS, "openai")
Event = dict[str, Any]
DETACHED = COMPLETION.replace("cursor", "cursor ... on ReaderDetached { reason }", 1)


def stack_on(adapter: str, *, embedded: bool = False, **settings: Any) -> AbstractAsyncContextManager[Stack]:
    """Run a gateway that keeps its streams in process memory, or also in the Redis whose URL is ``adapter``.

    With ``embedded``, the services are always embedded.
    """
    if adapter != "memory":
        settings["redis_url"] = adapter
    return (embedded_stack if embedded else any_stack)(**settings)


def started(
    stack: Stack, door: str, directive: str, *, key: str = "", continues: bool = False, token: str = "", **more: Any
) -> aclosing[AsyncGenerator[Event, None]]:
    """Start a completion, and yield its events. If the context ends, the client disconnects. Reading raises Refused.

    At the OpenAI endpoint, ``StreamStarted`` has the stream's id of the response's header, ``StreamEnded`` is
    ``[DONE]`` or an error event, and ``ReaderDetached`` is the error event of a stopping gateway.
    """
    key, token = key or str(uuid.uuid4()), token or stack.token()
    if door == "openai":
        body = asking(stack, directive, stream=True, **more)
        return aclosing(_by_openai(stack, body, key, token, continues=continues))
    on_disconnect = "CONTINUE" if continues else "CANCEL"
    variables = {"i": completion(stack, directive, onDisconnect=on_disconnect, **more), "k": key}
    return aclosing(_by_graphql(stack, door, {"query": DETACHED, "variables": variables}, token))


def attached(
    stack: Stack, door: str, stream_id: str, after: str | None = None
) -> aclosing[AsyncGenerator[Event, None]]:
    """Read a stream at a GraphQL endpoint."""
    asked = {"query": STREAM, "variables": {"id": stream_id, "after": after}}
    return aclosing(_by_graphql(stack, door, asked, stack.token()))


async def all_of(events: aclosing[AsyncGenerator[Event, None]]) -> list[Event]:
    """Read a stream to its end."""
    async with events as reading:
        return [event async for event in reading]


async def until_text(events: AsyncGenerator[Event, None]) -> list[Event]:
    """Read a stream to its first text."""
    heard: list[Event] = []
    async for event in events:
        heard.append(event)
        if event["__typename"] == "TextDelta" and event["text"]:
            break
    return heard


def ends(events: list[Event]) -> list[str]:
    """Return the outcomes of all ends."""
    return [event["outcome"] for event in events if event["__typename"] == "StreamEnded"]


async def _by_graphql(stack: Stack, door: str, asked: dict[str, Any], token: str) -> AsyncGenerator[Event, None]:
    payloads = _by_socket(stack, asked, token) if door == "websocket" else _by_http(stack, door, asked, token)
    async with aclosing(payloads):
        async for payload in payloads:
            if "data" not in payload:
                raise Refused(payload["errors"], payload.get("status"))
            assert "errors" not in payload, payload
            yield next(iter(payload["data"].values()))


async def _by_socket(stack: Stack, asked: dict[str, Any], token: str) -> AsyncGenerator[Event, None]:
    async with opened_socket(stack, token) as socket:
        await socket.subscribe(**asked)
        while (message := await socket.hear())["type"] != "complete":
            yield {"errors": message["payload"]} if message["type"] == "error" else message["payload"]


async def _by_http(stack: Stack, door: str, asked: dict[str, Any], token: str) -> AsyncGenerator[Event, None]:
    headers = {"authorization": f"Bearer {token}", "accept": ACCEPTS[door]}
    async with stack.client.stream("POST", "/graphql", json=asked, headers=headers) as response:
        _check_headers(response)
        async for payload in (event_stream if door == "event stream" else multipart)(response):
            yield payload if "data" in payload else {**payload, "status": response.status_code}


async def _by_openai(
    stack: Stack, body: dict[str, Any], key: str, token: str, *, continues: bool
) -> AsyncGenerator[Event, None]:
    headers = {"authorization": f"Bearer {token}", "idempotency-key": key}
    headers |= {"x-stream-continue": "true"} if continues else {}
    async with stack.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        if response.status_code != 200:
            error = json.loads(await response.aread())["error"]
            raise Refused([_graphql_error(error)], response.status_code)
        _check_headers(response)
        yield {"__typename": "StreamStarted", "stream": {"id": response.headers["x-stream-id"]}}
        async for event in _of_chunks(response):
            yield event


async def _of_chunks(response: httpx.Response) -> AsyncGenerator[Event, None]:
    last: Event | None = None
    async for event in server_sent(response.aiter_raw(), comments_alone=True):
        assert last is None, event
        chunk = {} if event.data == "[DONE]" else orjson.loads(event.data)
        if "error" in chunk:
            facts = _graphql_error(chunk["error"])["extensions"]
            if facts["reason"] == "DRAINING":
                last = {"__typename": "ReaderDetached", "reason": "DRAINING"}
            else:
                last = {"__typename": "StreamEnded", "outcome": "FAILED", "error": facts}
        elif not chunk:
            last = {"__typename": "StreamEnded", "outcome": "COMPLETED"}
        elif chunk.get("usage"):
            yield {"__typename": "Usage", "completionTokens": chunk["usage"]["completion_tokens"]}
        else:
            yield {"__typename": "TextDelta", "text": chunk["choices"][0]["delta"].get("content") or ""}
    assert last is not None, "the stream has no end"
    yield last


def _graphql_error(error: dict[str, Any]) -> dict[str, Any]:
    return {"extensions": {"code": error["type"], "reason": str(error["code"]).upper()}}


def _check_headers(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in response.headers


@asynccontextmanager
async def raw_body(stack: Stack, door: str, directive: str) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
    """Start a completion over HTTP, and yield its body's pieces as they come."""
    if door == "openai":
        path, body, accept = "/v1/chat/completions", asking(stack, directive, stream=True), "text/event-stream"
    else:
        variables = {"i": completion(stack, directive), "k": str(uuid.uuid4())}
        path, body, accept = "/graphql", {"query": COMPLETION, "variables": variables}, ACCEPTS[door]
    headers = stack.headers() | {"accept": accept}
    async with stack.client.stream("POST", path, json=body, headers=headers) as response:
        assert response.status_code == 200
        async with aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]
            yield pieces  # type: ignore[misc]


class Paused:
    """A client that has read the first event of a stream, and then reads nothing until ``rest`` is called."""

    def __init__(self, connection: RawSocket | Raw) -> None:
        self._connection = connection

    async def rest(self) -> bytes:
        """Read to the end of the stream."""
        connection = self._connection
        if isinstance(connection, Raw):
            return await connection.rest()
        heard = b""
        while b'"type":"complete"' not in heard[-200:]:
            heard += (await connection.hear())[1]
        return heard


@asynccontextmanager
async def paused(stack: Stack, door: str, directive: str) -> AsyncIterator[Paused]:
    """Start a completion that continues without readers, and read its first event with small buffers."""
    host, port = stack.url.removeprefix("http://").split(":")
    address, small = (host, int(port)), 4096
    variables = {"i": completion(stack, directive, onDisconnect="CONTINUE"), "k": str(uuid.uuid4())}
    asked = {"query": DETACHED, "variables": variables}
    if door == "websocket":
        async with raw_socket(address, receive_buffer=small) as socket:
            await socket.sign_in(stack.token())
            await socket.send(text(id="1", type="subscribe", payload=asked))
            await socket.message()
            yield Paused(socket)
        return
    path, accept = ("/v1/chat/completions", "*/*") if door == "openai" else ("/graphql", ACCEPTS[door])
    body = json.dumps(asking(stack, directive, stream=True) if door == "openai" else asked)
    fields = stack.headers() | {"host": "x", "accept": accept, "content-type": "application/json"}
    fields |= {"content-length": str(len(body)), "connection": "close", "x-stream-continue": "true"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with raw(address, receive_buffer=small) as connection:
        await connection.send(f"POST {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
        await connection.reader.readuntil(b"data: " if door != "multipart" else b"StreamStarted")
        yield Paused(connection)
