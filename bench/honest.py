"""Compares the CPU time of ordinary requests in this tree and in an earlier revision, measured alternately."""

from __future__ import annotations

import json
import statistics
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from bench.load import Request, times
from bench.machine import cpu_seconds
from bench.overload import DASHBOARD
from bench.records import agent_ids
from bench.support import Options, Running, Table, apart, gateway, revision, token, upstreams

MOST_RATIO = 1.05
TOKENS = 50
MODEL = f"n{TOKENS}-d0"


@dataclass(frozen=True)
class Case:
    """A kind of request, a factory for its requests, and their number in one measurement."""

    name: str
    requests: Callable[[], Sequence[Request]]
    number: int


def cases() -> list[Case]:
    """Return the measured requests."""
    key, chat = token(), {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    query = "query One($id: ID!) { agent(id: $id) { id name version } }"
    by_id = {"query": query, "variables": {"id": f"agent:{agent_ids()[0]}"}}
    return [
        Case("viewer { id }", lambda: [_graphql({"query": "{ viewer { id } }"}, key)], 1000),
        Case("dashboard, 52 reads", lambda: [_graphql({"query": DASHBOARD}, key)], 15),
        Case("one object", lambda: [_graphql(by_id, key)], 500),
        Case("/v1 completion, whole", lambda: [_completion(chat, key)], 500),
        Case(f"/v1 completion, {TOKENS} chunks", lambda: [_completion({**chat, "stream": True}, key)], 100),
        Case(f"subscription, {TOKENS} tokens", lambda: [_subscription(key) for _ in range(100)], 100),
    ]


def _graphql(body: Mapping[str, object], key: str) -> Request:
    return Request.post("/graphql", json.dumps(body).encode(), key)


def _completion(body: Mapping[str, object], key: str) -> Request:
    return Request.post("/v1/chat/completions", orjson.dumps(body), key)


def _subscription(key: str) -> Request:
    query = (
        "subscription($i: CompletionInput!, $k: ID!) "
        "{ completion(input: $i, streamKey: $k) { cursor ... on TextDelta { text } } }"
    )
    given = {"model": MODEL, "messages": [{"role": "USER", "content": "hi"}]}
    body = {"query": query, "variables": {"i": given, "k": str(uuid.uuid4())}}
    return Request.post("/graphql", orjson.dumps(body), key, accept="text/event-stream")


async def run(options: Options) -> Table:
    """Measure each kind of request in both trees, alternately."""
    table = Table(f"Honest requests: CPU per request against {options.base}", ("what", "base ms", "now ms", "ratio"))
    with revision(options.base) as tree:
        async with upstreams() as behind, gateway(behind, tree=tree) as base, gateway(behind) as now:
            for case in cases():
                for side in (base, now):
                    await milliseconds(side, case, warm=True)
                rounds = [
                    (await milliseconds(base, case), await milliseconds(now, case)) for _ in range(options.rounds)
                ]
                before, after = (statistics.median(side) for side in zip(*rounds, strict=True))
                ratio = statistics.median(b / a for a, b in rounds)
                table.rows.append((case.name, f"{before:.3f}", f"{after:.3f}", f"{ratio:.3f}"))
                table.targets[f"{case.name}: {ratio:.3f} (at most {MOST_RATIO})"] = ratio <= MOST_RATIO
    return table


async def milliseconds(side: Running, case: Case, *, warm: bool = False) -> float:
    """Return the gateway's CPU time per request, in milliseconds. Raises RuntimeError if a status is not 200.

    If ``warm`` is true, only a quarter of the requests is sent.
    """
    number = case.number // 4 if warm else case.number
    before = cpu_seconds(side.pid)
    statuses = await apart(times, side.port, case.requests(), number)
    if set(statuses) != {200}:
        raise RuntimeError(f"{case.name}: {sorted(set(statuses))}")
    return (cpu_seconds(side.pid) - before) / number * 1000
