"""The cases of agents as models: Letta runs the agent's tools, and refuses the client's."""

from __future__ import annotations

from functools import wraps
from typing import Any

from tests.support import clientcases
from tests.support.clientcases import PATIENCE_SECONDS, YES, Case, Cell, plain_refused, shown, succeeded
from tests.support.libraries import Json
from tests.support.stack import GRACE, until
from tests.support.streaming import expected

TOOL = "memory_insert"
NOBODY = "agent-00000000-0000-4000-8000-000000000000"


def with_agent(case: Case) -> Case:
    """Give a case an agent of its own, so that no earlier run is in progress."""

    @wraps(case)
    async def wrapped(cell: Cell) -> str:
        cell.model = await cell.stack.make_agent()
        return await case(cell)

    return wrapped


plain, stream, abort = (with_agent(case) for case in (clientcases.plain, clientcases.stream, clientcases.abort))


@with_agent
async def tools(cell: Cell) -> str:
    """The library sees the text after the tool, and no call."""
    seen = await cell.ask("plain", f"tokens=4 delay=0 tool={TOOL}")
    succeeded(seen)
    assert seen["text"] == expected(4)
    assert len(cell.requests) == 1
    groups = cell.stack.platform.state.agents[cell.model].messages[cell.model]
    assert TOOL in [message["tool_call"]["name"] for group in groups for message in group if "tool_call" in message]
    return YES


@with_agent
async def clients_tools(cell: Cell) -> str:
    return await _refused(cell, await cell.ask("tools", "tool=roll"))


@with_agent
async def structured(cell: Cell) -> str:
    return await _refused(cell, await cell.ask("structured", "tokens=2 delay=0"))


async def _refused(cell: Cell, seen: Json) -> str:
    assert "raised" in seen, seen
    assert [line["status"] for line in cell.requests] == [400]
    return shown(cell, seen, "request")


async def unknown_agent(cell: Cell) -> str:
    return await plain_refused(cell, "model_not_found", model=NOBODY)


async def no_budget(cell: Cell) -> str:
    """The key of the agent's owner pays, at the proxy."""
    async with cell.stack.circle():
        await cell.stack.own_key(GRACE, max_budget=0.0)
        agent = await cell.stack.make_agent(GRACE)
        return await plain_refused(cell, "budget_exceeded", model=agent, token=cell.stack.token(GRACE))


@with_agent
async def rate_limited(cell: Cell) -> str:
    return await plain_refused(cell, "rate_limit_exceeded", "error=429")


@with_agent
async def broken(cell: Cell) -> str:
    seen: dict[str, Any] = await cell.ask("stream", "tokens=100 delay=0 error=cut")
    await until(lambda: cell.outcomes and cell.requests, PATIENCE_SECONDS)
    assert cell.outcomes == {"failed"}
    assert expected(99).startswith(seen["text"].rstrip())
    return shown(cell, seen, "model")
