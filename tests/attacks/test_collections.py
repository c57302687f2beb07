"""The cost of open streams: full garbage collections, which block the loop, memory per stream, and CPU per token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median

import pytest
import pytest_asyncio

from app.embedded.people import ADA, GRACE
from tests.support.attack import Target
from tests.support.endless import Model, asked, endless_model, gone

STREAMS_PER_USER = 90
MAX_CPU_RATIO = 1.5

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with endless_model(tmp_path_factory.mktemp("collections"), STREAM_RETENTION_SECONDS="0.1") as target:
        yield target


@asynccontextmanager
async def opened(target: Target, door: str, number: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open streams of two users, each with its first token."""

    async def one(user_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(asked(door, user_id, target))
        await reader.readuntil(b"token ")
        return reader, writer

    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(0, number, 2):
        streams += await asyncio.gather(one(ADA), one(GRACE))
    try:
        yield [reader for reader, _ in streams]
    finally:
        for _, writer in streams:
            writer.transport.abort()


def collections(metrics: dict[str, list[tuple[dict[str, str], float]]]) -> float:
    return sum(value for _, value in metrics["agentgraph_gc_seconds_count"])


@pytest.mark.parametrize("door", ["v1", "graphql"])
async def test_open_streams_make_no_full_collection(target: Target, door: str) -> None:
    for warm in ("v1", "graphql"):
        async with opened(target, warm, STREAMS_PER_USER // 2):
            pass
        await gone(target)
    async with opened(target, door, 2):
        before = await target.metrics()
        async with opened(target, door, 2 * STREAMS_PER_USER):
            for _ in range(20):
                for transport in Model.answering:
                    Model.say(transport)
                await asyncio.sleep(0.05)
            after = await target.metrics()
    await gone(target)
    assert collections(after) == collections(before)


async def test_a_token_costs_little_more_cpu_in_graphql_than_at_v1(target: Target) -> None:
    costs: dict[str, list[float]] = {"v1": [], "graphql": []}
    for door in 3 * ("v1", "graphql"):  # alternately, since other processes disturb each measurement
        async with opened(target, door, STREAMS_PER_USER) as readers:

            async def say(times: int, readers: list[asyncio.StreamReader] = readers) -> None:
                for _ in range(times):
                    for transport in Model.answering:
                        Model.say(transport)
                    await asyncio.gather(*(reader.readuntil(b"token ") for reader in readers))

            await say(5)
            before = target.cpu_seconds()
            await say(50)
            costs[door].append(target.cpu_seconds() - before)
        await gone(target)
    assert min(costs["graphql"]) <= MAX_CPU_RATIO * min(costs["v1"])


async def test_ended_streams_leave_no_memory(target: Target) -> None:
    """Memory stays constant over streams of 30 MB in all, although full collections are rare."""
    sizes = []
    for _ in range(6):
        async with opened(target, "v1", 20):
            for _ in range(40):
                for transport in Model.answering:
                    Model.say(transport, b"x" * 6000)
                await asyncio.sleep(0.01)
        await gone(target)
        sizes.append(target.rss_bytes())
    growth = [after - before for before, after in pairwise(sizes[1:])]
    assert median(growth) <= 2**20, "a round adds 5 MB of streams; once, the buffers of slow readers can add more"


async def test_memory_is_flat_over_many_requests(target: Target) -> None:
    async with target.client() as client:

        async def ask(times: int) -> None:
            for _ in range(times):
                answer = await client.post("/graphql", json={"query": "{ viewer { id agents { nodes { id } } } }"})
                assert answer.status_code == 200

        await asyncio.gather(*(ask(10) for _ in range(10)))
        before, rss = await target.metrics(), target.rss_bytes()
        await asyncio.gather(*(ask(40) for _ in range(10)))
        assert target.rss_bytes() - rss <= 4 * 2**20
        assert collections(await target.metrics()) - collections(before) <= 1
