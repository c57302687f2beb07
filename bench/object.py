"""One object, which needs one upstream GET, requested by 16 clients."""

from __future__ import annotations

from typing import Any

from bench.compare import expect
from bench.graph import OFF, ON, Operation, against
from bench.peers import MERCURIUS_JIT, YOGA_JIT
from bench.support import Options, Table

QUERY = "query Me { viewer { id email name } }"
CLIENTS = 16


async def run(options: Options) -> Table:
    """Compare the reads of one object."""
    operation = Operation({"query": QUERY}, "small.json", CLIENTS, values)
    title = f"One object, one upstream GET, {CLIENTS} clients"
    result, found = await against(title, operation, [YOGA_JIT, MERCURIUS_JIT], options)
    expect(result, found, OFF, {YOGA_JIT.name: 2, MERCURIUS_JIT.name: 0.8})
    expect(result, found, ON, {MERCURIUS_JIT.name: 1})
    return result


def values(data: Any) -> object:
    """Return the values of the object."""
    return [data["viewer"]["id"].rpartition(":")[2], data["viewer"]["email"]]
