"""Two gateways that share a Redis server and the services."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from app.embedded import http_client
from tests.support.doors import events
from tests.support.process import Gateway, serving
from tests.support.stack import Stack, any_stack, replica_of


@asynccontextmanager
async def process_of(stack: Stack, folder: Path, **settings: Any) -> AsyncIterator[tuple[Stack, Gateway]]:
    """Run a gateway in a process for the stack's services, with the settings of ``stack`` except ``settings``."""
    given = {name.upper(): str(value) for name, value in {**stack.given, **settings}.items()}
    async with serving(folder, given) as gateway, http_client.client(base_url=gateway.url, timeout=30) as client:
        yield replace(stack, url=gateway.url, client=client), gateway


class Replicas(NamedTuple):
    """Two gateways with the same services and the same Redis server."""

    first: Stack
    second: Stack


@asynccontextmanager
async def two_replicas(redis_url: str, **settings: Any) -> AsyncIterator[Replicas]:
    """Run two gateways."""
    given = {"rate_limit_llm": 0, "rate_limit_general": 0, "redis_url": redis_url, **settings}
    async with any_stack(**given) as first, replica_of(first) as second:
        yield Replicas(first, second)


@asynccontextmanager
async def begun(
    stack: Stack, query: str, given: dict[str, Any], door: str = "websocket"
) -> AsyncIterator[tuple[str, AsyncGenerator[dict[str, Any], None]]]:
    """Start a stream, and return the stream's id and the events after the first."""
    async with aclosing(events(stack, door, query, {"i": given, "k": str(uuid.uuid4())})) as reading:
        started = await anext(reading)
        yield started["stream"]["id"], reading


async def rest(reading: AsyncGenerator[dict[str, Any], None]) -> list[dict[str, Any]]:
    """Read the events that remain."""
    return [event async for event in reading]
