"""Operations that are too expensive: refused before they run, or stopped while they run."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_asyncio

from app.embedded.people import ADA
from app.settings import Settings
from tests.support.attack import Target
from tests.support.doors import ACCEPTS, event_stream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

MAX_BYTES = 3_000_000
MAX_CALLS = 20
SETTINGS = {"MAX_ANSWER_BYTES": str(MAX_BYTES), "MAX_UPSTREAM_CALLS": str(MAX_CALLS)}
START = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"


async def asked(target: Target, query: str, **variables: Any) -> dict[str, Any]:
    async with target.client() as client:
        answer = await client.post("/graphql", json={"query": query, "variables": variables})
    assert len(answer.content) <= MAX_BYTES
    whole: dict[str, Any] = answer.json()
    return whole


def reasons(answer: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {(one["extensions"]["code"], one["extensions"].get("reason")) for one in answer.get("errors", [])}


def aliases(field: str, count: int) -> str:
    return " ".join(f"a{one}: {field}" for one in range(count))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stream_id(target: Target) -> str:
    """Run a stream whose text is about 150 kB. Return its id."""
    asks = [{"role": "USER", "content": "[[tokens=30000 delay=0]]"}]
    given = {"model": "gpt-4o-mini", "messages": asks, "idempotencyKey": "long"}
    started = await asked(target, START, i=given)
    found: str = started["data"]["startCompletion"]["stream"]["id"]
    async with target.client() as client:
        heard = "subscription($id: ID!) { stream(id: $id) { __typename } }"
        headers = {"accept": ACCEPTS["event stream"]}
        body = {"query": heard, "variables": {"id": found}}
        async with client.stream("POST", "/graphql", json=body, headers=headers) as answer:
            assert [event async for event in event_stream(answer)]
    return found


async def test_a_document_past_the_cost_limit_makes_no_calls(target: Target) -> None:
    pages = "conversations(first: 100) { nodes { messages(first: 100) { nodes { text } } } }"
    query = f"{{ viewer {{ agents(first: 100) {{ nodes {{ {pages} }} }} }} }}"
    async with target.bystander(), target.measured() as cost:
        answer = await asked(target, query)
        assert reasons(answer) == {("QUERY_TOO_COMPLEX", "COST")}
        assert "data" not in answer
        assert f"{Settings.model_fields['max_query_cost'].default:,}" in answer["errors"][0]["message"]
    assert cost.metric("agentgraph_upstream_calls_total", service="letta") == 0


async def test_one_operation_makes_a_bounded_number_of_calls(target: Target) -> None:
    agent_id = await target.agent_id()
    await asked(target, "query($id: ID!) { agent(id: $id) { id } }", id=agent_id)  # the cache has the agent now
    pages = " ".join(f"a{size}: runs(first: {size}) {{ nodes {{ id }} }}" for size in range(1, 4 * MAX_CALLS))
    async with target.bystander(), target.measured() as cost:
        answer = await asked(target, f"query($id: ID!) {{ agent(id: $id) {{ {pages} }} }}", id=agent_id)
    assert reasons(answer) == {("QUERY_TOO_COMPLEX", "UPSTREAM_CALLS")}
    assert len([page for page in answer["data"]["agent"].values() if page is not None]) == MAX_CALLS
    assert cost.metric("agentgraph_upstream_calls_total", service="letta") == MAX_CALLS


async def test_a_text_under_a_hundred_aliases_is_not_built(target: Target, stream_id: str) -> None:
    async with target.bystander(), target.measured() as cost:
        answer = await asked(
            target, f"query($id: ID!) {{ stream(id: $id) {{ {aliases('text', 100)} }} }}", id=stream_id
        )
        assert reasons(answer) == {("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}
        assert answer["data"] is None
    assert cost.peak_rss_bytes < 4 * MAX_BYTES


async def test_aliases_count_towards_the_size_of_an_answer(target: Target) -> None:
    ids = [f"user:{ADA}"] * 100
    names = " ".join(f"a{one:0199}: id" for one in range(90))
    query = f"query($ids: [ID!]!) {{ {aliases(f'nodes(ids: $ids) {{ {names} }}', 2)} }}"
    async with target.bystander():
        assert reasons(await asked(target, query, ids=ids)) == {("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}


async def test_each_event_of_a_subscription_is_bounded(target: Target, stream_id: str) -> None:
    started = f"... on StreamStarted {{ stream {{ {aliases('text', 100)} }} }}"
    query = f"subscription($id: ID!) {{ stream(id: $id) {{ __typename {started} }} }}"
    body, headers = {"query": query, "variables": {"id": stream_id}}, {"accept": ACCEPTS["event stream"]}
    async with (
        target.bystander(),
        target.client() as client,
        client.stream("POST", "/graphql", json=body, headers=headers) as answer,
    ):
        events = [event async for event in event_stream(answer)]
    assert reasons(events[0]) == {("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}
    assert events[-1]["data"]["stream"]["__typename"] == "StreamEnded", "the others come"
    assert max(len(json.dumps(event)) for event in events) <= MAX_BYTES


async def test_an_operation_with_too_many_errors_is_stopped(target: Target) -> None:
    query = f"query($ids: [ID!]!) {{ {aliases('nodes(ids: $ids) { id }', 19)} }}"
    async with target.bystander():
        answer = await asked(target, query, ids=["nonsense"] * 100)
    assert reasons(answer) == {("QUERY_TOO_COMPLEX", "ERRORS"), ("NOT_FOUND", None)}
    assert answer["data"] is None
    assert len(answer["errors"]) < 50


@pytest.mark.parametrize("lists", [1, 10])
async def test_the_most_expensive_operation_does_not_block_the_loop(target: Target, lists: int) -> None:
    """Some 18,000 values of one list, and of ten."""
    fields = " ".join(f"{name}{one}: {name}" for name in ("role", "id") for one in range(90 // lists))
    query = f"query($ids: [ID!]!) {{ {aliases(f'nodes(ids: $ids) {{ ... on User {{ {fields} }} }}', lists)} }}"
    async with target.bystander():
        answer = await asked(target, query, ids=[f"user:{ADA}"] * (100 if lists == 1 else 60))
    assert "errors" not in answer
