"""A strict client for each transport of subscriptions."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from tests.support.sse import parsed, server_sent
from tests.support.stack import ADA, Stack, opened_socket

DOORS = ("websocket", "event stream", "multipart")
ACCEPTS = {"event stream": "text/event-stream", "multipart": "multipart/mixed;subscriptionSpec=1.0, application/json"}
QUERY_DOORS = ("json", "event stream", "websocket")


def doors_of(document: str) -> tuple[str, ...]:
    """Return the endpoints at which a client can send a document with one operation."""
    return DOORS if document.startswith("subscription") else QUERY_DOORS


async def first_payload(
    stack: Stack, door: str, query: str, variables: dict[str, Any] | None = None, *, token: str | None
) -> dict[str, Any]:
    """Send one operation, and return its only answer or its first event. A refusal has ``errors`` alone."""
    if door == "websocket":
        async with opened_socket(stack, token) as socket:
            await socket.subscribe(query, variables)
            message = await socket.hear()
            payload: Any = message["payload"]
            return {"errors": payload} if message["type"] == "error" else payload
    asked = {"query": query, "variables": variables or {}}
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    if door == "json":
        answer: dict[str, Any] = (await stack.client.post("/graphql", json=asked, headers=headers)).json()
        return answer
    headers["accept"] = ACCEPTS[door]
    async with stack.client.stream("POST", "/graphql", json=asked, headers=headers) as response:
        return await anext(event_stream(response) if door == "event stream" else multipart(response))


class Refused(Exception):
    """A subscription was refused. ``status`` is the HTTP status, if there is one."""

    def __init__(self, errors: list[dict[str, Any]], status: int | None) -> None:
        super().__init__(errors)
        self.code = errors[0]["extensions"]["code"]
        self.extensions = errors[0]["extensions"]
        self.status = status


async def events(
    stack: Stack, door: str, query: str, variables: dict[str, Any] | None = None, *, user: str = ADA
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of one subscription to its end; closing the generator disconnects. Raises Refused."""
    asked = {"query": query, "variables": variables or {}}
    door_of = _by_websocket(stack, asked, user) if door == "websocket" else _by_http(stack, door, asked, user)
    async with aclosing(door_of) as read:
        async for payload in read:
            assert "errors" not in payload, payload
            yield next(iter(payload["data"].values()))


async def _by_websocket(stack: Stack, asked: dict[str, Any], user: str) -> AsyncGenerator[dict[str, Any], None]:
    async with opened_socket(stack, stack.token(user)) as socket:
        await socket.subscribe(**asked)
        while (message := await socket.hear())["type"] != "complete":
            if message["type"] == "error":
                raise Refused(message["payload"], None)
            yield message["payload"]


async def _by_http(stack: Stack, door: str, asked: dict[str, Any], user: str) -> AsyncGenerator[dict[str, Any], None]:
    headers = stack.headers(user) | {"accept": ACCEPTS[door]}
    async with stack.client.stream("POST", "/graphql", json=asked, headers=headers) as response:
        assert response.headers["content-type"].startswith(ACCEPTS[door].split(";")[0]), await response.aread()
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        refusal = None
        async for payload in (event_stream if door == "event stream" else multipart)(response):
            assert refusal is None, payload
            if "data" in payload:
                yield payload
            else:
                refusal = payload["errors"]
        if refusal is not None:
            raise Refused(refusal, response.status_code)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """Parse the body of a refusal: JSON, or the only event of an event stream."""
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.status_code == 200
        [refused, complete] = parsed(text)
        assert (refused.name, complete.name) == ("next", "complete")
        text = refused.data
    body: dict[str, Any] = orjson.loads(text)
    return body


async def event_stream(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the payloads of GraphQL over SSE; the stream must end with ``complete``."""
    async for event in server_sent(response.aiter_raw()):
        if event.name == "complete":
            assert event.data == ""
            return
        assert event.name == "next", event
        yield orjson.loads(event.data)
    raise AssertionError("the event stream broke off")


async def multipart(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the payloads of Apollo's multipart protocol; the body must end with the closing boundary."""
    boundary = re.search('boundary="(.+?)"', response.headers["content-type"])
    assert boundary
    mark, buffer = f"\r\n--{boundary[1]}".encode(), b""
    async for chunk in response.aiter_raw():
        *parts, buffer = (buffer + chunk).split(mark)
        for part in filter(None, parts):
            head, body = part.split(b"\r\n\r\n")
            assert head == b"\r\nContent-Type: application/json"
            message = orjson.loads(body)
            if message:
                yield message["payload"]
        if buffer == b"--\r\n":
            return
    raise AssertionError("the multipart body broke off")


def refused(answer: dict[str, Any]) -> tuple[str, str | None]:
    """Return code and reason of an answer's only error."""
    [error] = answer["errors"]
    return error["extensions"]["code"], error["extensions"].get("reason")


def code_of(answer: dict[str, Any]) -> str:
    """Return the code of an answer's only error."""
    return refused(answer)[0]
