"""The cases of letta-client, which asks Letta, whose model calls come back to the gateway's proxy."""

from __future__ import annotations

from tests.support.clientcases import PATIENCE_SECONDS, YES, Cell, abort, counted, described, succeeded
from tests.support.libraries import Json
from tests.support.stack import GRACE, until
from tests.support.streaming import expected

__all__ = ["abort", "broken", "embeddings", "no_budget", "plain", "rate_limited", "stream", "tools"]

TOOL = "memory_insert"
NOBODY = "agent-00000000-0000-4000-8000-000000000000"


async def proxied(cell: Cell, *statuses: int) -> None:
    """Check that the model calls came to the proxy, and were answered with these statuses."""
    await until(lambda: len(cell.requests) >= len(statuses), PATIENCE_SECONDS)
    assert [line["status"] for line in cell.requests] == list(statuses)


async def plain(cell: Cell) -> str:
    seen = await cell.ask("plain", "tokens=3 delay=0")
    succeeded(seen)
    assert (seen["text"], seen["stop"]) == (expected(3), "end_turn")
    await proxied(cell, 200)
    return counted(seen, 3)


async def stream(cell: Cell) -> str:
    seen = await cell.ask("stream", "tokens=20 delay=0.01")
    succeeded(seen)
    assert (seen["text"], seen["stop"]) == (expected(20), "end_turn")
    assert seen["deltas"] > 1
    await proxied(cell, 200)
    return counted(seen, 20)


async def tools(cell: Cell) -> str:
    """Letta executes the tool between two model calls."""
    seen = await cell.ask("tools", f"tokens=4 delay=0 tool={TOOL}")
    succeeded(seen)
    assert (seen["called"], seen["statuses"], seen["text"]) == ([[TOOL]], ["success"], expected(4))
    await proxied(cell, 200, 200)
    return YES


async def embeddings(cell: Cell) -> str:
    """Letta embeds a passage, with its own key."""
    seen = await cell.ask("embeddings", "")
    succeeded(seen)
    assert len(seen["passages"]) == 1
    await proxied(cell, 200)
    assert cell.requests[0]["route"].endswith("/embeddings")
    return YES


async def refused(cell: Cell, seen: Json, status: int) -> str:
    await until(lambda: cell.requests, PATIENCE_SECONDS)
    assert {line["status"] for line in cell.requests} == {status}
    return described(cell, seen)


async def no_budget(cell: Cell) -> str:
    await cell.stack.own_key(GRACE, max_budget=0.0)
    agent = await cell.stack.make_agent(GRACE)
    return await refused(cell, await cell.ask("plain", "", model=agent), 402)


async def rate_limited(cell: Cell) -> str:
    return await refused(cell, await cell.ask("plain", "error=429"), 429)


async def no_agent(cell: Cell) -> str:
    seen = await cell.ask("plain", "", model=NOBODY)
    assert cell.requests == []
    return described(cell, seen)


async def broken(cell: Cell) -> str:
    seen = await cell.ask("stream", "tokens=20 delay=0 error=cut")
    await until(lambda: cell.outcomes and cell.requests, PATIENCE_SECONDS)
    assert cell.outcomes == {"failed"}
    assert expected(20).startswith(seen["text"].rstrip())
    assert seen["text"].rstrip() != expected(20)
    return described(cell, seen)
