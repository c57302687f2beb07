from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.capabilities import redis_path
from tests.support.serving import free_port
from tests.support.stack import Stack, embedded_stack, until


@asynccontextmanager
async def redis_at(port: int) -> AsyncIterator[None]:
    """Run a Redis, and begin the context when it accepts connections."""
    process = await asyncio.create_subprocess_exec(
        str(redis_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", stdout=asyncio.subprocess.DEVNULL
    )

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await until(listens)
        yield
    finally:
        process.terminate()
        await process.wait()


async def status(stack: Stack) -> str:
    return str((await stack.client.get("/health")).json()["services"]["redis"]["status"])


@pytest.mark.needs_redis
async def test_health_follows_a_stop_and_a_restart_of_redis() -> None:
    port = free_port()
    async with embedded_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack:
        async with redis_at(port):
            assert await status(stack) == "ok"
        assert await status(stack) == "down"
        assert (await stack.client.get("/health")).json()["status"] == "degraded"
        async with redis_at(port):
            assert await status(stack) == "ok"


@pytest.mark.needs_redis
async def test_a_restart_of_redis_between_checks_is_not_an_error() -> None:
    port = free_port()
    async with embedded_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack:
        for _ in range(3):
            async with redis_at(port):
                assert await status(stack) == "ok"


@pytest.mark.needs_redis
async def test_a_redis_that_closes_idle_connections_is_ok() -> None:
    port = free_port()
    async with redis_at(port), embedded_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(6):
            assert await status(stack) == "ok"
            writer.write(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            assert (await reader.readline()).startswith(b":1")
        writer.close()


async def test_a_redis_that_hangs_is_down() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    async with server, embedded_stack(redis_url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0") as stack:
        async with asyncio.timeout(4):
            assert await status(stack) == "down"
        for writer in writers:
            writer.transport.abort()
