"""Several gateway processes with one Redis and one embedded platform, which tests can kill and restart."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app import devtokens
from app.embedded import http_client
from app.embedded.people import ADA
from tests.support.balancer import Balancer, balancing
from tests.support.forks import ROOT
from tests.support.process import Process, running, serving
from tests.support.redis_server import DURABLE, RedisServer, redis_server
from tests.support.serving import free_port


@dataclass
class Replica:
    """A gateway process at a fixed port. ``log`` is the output of its processes so far."""

    port: int
    folder: Path
    settings: Mapping[str, str]
    log: bytearray = field(default_factory=bytearray)
    process: Process | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process, and wait until it serves."""
        settings = {**self.settings, "PORT": str(self.port)}
        gateway = await self._stack.enter_async_context(serving(self.folder, settings))
        self.process = gateway.process
        await self._stack.enter_async_context(_drained(gateway.process, self.log))

    def signal(self, how: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(how)

    async def kill(self) -> None:
        """Kill the process, and wait for its end."""
        if self.process is not None:
            self.process.kill()
        await self.ended()

    async def ended(self) -> int | None:
        """Wait for the process's end, and return its status."""
        process, self.process = self.process, None
        status = None if process is None else await process.wait()
        await self._stack.aclose()
        return status


@dataclass
class Cluster:
    """Gateway processes behind a load balancer."""

    replicas: list[Replica]
    redis: RedisServer
    balancer: Balancer
    page: str
    """The URL of the embedded platform's page for faults."""

    @property
    def url(self) -> str:
        """The load balancer's URL."""
        return self.balancer.url

    def headers(self, user_id: str = ADA) -> dict[str, str]:
        token = devtokens.make_token(devtokens.signing_key(), user_id=user_id, email="one@example.com")
        return {"authorization": f"Bearer {token}"}

    def client(self, user_id: str = ADA) -> httpx.AsyncClient:
        return http_client.client(base_url=self.url, headers=self.headers(user_id), timeout=60)

    async def upstream_calls(self, service: str) -> list[str]:
        """Return the method and path of each request to a service."""
        async with http_client.client() as client:
            calls = (await client.get(f"{self.page}calls")).raise_for_status().json()
        return [f"{call['method']} {call['path']}" for call in calls if call["service"] == service]


@asynccontextmanager
async def cluster(folder: Path, count: int = 3, settings: Mapping[str, str] | None = None) -> AsyncIterator[Cluster]:
    """Run gateways, a Redis and an embedded platform, each in a process, until the context ends."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(*DURABLE))
        services, page = await stack.enter_async_context(platform(folder))
        given = {
            **services,
            "REDIS_URL": redis.url(),
            "RATE_LIMIT_GENERAL": "0",
            "RATE_LIMIT_LLM": "0",
            **(settings or {}),
        }
        replicas = [Replica(free_port(), folder, given) for _ in range(count)]
        for replica in replicas:
            stack.push_async_callback(replica.kill)
        await asyncio.gather(*(replica.start() for replica in replicas))
        balancer = await stack.enter_async_context(balancing([replica.port for replica in replicas]))
        yield Cluster(replicas, redis, balancer, page)


@asynccontextmanager
async def platform(folder: Path) -> AsyncIterator[tuple[dict[str, str], str]]:
    """Run the embedded platform in a process. Yield its settings, and the URL of its page for faults."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = ("embedded", "--memory", "--port", str(free_port()))
    async with running(*arguments, folder=folder, environment=environment) as process:
        assert process.stdout is not None
        text = ""
        while "Page for injecting faults" not in text:
            line = (await process.stdout.readline()).decode()
            assert line, text
            text += line
        page = re.search(r"Page for injecting faults: (\S+)", text)
        assert page, text
        async with _drained(process, bytearray()):
            yield dict(re.findall(r"^(\w+)=(\S+)$", text, re.MULTILINE)), page[1]


@asynccontextmanager
async def _drained(process: Process, log: bytearray) -> AsyncIterator[None]:
    draining = asyncio.create_task(_drain(process, log))
    try:
        yield
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


async def _drain(process: Process, log: bytearray) -> None:
    """Read the output of a process, so that the pipe is never full."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(65_536):
        log += chunk
