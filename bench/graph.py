"""Compares a GraphQL operation at the gateway and at the peers, with the same static AMS and Letta."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from bench.compare import Compared, Load, Side, compare, table
from bench.gateways import compared
from bench.load import Request
from bench.peers import REST_PORT, Peer, Peers
from bench.rest import rest
from bench.streamload import closed_loop
from bench.support import Options, Running, Table, apart_on, token
from bench.wrk import wrk

OFF, ON = "gateway, cache off", "gateway, cache on"
SECONDS = 5.0


@dataclass(frozen=True)
class Operation:
    """An operation that the gateway and the peers execute.

    Attributes:
        body: the body of the request to the gateway.
        file: the name of the file with the request's body for a peer, in the peer's folder.
        clients: the number of connections.
        is_slow: whether an answer can take longer than wrk's measurement.
        values: returns the values in an answer's ``data``, which must be equal for all sides.
    """

    body: Mapping[str, object]
    file: str
    clients: int
    values: Callable[[Any], object]
    is_slow: bool = False


async def against(title: str, operation: Operation, wanted: list[Peer], options: Options) -> tuple[Table, Compared]:
    """Compare the gateway, with the cache off and on, with peers. Raises RuntimeError if the values differ."""
    peers, cores = Peers(), options.cores
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(rest(REST_PORT, cores.others()))
        sides = []
        for name, cache in ((OFF, False), (ON, True)):
            served = await stack.enter_async_context(compared(behind, options, cache=cache))
            sides.append(Side(name, served, _load(orjson.dumps(operation.body), operation, options), is_ours=True))
        for peer in peers.available(wanted):
            served = await stack.enter_async_context(peers.running(peer, cores.server()))
            body = (peers.folder / peer.folder / operation.file).read_bytes()
            sides.append(Side(peer.name, served, _load(body, operation, options)))
        await _same(sides, operation, peers)
        found = await compare(sides, options)
    result = table(title, found)
    result.notes += peers.missing
    return result, found


def _load(body: bytes, operation: Operation, options: Options) -> Load:
    seconds = options.seconds or SECONDS

    async def load(server: Running) -> dict[str, float]:
        url, cores = f"{server.url}/graphql", options.cores.others()
        if operation.is_slow:
            asked = Request.post("/graphql", body, token())
            return await apart_on(cores, closed_loop, server.port, asked, operation.clients, seconds)
        return await wrk(url, body, token(), clients=operation.clients, seconds=seconds, cores=cores)

    return load


async def _same(sides: list[Side], operation: Operation, peers: Peers) -> None:
    """Raise RuntimeError if two sides return different values."""
    folders = {peer.name: peer.folder for peer in peers.found}
    seen: dict[str, object] = {}
    async with httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {token()}"}) as client:
        for side in sides:
            asked = orjson.dumps(operation.body)
            if not side.is_ours:
                asked = (peers.folder / folders[side.name] / operation.file).read_bytes()
            headers = {"content-type": "application/json"}
            answer = await client.post(f"{side.server.url}/graphql", content=asked, headers=headers)
            found = answer.json()
            if answer.status_code != 200 or found.get("errors"):
                raise RuntimeError(f"{side.name}: {answer.status_code} {answer.text[:1000]}")
            seen[side.name] = await asyncio.to_thread(operation.values, found["data"])
    first = next(iter(seen.values()))
    for name, values in seen.items():
        if values != first:
            raise RuntimeError(f"{name} returns different values than {next(iter(seen))}: {_difference(values, first)}")


def _difference(one: object, other: object) -> str:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(_difference(a, b) for a, b in zip(one, other, strict=True) if a != b)
    return f"{one!r:.300} instead of {other!r:.300}"
