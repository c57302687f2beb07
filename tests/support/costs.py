"""Count what requests cost, and keep the figures: ``python -m tests.support.costs`` writes ``costs.csv``.

A figure is the least of several equal requests to a warm gateway, since timers only add. The instructions are those of
the bytecode in the gateway's thread: their number does not depend on the machine's load (decision 0069).
"""

from __future__ import annotations

import asyncio
import csv
import sys
import uuid
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson
from websockets.asyncio.client import connect

from app import devtokens
from app.embedded.people import ADA
from bench.dashboard import QUERY
from bench.load import Request
from bench.records import agent_ids
from tests.support.counting import CountedGateway, counted_gateway
from tests.support.documents import COMPLETION_TEXT, CREATE_CONVERSATION
from tests.support.packets import CountedRedis, counted_redis
from tests.support.redis_server import redis_server
from tests.support.websocket import PROTOCOL

DATA = Path(__file__).with_suffix(".csv")
PYTHON = (3, 11)
"""The version whose bytecode the kept figures count."""

TOKENS = 50
WARM, REPEATED = 20, 5
"""The interpreter specializes code that has run several times, which changes the number of instructions."""


class Cost(NamedTuple):
    """The cost of a request.

    Attributes:
        calls: upstream calls.
        round_trips: packets to Redis, if the gateway has one.
        instructions: bytecode instructions, without Redis.
    """

    calls: int
    round_trips: int
    instructions: int


Ask = Callable[[CountedGateway], Awaitable[None]]


@cache
def _token() -> str:
    """Return one token for all requests, as a client sends it."""
    return devtokens.make_token(devtokens.signing_key(), user_id=ADA, email="ada@example.com")


def _post(path: str, body: object, accept: str = "application/json") -> Ask:
    async def ask(gateway: CountedGateway) -> None:
        request = Request.post(path, orjson.dumps(body), _token(), accept)
        gateway.services.steps = asyncio.Semaphore(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request.raw.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        seen, answer = 0, b""
        while data := await reader.read(1 << 20):
            answer += data
            seen = _advance(gateway, seen, answer)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
        assert b'"errors":[{' not in answer, answer[-1000:]

    return ask


def _advance(gateway: CountedGateway, seen: int, answer: bytes) -> int:
    """Let the model send a token for each that has arrived."""
    arrived = answer.count(b"tok")
    for _ in range(arrived - seen):
        gateway.services.steps.release()
    return arrived


def _graphql(query: str, **variables: object) -> Ask:
    return _post("/graphql", {"query": query, "variables": variables})


def _chat(tokens: int, *, stream: bool) -> Ask:
    said = [{"role": "user", "content": "hello " * 50}]
    return _post("/v1/chat/completions", {"model": f"n{tokens}-d0", "stream": stream, "messages": said})


def _subscription() -> dict[str, object]:
    given = {"model": f"n{TOKENS}-d0", "messages": [{"role": "USER", "content": "hello " * 50}]}
    return {"query": COMPLETION_TEXT, "variables": {"i": given, "k": str(uuid.uuid4())}}


async def _over_sse(gateway: CountedGateway) -> None:
    await _post("/graphql", _subscription(), "text/event-stream")(gateway)


async def _over_socket(gateway: CountedGateway) -> None:
    gateway.services.steps = asyncio.Semaphore(0)
    async with connect(f"ws://127.0.0.1:{gateway.port}/graphql", subprotocols=[PROTOCOL], proxy=None) as socket:
        init = {"type": "connection_init", "payload": {"authorization": f"Bearer {_token()}"}}
        await socket.send(orjson.dumps(init).decode())
        assert orjson.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": _subscription()}).decode())
        seen, answer = 0, b""
        while b'"type":"complete"' not in answer[-100:]:
            frame = await socket.recv()
            answer += frame.encode() if isinstance(frame, str) else frame
            seen = _advance(gateway, seen, answer)


REQUESTS: dict[str, Ask] = {
    "dashboard, 5 agents": _graphql(QUERY.replace(" run { id } step { id }", "").replace("first: 50", "first: 5")),
    "one object": _graphql("query One($id: ID!) { agent(id: $id) { id name version } }", id=agent_ids()[0]),
    "mutation": _graphql(CREATE_CONVERSATION, a=agent_ids()[0]),
    "completion, whole": _chat(5, stream=False),
    f"completion, {TOKENS} chunks": _chat(TOKENS, stream=True),
    f"subscription over SSE, {TOKENS} tokens": _over_sse,
    f"subscription over WebSocket, {TOKENS} tokens": _over_socket,
}

SETTINGS = {"cache": "off"}
"""Each request makes all of its calls."""


async def counts(ask: Ask, gateway: CountedGateway) -> Cost:
    """Return the upstream calls and instructions of a request at a gateway, warm."""
    for _ in range(WARM):
        await ask(gateway)
    found = []
    for _ in range(REPEATED):
        await gateway.start_counting()
        await ask(gateway)
        instructions, calls = await gateway.counted()
        found.append(Cost(calls, 0, instructions))
    return Cost(*map(min, zip(*found, strict=True)))


async def round_trips(ask: Ask, gateway: CountedGateway, redis: CountedRedis) -> int:
    """Return the packets to Redis of a request at a gateway, warm."""
    found = []
    for _ in range(WARM):
        before = len(redis.packets)
        await ask(gateway)
        await gateway.settled()
        found.append(len(redis.packets) - before)
    return min(found[-REPEATED:])


async def measured(ask: Ask, redis_url: str) -> Cost:
    """Return the cost of a request. Redis is counted at a gateway of its own."""
    async with counted_gateway(**SETTINGS) as gateway:
        found = await counts(ask, gateway)
    async with counted_redis(redis_url) as redis, counted_gateway(**SETTINGS, redis_url=redis.url) as gateway:
        return found._replace(round_trips=await round_trips(ask, gateway, redis))


def kept() -> dict[str, Cost]:
    """Return the kept figures by the request's name."""
    with DATA.open(newline="") as file:
        return {name: Cost(*map(int, figures)) for name, *figures in list(csv.reader(file))[1:]}


async def main() -> None:
    """Write the figures."""
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"Python {'.'.join(map(str, PYTHON))} is needed: other versions have other bytecode")
    with redis_server() as redis:
        found = {name: await measured(ask, redis.url()) for name, ask in REQUESTS.items()}
    with DATA.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("request", *Cost._fields))
        writer.writerows((name, *cost) for name, cost in found.items())


if __name__ == "__main__":
    asyncio.run(main())
