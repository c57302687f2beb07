"""The CPU time of a mutation with two upstream calls."""

from __future__ import annotations

from contextlib import AsyncExitStack

import orjson

from bench.compare import Side, compare, table
from bench.gateways import compared
from bench.load import Request
from bench.records import agent_ids
from bench.streamload import closed_loop
from bench.support import Options, Running, Table, apart_on, token, upstreams

QUERY = "mutation Open($a: ID!) { createConversation(input: {agentId: $a}) { conversation { id } errors { message } } }"
CLIENTS, SECONDS = 8, 5.0


async def run(options: Options) -> Table:
    """Measure the mutation at the gateway."""
    asked = Request.post("/graphql", orjson.dumps({"query": QUERY, "variables": {"a": agent_ids()[0]}}), token())
    seconds, cores = options.seconds or SECONDS, options.cores.others()

    async def load(server: Running) -> dict[str, float]:
        return await apart_on(cores, closed_loop, server.port, asked, CLIENTS, seconds)

    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(upstreams(cores))
        served = await stack.enter_async_context(compared(behind, options, cache=True))
        found = await compare([Side("createConversation", served, load, is_ours=True)], options)
    return table(f"Mutation, two upstream calls, {CLIENTS} clients", found)
