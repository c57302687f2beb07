"""No operation leaves reference cycles of the gateway, which would make full garbage collections slow."""

from __future__ import annotations

import asyncio
import gc
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from app.embedded.people import ADA
from tests.support.documents import MESSAGE
from tests.support.doors import events
from tests.support.rawhttp import raw
from tests.support.stack import Stack, embedded_stack
from tests.support.streaming import message_input
from tests.support.tokens import Model, reading

pytestmark = pytest.mark.timeout(60)

OURS = ("app.", "resolvers.", "clients.", "schema.", "uvicorn.", "graphql.", "strawberry.", "httptools.", "websockets.")
"""Packages whose objects must not be in reference cycles. asyncio's transports refer to themselves."""


class Speaking(Model):
    """A model that sends one word of an endless answer. ``gone`` is released when the connection closes."""

    gone: asyncio.Semaphore

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if data.startswith(b"POST /v1/"):
            self.say("<first>")

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.release()


class Finishing(Model):
    """A model whose answer is one word."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if data.startswith(b"POST /v1/"):
            self.say("<first>")
            self.finish()


class Refusing(Model):
    """A LiteLLM that refuses each completion."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /v1/"):
            body = b'{"error": {"message": "no", "type": "invalid_request_error", "code": "400"}}'
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % len(body) + body)
        else:
            super().data_received(data)


@asynccontextmanager
async def answered_by(model: type[Model]) -> AsyncIterator[Stack]:
    """Run a gateway in front of a model."""
    server = await asyncio.get_running_loop().create_server(model, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options: dict[str, Any] = {"litellm_base_url": url, "litellm_api_key": "k", "stream_coalesce_milliseconds": 0}
    async with server, embedded_stack(**options) as stack:
        yield stack


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """Count objects of ``OURS`` that become garbage in cycles during the context, by type."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        found.update(kind for kind in kinds if kind.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def aborted(stack: Stack, door: str) -> None:
    """Read the first word of a stream, disconnect, and wait until the request has ended."""
    Speaking.answering = asyncio.get_running_loop().create_future()
    async with reading(stack, door) as hear:
        await hear(b"<first>")
    await Speaking.gone.acquire()
    await settled()


async def settled() -> None:
    """Let the event loop run the last steps of a request."""
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.mark.parametrize("door", ["v1", "sse", "multipart", "ws"])
async def test_an_aborted_stream_leaves_no_reference_cycles(door: str) -> None:
    Speaking.gone = asyncio.Semaphore(0)
    async with answered_by(Speaking) as stack:
        await aborted(stack, door)  # creates the objects that exist once
        with collected() as found:
            for _ in range(3):
                await aborted(stack, door)
    assert not found


@pytest.mark.parametrize(
    "query", ["{ viewer { id agents { nodes { id name } } } }", '{ agent(id: "agent:none") { id } }']
)
async def test_an_answered_query_leaves_no_reference_cycles(stack: Stack, query: str) -> None:
    await stack.graphql(query)
    with collected() as found:
        for _ in range(3):
            await stack.graphql(query)
        await settled()
    assert not found


def _address(stack: Stack) -> tuple[str, int]:
    return "127.0.0.1", int(stack.url.rpartition(":")[2])


def _asked(path: str, body: bytes, token: str | None, length: int | None = None) -> bytes:
    signed = "" if token is None else f"Authorization: Bearer {token}\r\n"
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{signed}"
    return f"{lines}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


_UNKNOWN_MODEL = b'{"model": "none", "messages": [{"role": "user", "content": "hi"}]}'

REFUSED: dict[str, tuple[int, Callable[[Stack], bytes]]] = {
    "no token at /v1": (401, lambda _: _asked("/v1/chat/completions", b"{}", None)),
    "wrong token": (401, lambda _: _asked("/graphql", b'{"query": "{ viewer { id } }"}', "x.y.z")),
    "wrong secret of an agent": (401, lambda _: _asked(f"/api/v1/agents/{ADA}/proxy/chat/completions", b"{}", "x")),
    "unknown path": (404, lambda stack: _asked("/v1/nothing", b"{}", stack.token())),
    "invalid JSON": (400, lambda stack: _asked("/graphql", b"{", stack.token())),
    "invalid document": (200, lambda stack: _asked("/graphql", b'{"query": "{ nothing }"}', stack.token())),
    "body too large": (413, lambda stack: _asked("/graphql", b"", stack.token(), 10**9)),
    "unknown model": (404, lambda stack: _asked("/v1/chat/completions", _UNKNOWN_MODEL, stack.token())),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_request_leaves_no_reference_cycles(stack: Stack, name: str) -> None:
    status, make = REFUSED[name]
    request = make(stack)

    async def refused() -> None:
        async with raw(_address(stack)) as connection:
            await connection.send(request)
            assert (await connection.answer())[0] == status
        await settled()

    await refused()
    with collected() as found:
        for _ in range(3):
            await refused()
    assert not found


@pytest.mark.parametrize("door", ["v1", "sse", "multipart", "ws"])
async def test_a_stream_that_litellm_refuses_leaves_no_reference_cycles(door: str) -> None:
    async def refused(stack: Stack) -> None:
        async with reading(stack, door) as hear:
            await hear(b'"error"' if door == "v1" else b"BAD_USER_INPUT")
        await settled()

    async with answered_by(Refusing) as stack:
        await refused(stack)
        with collected() as found:
            for _ in range(3):
                await refused(stack)
    assert not found


async def test_an_aborted_body_leaves_no_reference_cycles(stack: Stack) -> None:
    async def abandoned() -> None:
        async with raw(_address(stack)) as connection:
            await connection.send(_asked("/graphql", b" " * 100_000, stack.token(), 1_000_000))
        await settled()

    await abandoned()
    with collected() as found:
        for _ in range(3):
            await abandoned()
    assert not found


@contextmanager
def abandoned() -> Iterator[list[str]]:
    """Name the generators of ``OURS`` that nothing closes, so that asyncio closes them in tasks of their own."""
    found: list[str] = []
    hooks = sys.get_asyncgen_hooks()

    def finalize(generator: Any) -> None:
        if generator.ag_frame.f_globals["__name__"].startswith(OURS):
            found.append(generator.__qualname__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(hooks.firstiter, finalize)
    try:
        yield found
    finally:
        sys.set_asyncgen_hooks(*hooks)


@pytest.mark.parametrize(("door", "end"), [("v1", b"[DONE]"), ("sse", b"event: complete"), ("ws", b'"complete"')])
async def test_an_ended_completion_has_closed_its_generators(door: str, end: bytes) -> None:
    Finishing.answering = asyncio.get_running_loop().create_future()
    async with answered_by(Finishing) as stack:
        with abandoned() as found:
            async with reading(stack, door) as hear:
                await hear(end)
                await settled()
    assert found == []


async def test_an_ended_turn_has_closed_its_generators(stack: Stack) -> None:
    given = {"i": message_input(await stack.make_agent(), "tokens=2 delay=0"), "k": str(uuid.uuid4())}
    with abandoned() as found:
        heard = [event async for event in events(stack, "event stream", MESSAGE, given)]
        await settled()
    assert heard[-1]["outcome"] == "COMPLETED"
    assert found == []
