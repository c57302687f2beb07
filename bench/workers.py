"""Compares two worker processes with one. The load reads a cached object, because wrk then needs little CPU time."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson

from bench.compare import Side, compare, table
from bench.gateways import compared
from bench.object import QUERY
from bench.processes import NotInstalled, free_port
from bench.rest import rest
from bench.support import Options, Running, Table, token
from bench.wrk import wrk
from tests.support.redis_server import redis_server

CLIENTS, SECONDS = 32, 5.0
LEAST = 1.8


async def run(options: Options) -> Table:
    """Compare the rates. All processes use all cores. Raises NotInstalled if the gateway has no ``--workers``."""
    if not _has_workers(options):
        raise NotInstalled("skipped, because `agentgraph serve` has no option --workers")
    free = replace(options, pinned=False)
    seconds, cores, body = options.seconds or SECONDS, free.cores.others(), orjson.dumps({"query": QUERY})

    async def load(server: Running) -> dict[str, float]:
        return await wrk(f"{server.url}/graphql", body, token(), clients=CLIENTS, seconds=seconds, cores=cores)

    async with AsyncExitStack() as stack:
        redis = stack.enter_context(
            redis_server()
        )  # two workers require Redis, so the gateway with one worker has Redis too
        behind = await stack.enter_async_context(rest(free_port(), cores))
        sides = []
        for number in (2, 1):
            given = ("--workers", str(number))
            served = await stack.enter_async_context(
                compared(behind, free, cache=True, arguments=given, REDIS_URL=redis.url())
            )
            sides.append(Side(f"{number} workers", served, load, is_ours=number == 2))
        found = await compare(sides, free)
    result = table(f"A cached object, {CLIENTS} clients", found)
    ratio = found.ratio("2 workers", "1 workers")
    result.targets[f"2 workers: {ratio:.2f} times one (at least {LEAST})"] = ratio >= LEAST
    return result


def _has_workers(options: Options) -> bool:
    command = [sys.executable, "-m", "app", "serve", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(options.tree)}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
    return "--workers" in done.stdout
