"""The suite of doors, which runs against embedded and against real services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:  # xdist's controller, which runs no test, loads this file too
    from tests.support.redis_server import RedisServer
    from tests.support.stack import Stack


@pytest.fixture(scope="module", params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
def adapter(request: pytest.FixtureRequest) -> str:
    """The store that keeps the streams: process memory, or a Redis with this URL."""
    if request.param == "memory":
        return "memory"
    server: RedisServer = request.getfixturevalue("shared_redis")
    return server.url()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def promised(adapter: str) -> AsyncIterator[Stack]:
    """A gateway for all promises that need no settings of their own."""
    from tests.support.promises import stack_on

    async with stack_on(adapter) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(adapter: str) -> AsyncIterator[Stack]:
    """A gateway whose heartbeats come often."""
    from tests.support.promises import stack_on

    async with stack_on(adapter, stream_heartbeat_seconds=0.1) as running:
        yield running
