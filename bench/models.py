"""The CPU time of ``GET /v1/models`` for a user with 1,000 agents and for a user without agents."""

from __future__ import annotations

from contextlib import AsyncExitStack
from statistics import median

from bench.gateways import compared
from bench.load import Request, times
from bench.machine import cpu_seconds
from bench.processes import free_port
from bench.rest import rest
from bench.support import Options, Running, Table, apart_on, token

FEW, MANY = 0, 1000
MOST = 2.0
"""The maximum ratio of the CPU times."""

REQUESTS = 2000


async def run(options: Options) -> Table:
    """Measure both users in turns, and compare the medians."""
    spent: dict[int, list[float]] = {FEW: [], MANY: []}
    async with AsyncExitStack() as stack:
        served = {}
        for agents in spent:
            behind = await stack.enter_async_context(rest(free_port(), options.cores.others(), agents))
            given = {"LITELLM_BASE_URL": f"http://127.0.0.1:{behind.port}/litellm"}
            served[agents] = await stack.enter_async_context(compared(behind, options, cache=True, **given))
        for number in range(options.rounds + 1):
            for agents, found in spent.items():
                found.append(await _microseconds(served[agents], options))
                if number == 0:
                    found.clear()  # the first round warms
    few, many = median(spent[FEW]), median(spent[MANY])
    result = Table("CPU time of GET /v1/models", ("agents", "µs"))
    result.rows += [(f"{FEW:,}", f"{few:.0f}"), (f"{MANY:,}", f"{many:.0f}")]
    result.figures["models"] = {"few": few, "many": many}
    result.targets[f"{MANY:,} agents cost {many / few:.2f}\u00d7 of {FEW} (at most {MOST:g}\u00d7)"] = (
        many / few <= MOST
    )
    return result


async def _microseconds(server: Running, options: Options) -> float:
    asked = [Request.get("/v1/models", token())]
    before = cpu_seconds(server.pid)
    statuses = await apart_on(options.cores.others(), times, server.port, asked, REQUESTS)
    if set(statuses) != {200}:
        raise RuntimeError(f"statuses {sorted(set(statuses))}")
    return (cpu_seconds(server.pid) - before) / REQUESTS * 1_000_000
