"""The CPU time of a refused request: refused at once or from the queue, over an open or a new connection."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from app.embedded.people import ADA
from app.weights import MANY
from bench.load import Connection, Request, at_once
from bench.machine import cpu_seconds
from bench.support import Options, Running, Table, apart, gateway, token, upstreams

MILLISECONDS = 0.1
"""The target: the maximum CPU time of a refusal over an open connection."""

SECONDS = 4.0
SHORT_SECONDS = 1.5
CLIENTS = 8
SLOTS = 2000
DIFFERENT = 997
WAITING = 480
"""The number of requests in the queue. The gateway refuses each request after a second."""

QUERY = b'{"query": "{ viewer { id } }"}'


async def run(options: Options) -> Table:
    """Measure all kinds of refusals in turn, several times, and return the medians."""
    seen: dict[str, list[float]] = {}
    async with upstreams() as behind:
        for _ in range(options.rounds):
            await _round(behind, seen)
    table = Table(
        "CPU time of a request, in ms: of the gateway's process, user and system",
        ("what", "median", "least", "most"),
    )
    for name, spent in seen.items():
        table.rows.append((name, *(f"{value:.3f}" for value in (median(spent), min(spent), max(spent)))))
        if "kept" in name and "refused" in name:
            target = f"{name}: {median(spent):.3f} ms ({MILLISECONDS})"
            table.targets[target] = median(spent) <= MILLISECONDS
    return table


async def _round(behind: Running, seen: dict[str, list[float]]) -> None:
    kept, closed = [_viewer(ADA)], [_viewer(ADA, "connection: close\r\n")]
    different = [_viewer(ADA, f"x-number: {number:04}\r\n") for number in range(DIFFERENT)]
    ping = Request.get("/ping")
    async with _full_share(behind) as served:
        for name, requests, status in (
            ("/ping, connection kept", [ping], 200),
            ("/ping, new connection", [Request(ping.raw.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))], 200),
            ("refused at once (429), connection kept", kept, 429),
            ("refused at once (429), different requests", different, 429),
            ("refused at once (429), new connection", closed, 429),
        ):
            seen.setdefault(name, []).append(await _cost(served, requests, CLIENTS, status))
    async with _full_gateway(behind) as served:
        for name, requests in (
            ("refused after a second in the queue (503), connection kept", kept),
            ("refused after a second in the queue (503), new connection", closed),
        ):
            seen.setdefault(name, []).append(await _cost(served, requests, WAITING, 503))


def _viewer(user_id: str, fields: str = "") -> Request:
    whole = Request.post("/graphql", QUERY, token(user_id))
    return Request(whole.raw.replace(b"\r\n\r\n", f"\r\n{fields}\r\n".encode(), 1))


async def _cost(served: Running, requests: list[Request], clients: int, status: int) -> float:
    """Return the CPU time of an answer in milliseconds, without the idle process's CPU time.

    A short load and a long load open the same number of connections, so the difference contains no new connections.
    """
    before = cpu_seconds(served.pid)
    await asyncio.sleep(SECONDS)
    idle = (cpu_seconds(served.pid) - before) / SECONDS
    spent, answered = [], []
    for seconds in (SHORT_SECONDS, SHORT_SECONDS + SECONDS):
        before = cpu_seconds(served.pid)
        answers = await apart(at_once, served.port, requests, clients, seconds)
        spent.append(cpu_seconds(served.pid) - before - idle * seconds)
        answered.append(len(answers))
        if others := {one.status for one in answers} - {status}:
            raise RuntimeError(f"expected only the status {status}, but answers had {sorted(others)}")
    return (spent[1] - spent[0]) / (answered[1] - answered[0]) * 1000


@asynccontextmanager
async def _full_share(behind: Running) -> AsyncIterator[Running]:
    """Run a gateway in which an incomplete upload uses ADA's only slot."""
    async with gateway(behind, MAX_CONCURRENT_REQUESTS="4", REQUEST_TIMEOUT="120") as served:
        connection = await Connection.open(served.port)
        _write(connection, _viewer(ADA).raw[:-1])
        yield served


@asynccontextmanager
async def _full_gateway(behind: Running) -> AsyncIterator[Running]:
    """Run a gateway in which incomplete uploads of many users and addresses use all slots."""
    few = MANY - 1  # with more requests per owner, the gateway would admit other owners above the limit
    async with gateway(behind, MAX_CONCURRENT_REQUESTS=str(SLOTS), REQUEST_TIMEOUT="120") as served:
        connections = []
        for number in range(SLOTS):
            if number < SLOTS // 4:
                fields = f"x-forwarded-for: 192.0.2.{number // few}\r\ncontent-type: application/json\r\n"
                raw = f"POST /graphql HTTP/1.1\r\nhost: bench\r\n{fields}content-length: 9\r\n\r\n".encode()
            else:
                user = str(uuid.UUID(int=number // few))
                raw = _viewer(user).raw[:-1]
            connection = await Connection.open(served.port)
            _write(connection, raw)
            connections.append(connection)
            if number % 10 == 0:  # a burst would lower the limit
                await asyncio.sleep(0.02)
        await asyncio.sleep(2)
        yield served
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()


def _write(connection: Connection, data: bytes) -> None:
    assert connection.transport is not None
    connection.transport.write(data)
