"""The number of Python function calls that execute a dashboard: it grows linearly with the agents, and stays small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import graphql
import pytest
import strawberry

from app.graphql.documents import Operation
from app.graphql.engine import Engine
from app.graphql.plan import objects
from app.graphql.plan.plans import Plans
from resolvers.context import RequestContext
from tests.support.stack import Stack, embedded_stack


def package(module: ModuleType) -> Path:
    """Return the folder of a package."""
    assert module.__file__
    return Path(module.__file__).parent


ROOT = Path(__file__).parents[2]
COUNTED = "<plan>", *map(str, (ROOT / "app" / "graphql", ROOT / "schema", *map(package, (graphql, strawberry))))
"""The code that executes operations: generated functions, the gateway's code, and the libraries'."""
DASHBOARD = """query($first: Int!) { viewer { id email agents(first: $first) { nodes {
  id name modelName version memoryBlocks { id label value limit }
  messages(last: 20) { nodes { id role text createdAt } }
} } } }"""
MOST_PER_AGENT = 95
"""Maximum number of calls for each agent. graphql-core's executor makes 583."""


class Engines:
    """Keeps the latest operation that an engine has executed."""

    latest: tuple[Engine, Operation, RequestContext]


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls of the functions that execute operations."""
    calls = [0]

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(COUNTED):
            calls[0] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def calls_of(stack: Stack, agents: int) -> int:
    """Return the number of calls of a dashboard whose records are loaded."""
    answer = await stack.graphql(DASHBOARD, {"first": agents})
    assert len(answer["data"]["viewer"]["agents"]["nodes"]) == agents
    engine, operation, context = Engines.latest

    async def execute() -> None:
        again = context.renewed()
        again.__dict__ |= {"loaders": context.loaders, "access": context.access}
        result = await engine.execute(operation, {"first": agents}, again)
        assert result.errors is None

    await execute()
    with counted() as calls:
        await execute()
    return calls[0]


async def test_calls_grow_linearly_with_the_agents_and_stay_below_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = Engine.execute

    async def kept(engine: Engine, operation: Operation, variables: Any, context: RequestContext, **more: Any) -> Any:
        Engines.latest = engine, operation, context
        return await execute(engine, operation, variables, context, **more)

    monkeypatch.setattr(Engine, "execute", kept)
    monkeypatch.setattr(objects, "WARM_OBJECTS", 0)
    async with embedded_stack(rate_limit_general=0, cache="off") as stack:
        have = len((await stack.graphql("{ viewer { agents { nodes { id } } } }"))["data"]["viewer"]["agents"]["nodes"])
        for number in range(40 - have):
            await stack.make_agent(name=f"Agent {number}")
        # new agents have equal messages, and older agents have more
        found = [await calls_of(stack, agents) for agents in (10, 20, 30)]
        growth = [later - earlier for earlier, later in pairwise(found)]
        assert max(growth) <= 10 * MOST_PER_AGENT, found
        assert abs(growth[0] - growth[1]) <= growth[0] / 100, found
        monkeypatch.setattr(Plans, "plan", lambda *_, **__: None)
        assert await calls_of(stack, 20) - await calls_of(stack, 10) > 4 * growth[0]
