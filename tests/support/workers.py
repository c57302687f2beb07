"""A gateway with several workers, whose log is a file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.embedded import http_client
from tests.support.forks import ROOT


@dataclass
class Workers:
    """A running ``agentgraph serve`` with workers: its address, process and log file, and a token for Ada."""

    url: str
    token: str
    process: asyncio.subprocess.Process
    log: Path

    def lines(self, event: str) -> Iterator[dict[str, Any]]:
        """Yield the log's lines about an event. The log is the printed text, and then one JSON object per line."""
        for line in self.log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n") and (entry := json.loads(line))["event"] == event:
                yield entry

    def pids(self) -> dict[int, int]:
        """Return the process ids of the workers, by the worker's number."""
        return {line["worker"]: line["pid"] for line in self.lines("worker started")}

    def served(self, route: str) -> Counter[int]:
        """Return how many requests to a route each worker has answered."""
        return Counter(line["worker"] for line in self.lines("request") if line["route"] == route)

    async def get(self, path: str, base: str | None = None) -> httpx.Response:
        """Send a GET request over a new connection."""
        async with http_client.client(base_url=base or self.url, timeout=20) as client:
            return await client.get(path)

    async def ask(self, query: str, **variables: Any) -> httpx.Response:
        """Send a GraphQL operation of Ada over a new connection."""
        async with http_client.client(base_url=self.url, timeout=20) as client:
            headers = {"authorization": f"Bearer {self.token}"}
            return await client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)

    async def counters(self, base: str | None = None) -> dict[str, float]:
        """Return all counters and the counts of all histograms, by name and labels."""
        text = (await self.get("/metrics", base)).text
        found = re.findall(r"^(\w+_(?:total|count|bucket|sum)(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}


@asynccontextmanager
async def workers(folder: Path, redis_url: str, *, count: int = 2, **settings: str) -> AsyncIterator[Workers]:
    """Run ``agentgraph serve --workers`` until the context ends. Wait until all workers accept requests."""
    log = folder / "gateway.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "0", "REDIS_URL": redis_url, **settings}
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "serve", "--memory", "--workers", str(count)),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        await until(lambda: "curl " in log.read_text() or process.returncode is not None)
        text = log.read_text()
        url = re.search(r"Start here +(http://127\.0\.0\.1:\d+)", text)
        token = re.search(r"export TOKEN=(\S+)", text)
        assert url, text
        assert token, text
        gateway = Workers(url[1], token[1], process, log)
        await until(lambda: len({line["worker"] for line in gateway.lines("worker ready")}) == count)
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()  # the workers then end by themselves
        await process.wait()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until the log has what a test waits for."""
    async with asyncio.timeout(40):
        while not holds():
            await asyncio.sleep(0.02)
