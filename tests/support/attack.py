"""A gateway process under attack: its costs, and a second user who must not be affected."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app import devtokens
from app.embedded import http_client
from app.embedded.people import ADA, GRACE
from tests.support.process import Process, serving
from tests.support.stack import GraphQLSocket, until
from tests.support.websocket import connecting

HELD_SECONDS = 0.25
"""The longest time that the gateway's own work may block its event loop."""

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Cost:
    """The resources that the process used. Set at the end of the context.

    Attributes:
        cpu_seconds: user and system time.
        rss_bytes: growth of the resident memory, from the start to the end.
        peak_rss_bytes: growth of the resident memory, from the start to its highest point.
    """

    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    peak_rss_bytes: int = 0
    before: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)
    after: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)

    def metric(self, name: str, **labels: str) -> float:
        """Return the growth of a metric, summed over the series with these labels."""
        return _total(self.after, name, labels) - _total(self.before, name, labels)

    @property
    def upstream_calls(self) -> int:
        """Return the number of upstream calls."""
        return int(self.metric("agentgraph_upstream_calls_total"))

    def held_over(self, seconds: float = HELD_SECONDS) -> int:
        """Return how often the gateway's own work blocked the loop for longer than a bucket's bound."""
        name = "agentgraph_loop_held_seconds"
        return int(self.metric(f"{name}_count") - self.metric(f"{name}_bucket", le=str(seconds)))


def _total(samples: dict[str, list[tuple[dict[str, str], float]]], name: str, labels: dict[str, str]) -> float:
    return sum(value for given, value in samples.get(name, []) if labels.items() <= given.items())


@dataclass
class Target:
    """A gateway under attack. ``log`` is the output of its process so far."""

    url: str
    pid: int
    log: bytearray

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for raw sockets."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def token(self, user_id: str = ADA, **options: Any) -> str:
        return devtokens.make_token(devtokens.signing_key(), user_id=user_id, email="one@example.com", **options)

    def headers(self, user_id: str = ADA) -> dict[str, str]:
        """The headers of a signed-in request."""
        return {"authorization": f"Bearer {self.token(user_id)}"}

    def client(self, user_id: str | None = ADA, **options: Any) -> httpx.AsyncClient:
        """Return an HTTP client of a user, or without a token."""
        headers = {} if user_id is None else self.headers(user_id)
        return http_client.client(base_url=self.url, headers=headers, timeout=60, **options)

    async def ask(self, query: str, user_id: str | None = ADA, **variables: Any) -> dict[str, Any]:
        """Return the body of the answer to an operation."""
        async with self.client(user_id) as client:
            answer = await client.post("/graphql", json={"query": query, "variables": variables})
        whole: dict[str, Any] = answer.json()
        return whole

    async def agent_id(self) -> str:
        whole = await self.ask("{ viewer { agents(first: 1) { nodes { id } } } }")
        return str(whole["data"]["viewer"]["agents"]["nodes"][0]["id"])

    @asynccontextmanager
    async def socket(self, user_id: str = ADA) -> AsyncIterator[GraphQLSocket]:
        """Open a signed-in socket."""
        async with connecting(self.url) as connection:
            opened = GraphQLSocket(connection)
            await opened.tell(type="connection_init", payload=self.headers(user_id))
            assert (await opened.hear())["type"] == "connection_ack"
            yield opened

    async def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        async with self.client(None) as client:
            text = (await client.get("/metrics")).raise_for_status().text
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in _SAMPLE.findall(text):
            found.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
        return found

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[Cost]:
        """Measure the process until the context ends."""
        cost = Cost(before=await self.metrics())
        cpu, rss = self.cpu_seconds(), self.rss_bytes()
        self._reset_peak()
        yield cost
        cost.cpu_seconds = self.cpu_seconds() - cpu
        cost.rss_bytes, cost.peak_rss_bytes = self.rss_bytes() - rss, self._peak_bytes() - rss
        cost.after = await self.metrics()

    @asynccontextmanager
    async def bystander(self, user_id: str = GRACE) -> AsyncIterator[None]:
        """Query and stream as a second user until the context ends.

        Raises:
            AssertionError: the second user's query is refused or stream breaks, or the gateway's own work blocks the
                loop for more than ``HELD_SECONDS``.
        """
        async with self.measured() as cost, self.client(user_id) as client:
            asked = {"model": "gpt-4o-mini", "stream": True, "messages": [_say("[[tokens=100000 delay=0.02]]")]}
            async with (
                client.stream("POST", "/v1/chat/completions", json=asked) as streamed,
                aclosing(_lines(streamed)) as lines,
            ):
                assert streamed.status_code == 200
                await _token(lines)
                over = asyncio.Event()
                watching = asyncio.create_task(_watch(client, lines, over))
                try:
                    yield
                finally:
                    over.set()
                    await asyncio.wait([watching])
                watching.result()
            await until(lambda: self._has_ended(streamed.headers["x-stream-id"], user_id))
        assert cost.held_over() == 0, "the event loop was held"

    async def _has_ended(self, stream_id: str, user_id: str) -> bool:
        """Return whether a stream and its accounting have ended. A later measurement then counts none of its calls."""
        whole = await self.ask("query($id: ID!) { stream(id: $id) { status } }", user_id, id=stream_id)
        assert "errors" not in whole, whole
        stream = whole["data"]["stream"]
        return stream is None or stream["status"] != "RUNNING"

    def cpu_seconds(self) -> float:
        facts = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(facts[11]) + int(facts[12])) / _TICK

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def _reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # see proc(5)

    def _peak_bytes(self) -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@asynccontextmanager
async def attacked(folder: Path, **settings: str) -> AsyncIterator[Target]:
    """Run ``agentgraph serve --memory`` in a process until the context ends."""
    async with serving(folder, settings) as gateway:
        log = bytearray()
        draining = asyncio.create_task(_drain(gateway.process, log))
        try:
            yield Target(gateway.url, gateway.process.pid, log)
        finally:
            draining.cancel()
            await asyncio.wait([draining])


async def _drain(process: Process, log: bytearray) -> None:
    """Read the output of the process, so that the pipe is never full."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(65536):
        log += chunk


async def _watch(client: httpx.AsyncClient, lines: AsyncIterator[str], over: asyncio.Event) -> None:
    """Query and read until the end, and once more after it."""
    last = False
    while not last:
        last = over.is_set()
        await _viewer(client)
        await _token(lines)


async def _viewer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/graphql", json={"query": "{ viewer { id } }"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["viewer"]["id"]


async def _lines(streamed: httpx.Response) -> AsyncGenerator[str, None]:
    async for line in streamed.aiter_lines():
        yield line


async def _token(lines: AsyncIterator[str]) -> None:
    """Read the next event of the stream."""
    async for line in lines:
        if line.startswith("data: "):
            assert '"error"' not in line
            return
    raise AssertionError("the stream ended")


def _say(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
