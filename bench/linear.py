"""The growth of a request's CPU time with the number of agents, and with a document's length, aliases and fragments."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack

import orjson

from bench.gateways import compared
from bench.load import Request, times
from bench.machine import cpu_seconds
from bench.processes import free_port
from bench.rest import rest
from bench.support import Options, Running, Table, apart_on, token

SIZES = (10, 50, 200)
MOST_DEVIATION = 0.15
SETTINGS = {"MAX_QUERY_TOKENS": "100000", "MAX_UPSTREAM_CALLS": "20000"}
REQUESTS, DASHBOARDS = 50, 3


async def run(options: Options) -> Table:
    """Measure each kind of growth at three sizes, in turns, and compare the middle size with linear growth."""
    spent: dict[tuple[str, int], list[float]] = {}
    async with AsyncExitStack() as stack:
        cores, enter = options.cores, stack.enter_async_context
        served = {}
        for size in SIZES:
            behind = await enter(rest(free_port(), cores.others(), size))
            served[size] = await enter(compared(behind, options, cache=False, **SETTINGS))
        for number in range(options.rounds + 1):
            for size in SIZES:
                for name, document in DOCUMENTS.items():
                    found = await _milliseconds(served[SIZES[0]], _different(document(size)), REQUESTS, options)
                    spent.setdefault((name, size), []).append(found)
                found = await _milliseconds(served[size], [_request(_agents(size))], DASHBOARDS, options)
                spent.setdefault(("agents", size), []).append(found)
            if number == 0:
                spent.clear()  # the first round warms
    result = Table(
        "Growth of the CPU time of a request", ("what", *(f"{size}: ms" for size in SIZES), "difference to linear")
    )
    for name in (*DOCUMENTS, "agents"):
        _add(result, name, [min(spent[name, size]) for size in SIZES])
    return result


def _add(result: Table, name: str, cost: list[float]) -> None:
    """Add a row. The figures are the minimums of all rounds, because other load only increases CPU times."""
    (first, middle, last), (low, between, high) = cost, SIZES
    straight = first + (last - first) * (between - low) / (high - low)
    off = middle / straight - 1
    result.rows.append((name, *(f"{one:.2f}" for one in cost), f"{off:+.0%}"))
    result.figures[name] = {**{str(size): one for size, one in zip(SIZES, cost, strict=True)}, "off": off}
    result.targets[f"{name}: {off:+.0%} difference to linear growth (at most {MOST_DEVIATION:.0%})"] = (
        abs(off) <= MOST_DEVIATION
    )


def _agents(size: int) -> str:
    """Return a dashboard with two pages, because a page has at most 100 agents."""
    fields = "id name version memoryBlocks { id value } messages(last: 20) { nodes { id role text createdAt } }"
    pages = (f"{end}: agents({end}: {size // 2}) {{ nodes {{ {fields} }} }}" for end in ("first", "last"))
    return f"{{ viewer {{ id {' '.join(pages)} }} }}"


def _length(size: int) -> str:
    return f"{{ viewer {{ {'id email ' * size} }} }}"


def _aliases(size: int) -> str:
    return f"{{ viewer {{ {' '.join(f'a{number}: id b{number}: email' for number in range(size // 2))} }} }}"


def _fragments(size: int) -> str:
    spreads = " ".join(f"...F{number}" for number in range(size))
    return f"{{ viewer {{ {spreads} }} }} {' '.join(f'fragment F{number} on User {{ id }}' for number in range(size))}"


DOCUMENTS: dict[str, Callable[[int], str]] = {
    "document length": _length,
    "aliases": _aliases,
    "fragments": _fragments,
}


_numbers = itertools.count()


def _different(document: str) -> list[Request]:
    """Return requests whose documents differ from all others, so that each is parsed and validated."""
    return [_request(f"{document} #{next(_numbers)}") for _ in range(REQUESTS)]


def _request(document: str) -> Request:
    """Return a request whose answer has the status 200 only if the operation is executed (GraphQL over HTTP)."""
    accept = "application/graphql-response+json"
    return Request.post("/graphql", orjson.dumps({"query": document}), token(), accept)


async def _milliseconds(server: Running, requests: list[Request], number: int, options: Options) -> float:
    before = cpu_seconds(server.pid)
    statuses = await apart_on(options.cores.others(), times, server.port, requests, number)
    if set(statuses) != {200}:
        raise RuntimeError(f"statuses {sorted(set(statuses))}")
    return (cpu_seconds(server.pid) - before) / number * 1000
