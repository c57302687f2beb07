"""What one token of a stream costs on its way through the gateway: tasks, timers and steps of the event loop."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.stack import Stack, embedded_stack, opened_socket

pytestmark = pytest.mark.timeout(60)

TOKENS = 100
MAX_ITERATIONS = 6
"""Iterations of the loop for a token, from the model's write to the client that has read it: one each for the bytes to
come in, the source, the reader, the bytes to come to the client, and the client; and one to spare."""

COMPLETION = """subscription($i: CompletionInput!, $k: ID!) {
  completion(input: $i, streamKey: $k) { __typename cursor ... on TextDelta { text } } }"""


class Model(asyncio.Protocol):
    """An upstream that streams what it is told to ``say``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.transport.write(head)
            self.answering.set_result(self)
        elif data.startswith(b"GET"):
            self.transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}')

    def say(self, text: str) -> None:
        delta = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
        event = f"data: {json.dumps(delta)}\n\n".encode()
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    answering: asyncio.Future[Model]


@dataclass
class Counts:
    """What the loop did."""

    tasks: int = 0
    timers: int = 0
    iterations: int = 0


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what the running loop, asyncio's own, does."""
    loop: Any = asyncio.get_running_loop()
    counts, run_once, call_at = Counts(), loop._run_once, loop.call_at

    def count_iteration() -> None:
        counts.iterations += 1
        run_once()

    def count_timer(*args: Any, **options: Any) -> asyncio.TimerHandle:
        counts.timers += 1
        return call_at(*args, **options)

    def count_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        counts.tasks += 1
        return asyncio.Task(coro, loop=loop, **options)

    loop._run_once, loop.call_at = count_iteration, count_timer
    loop.set_task_factory(count_task)
    try:
        yield counts
    finally:
        loop.set_task_factory(None)
        del loop._run_once, loop.call_at


def asked(door: str) -> tuple[str, str, dict[str, Any]]:
    """The path, the ``Accept`` and the body of a request for a stream."""
    if door == "v1":
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        return "/v1/chat/completions", "text/event-stream", body
    asked = {"model": "m", "messages": [{"role": "USER", "content": "hi"}]}
    accept = "text/event-stream" if door == "sse" else 'multipart/mixed;subscriptionSpec="1.0"'
    return "/graphql", accept, {"query": COMPLETION, "variables": {"i": asked, "k": str(uuid.uuid4())}}


Hear = Callable[[bytes], Awaitable[object]]


@asynccontextmanager
async def reading(stack: Stack, door: str) -> AsyncIterator[Hear]:
    """A stream at a door; ``hear`` waits for a text."""
    if door == "ws":
        async with opened_socket(stack) as socket:
            await socket.subscribe(COMPLETION, asked(door)[2]["variables"])

            async def hear(text: bytes) -> None:
                while text not in (await socket.socket.recv(decode=False)):
                    pass

            yield hear
        return
    path, accept, body = asked(door)
    content = json.dumps(body).encode()
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {stack.token()}\r\naccept: {accept}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    try:
        yield reader.readuntil
    finally:
        writer.transport.abort()


@asynccontextmanager
async def model() -> AsyncIterator[tuple[str, asyncio.Future[Model]]]:
    """A model's address, and the model once it is asked."""
    answering: asyncio.Future[Model] = asyncio.get_running_loop().create_future()
    Model.answering = answering
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answering


@pytest.mark.parametrize("door", ["v1", "sse", "multipart", "ws"])
async def test_a_token_costs_no_task_no_timer_and_few_iterations_of_the_loop(door: str) -> None:
    async with (
        model() as (url, answering),
        embedded_stack(litellm_base_url=url, litellm_api_key="k", stream_coalesce_milliseconds=0) as stack,
        reading(stack, door) as hear,
    ):
        speaker = await answering
        for number in range(3):  # the first ones of a stream cost more
            speaker.say(f"<w{number}>")
            await hear(b"<w%d>" % number)
        with counted() as counts:
            for number in range(TOKENS):
                speaker.say(f"<{number}>")
                await hear(b"<%d>" % number)
        speaker.transport.abort()
    assert counts.tasks == 0
    assert counts.timers <= TOKENS / 4  # the gateway's own: how late the loop runs, what is unsent
    assert counts.iterations <= MAX_ITERATIONS * TOKENS
