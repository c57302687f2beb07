"""GraphiQL in a browser that can reach only the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationType, get_operation_ast, parse

from app.pages.graphiql import operations
from tests.support.browser import run_in_browser
from tests.support.stack import Stack, embedded_stack, until
from tests.support.supabase import supabase_project, token_of

pytestmark = [pytest.mark.needs_node, pytest.mark.needs_chromium, pytest.mark.needs_pages]


def saved() -> list[dict[str, Any]]:
    """Return each saved operation's name, and whether it is a subscription."""
    found = [get_operation_ast(parse(one["query"])) for one in operations()]
    return [
        {"name": one.name.value, "subscribes": one.operation is OperationType.SUBSCRIPTION}
        for one in found
        if one and one.name
    ]


@pytest.mark.timeout(120)
async def test_each_saved_operation_runs_over_either_transport(stack: Stack) -> None:
    opened, *runs, told = await run_in_browser("graphiql.mjs", url=stack.url, operations=saved(), token=None)
    assert opened["tabs"] == [one["name"] for one in saved()]
    assert opened["token"].startswith("eyJ")
    assert [run["name"] for run in runs if "transport" not in run] == [
        one["name"] for one in saved() if not one["subscribes"]
    ]
    for run in runs:
        assert "errors" not in run, run
        if "transport" in run:
            assert run["facts"].endswith(f"events over {run['transport']}: COMPLETED")
            assert len(run["text"].split()) > 5
    transports = {(run["name"], run["transport"]) for run in runs if "transport" in run}
    names = {one["name"] for one in saved() if one["subscribes"]}
    assert transports == {(name, transport) for name in names for transport in ("SSE", "WebSocket")}
    assert told == {"elsewhere": [], "errors": []}


async def test_with_supabase_graphiql_takes_a_token() -> None:
    async with supabase_project() as project, embedded_stack(supabase_url=project.url) as stack:
        token = token_of(project)
        asked = [{"name": "Budget", "subscribes": False}]
        opened, run, told = await run_in_browser("graphiql.mjs", url=stack.url, operations=asked, token=token)
    assert opened["token"] == ""
    assert "Supabase" in opened["hint"]
    assert run["data"]["viewer"]["budget"]
    assert told == {"elsewhere": [], "errors": []}


async def test_stop_ends_a_stream_and_its_model_call(stack: Stack) -> None:
    [stopped] = await run_in_browser("graphiql_stop.mjs", url=stack.url, transports=["SSE", "WebSocket"])
    assert stopped == {"SSE": "STOPPED", "WebSocket": "STOPPED"}

    async def idle() -> bool:
        return (await stack.model_stats())["inflight"] == 0

    await until(idle)
