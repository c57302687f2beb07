"""How much memory an idle stream takes: counted allocations, which do not depend on the machine's load."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import graphql
import pytest
import uvicorn

from tests.support.costs import PYTHON
from tests.support.stack import Stack, embedded_stack
from tests.support.tokens import Model, reading

pytestmark = pytest.mark.timeout(60)

STREAMS = 20
MOST_DEVIATION = 0.05
ROOT = Path(__file__).parents[2]
COUNTED = [
    *(f"{ROOT / name}/*" for name in ("app", "clients", "resolvers", "schema")),
    *(f"{Path(str(package.__file__)).parent}/*" for package in (uvicorn, graphql)),
]
"""The code whose allocations count. The test's client and model are in the same process, but in other packages."""

BYTES = {"v1": 22_400, "sse": 24_500, "ws": 23_200}
"""The memory of an idle stream in bytes, without transports, timers and tasks, which the event loop allocates."""


@asynccontextmanager
async def opened(stack: Stack, door: str, streams: int) -> AsyncIterator[None]:
    """Open streams. The client has received a first token of each."""
    async with AsyncExitStack() as clients:
        for _ in range(streams):
            Model.answering = asyncio.get_running_loop().create_future()
            hear = await clients.enter_async_context(reading(stack, door))
            (await Model.answering).say("<first>")
            await hear(b"<first>")
        yield


@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="other versions of Python have objects of other sizes")
@pytest.mark.parametrize("door", BYTES)
async def test_an_idle_stream_takes_the_memory_that_it_did(door: str) -> None:
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options: dict[str, Any] = {"litellm_base_url": url, "litellm_api_key": "k", "stream_coalesce_milliseconds": 0}
    async with server, embedded_stack(**options) as stack:
        async with opened(stack, door, 3):
            pass  # creates the objects that exist once
        gc.collect()
        tracemalloc.start()
        try:
            async with opened(stack, door, STREAMS):
                gc.collect()
                snapshot = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
    counted = snapshot.filter_traces([tracemalloc.Filter(inclusive=True, filename_pattern=name) for name in COUNTED])
    found = sum(trace.size for trace in counted.traces) / STREAMS
    assert found == pytest.approx(BYTES[door], rel=MOST_DEVIATION)
