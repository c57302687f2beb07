"""No operation leaves reference cycles of the gateway, which would make full garbage collections slow."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.stack import Stack, embedded_stack
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
    server = await asyncio.get_running_loop().create_server(Speaking, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options: dict[str, Any] = {"litellm_base_url": url, "litellm_api_key": "k", "stream_coalesce_milliseconds": 0}
    async with server, embedded_stack(**options) as stack:
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
