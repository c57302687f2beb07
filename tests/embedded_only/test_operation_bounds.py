"""The bounds on one operation, each at the bound and above it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.graphql.answers import MAX_ERRORS
from app.graphql.media import RESPONSE_JSON
from tests.support.doors import ACCEPTS, event_stream
from tests.support.stack import Stack, embedded_stack, opened_socket

TOO_COSTLY = {("QUERY_TOO_COMPLEX", "COST")}


async def posted(stack: Stack, query: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    asked = {"query": query, **body}
    answer = await stack.client.post("/graphql", json=asked, headers=stack.headers() | (headers or {}))
    assert answer.status_code == 200
    whole: dict[str, Any] = answer.json()
    return whole


def reasons(answer: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {(one["extensions"]["code"], one["extensions"].get("reason")) for one in answer.get("errors", [])}


@pytest.mark.bound("cost")
async def test_an_operation_with_a_cost_above_the_bound_is_refused() -> None:
    async with embedded_stack(max_query_cost=5) as stack:
        answer = await posted(stack, "{ viewer { id email } }", {"graphql-cost": "report"})
        assert answer["data"]["viewer"]["id"]
        assert answer["extensions"] == {
            "cost": {"requested": 5, "limit": 5, "upstreamCalls": 0, "upstreamCallsLimit": 500}
        }
        refused = await posted(stack, "{ viewer { id email role } }")
        assert reasons(refused) == TOO_COSTLY
        assert "data" not in refused
        [error] = refused["errors"]
        assert "cost is 6" in error["message"]
        assert "at most 5" in error["message"]
        assert error["extensions"]["retryable"] is False


async def test_a_refusal_for_cost_has_the_form_of_its_endpoint() -> None:
    async with embedded_stack(max_query_cost=3) as stack:
        query = "{ viewer { id } }"
        headers = stack.headers()
        whole = await stack.client.post("/graphql", json={"query": query}, headers=headers | {"accept": RESPONSE_JSON})
        assert (whole.status_code, reasons(whole.json())) == (400, TOO_COSTLY)
        asks = {"query": 'subscription { stream(id: "x") { __typename cursor } }'}
        accepts = headers | {"accept": ACCEPTS["event stream"]}
        async with stack.client.stream("POST", "/graphql", json=asks, headers=accepts) as streamed:
            assert [reasons(event) async for event in event_stream(streamed)] == [TOO_COSTLY]
        async with opened_socket(stack) as socket:
            await socket.tell(id="1", type="subscribe", payload={"query": query})
            message = await socket.hear()
            assert (message["type"], message["payload"][0]["extensions"]["reason"]) == ("error", "COST")
        got = await stack.client.get("/graphql", params={"query": query}, headers=headers)
        assert reasons(got.json()) == TOO_COSTLY


@pytest.mark.bound("operation-calls")
async def test_an_operation_makes_at_most_the_bound_of_calls() -> None:
    async with embedded_stack(max_upstream_calls=4, cache="off") as stack:
        agent_id = await stack.make_agent()
        stack.platform.state.calls.clear()

        def query(pages: int) -> str:
            asked = " ".join(f"p{size}: runs(first: {size}) {{ nodes {{ id }} }}" for size in range(1, pages + 1))
            return f'{{ agent(id: "{agent_id}") {{ id {asked} }} }}'

        at = await posted(stack, query(3), extensions={"cost": True})
        assert "errors" not in at
        assert at["extensions"]["cost"]["upstreamCalls"] == len(stack.calls("ams")) + len(stack.calls("letta")) == 4
        stack.platform.state.calls.clear()
        past = await posted(stack, query(4), extensions={"cost": True})
        assert reasons(past) == {("QUERY_TOO_COMPLEX", "UPSTREAM_CALLS")}
        assert len(past["errors"]) == 1
        assert past["data"]["agent"]["id"] == agent_id, "the fields that were read are in the answer"
        assert past["extensions"]["cost"]["upstreamCalls"] == len(stack.calls("ams")) + len(stack.calls("letta")) == 4


async def test_the_bound_of_calls_is_per_event_of_a_subscription() -> None:
    async with embedded_stack(max_upstream_calls=6) as bounded:
        agent_id = await bounded.make_agent()
        to = f'{{agentId: "{agent_id}"}}'
        given = f'streamKey: "k" input: {{to: {to} content: [{{text: "hi [[tokens=20 delay=0]]"}}]}}'
        events = "... on StreamStarted { run { id } } ... on StreamEnded { run { id } conversation { id } }"
        async with opened_socket(bounded) as socket:
            heard = [
                event async for event in socket.events(f"subscription {{ message({given}) {{ __typename {events} }} }}")
            ]
    assert heard[-1]["run"]["id"]


@pytest.mark.bound("answer-bytes")
async def test_an_answer_above_the_bound_of_bytes_is_refused() -> None:
    most = 5_000
    async with embedded_stack(max_answer_bytes=most) as stack:

        async def sent(length: int, alias: str = "a") -> tuple[dict[str, Any], int]:
            names = " ".join(f"{alias}{one:0199}: role" for one in range(length // 200))
            answer = await posted(stack, f"{{ viewer {{ {names} {'b' * (length % 200 + 1)}: role }} }}")
            viewer = (answer["data"] or {}).get("viewer")
            return answer, len(json.dumps(viewer, separators=(",", ":")))

        lengths = range(most - 300, most - 240)
        taken = [length for length in lengths if "errors" not in (await sent(length))[0]]
        assert taken == [*range(lengths.start, max(taken) + 1)]
        _, size = await sent(max(taken))
        assert most * 0.98 < size <= most
        refused, _ = await sent(
            max(taken) + 1, alias="c"
        )  # a document's second execution, by a plan, is measured exactly
        assert (reasons(refused), refused["data"]) == ({("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}, None)
        refused, _ = await sent(most, alias="d")
        again, _ = await sent(most, alias="d")
        assert reasons(again) == reasons(refused) == {("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}
        assert f"{most:,} bytes" in refused["errors"][0]["message"]


@pytest.mark.bound("answer-errors")
async def test_an_answer_above_the_bound_of_errors_is_refused(stack: Stack) -> None:
    lists = " ".join(f"a{one}: nodes(ids: $ids) {{ id }}" for one in range(MAX_ERRORS // 100))
    given = {"variables": {"ids": ["nonsense"] * 100, "more": ["nonsense"]}}
    at = await posted(stack, f"query($ids: [ID!]!) {{ {lists} }}", variables=given["variables"])
    assert len(at["errors"]) == MAX_ERRORS
    assert at["data"]["a0"] == [None] * 100
    query = f"query($ids: [ID!]!, $more: [ID!]!) {{ {lists} more: nodes(ids: $more) {{ id }} }}"
    past = await posted(stack, query, variables=given["variables"])
    assert past["data"] is None
    first, *others = past["errors"]
    assert (first["extensions"]["code"], first["extensions"]["reason"]) == ("QUERY_TOO_COMPLEX", "ERRORS")
    assert {one["extensions"]["code"] for one in others} == {"NOT_FOUND"}
    assert len(others) < 50


async def test_a_mutation_with_a_refused_answer_has_been_carried_out() -> None:
    async with embedded_stack(max_answer_bytes=600) as bounded:
        agent_id = await bounded.make_agent()
        made = await posted(
            bounded,
            "mutation($a: ID!, $s: String) { createConversation(input: {agentId: $a, summary: $s}) "
            "{ conversationEdge { node { id summary } } } }",
            variables={"a": agent_id, "s": "long " * 200},
        )
        assert (reasons(made), made["data"]) == ({("QUERY_TOO_COMPLEX", "ANSWER_SIZE")}, None)
        query = "query($a: ID!) { agent(id: $a) { conversations { nodes { id } } } }"
        listed = await posted(bounded, query, variables={"a": agent_id})
        assert len(listed["data"]["agent"]["conversations"]["nodes"]) == 1
