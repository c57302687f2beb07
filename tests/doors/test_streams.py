from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support import things
from tests.support.documents import MESSAGE, STREAM
from tests.support.doors import DOORS, Refused, events
from tests.support.stack import GRACE, Stack
from tests.support.streaming import expected, message_input, text_of


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Return each transport of subscriptions."""
    return str(request.param)


async def test_a_streamed_message_is_stored_as_it_was_streamed(stack: Stack, door: str) -> None:
    agent_id = await stack.make_agent()
    variables = {"i": message_input(agent_id, "tokens=12 delay=0.01"), "k": str(uuid.uuid4())}
    heard = [event async for event in events(stack, door, MESSAGE, variables)]
    assert heard[0]["__typename"] == "StreamStarted"
    assert [event["__typename"] for event in heard].count("StreamEnded") == 1
    assert heard[-1]["outcome"] == "COMPLETED"
    assert heard[-1]["finishReason"] == "END_TURN"
    assert text_of(heard) == expected(12)
    added = [event["edge"]["node"] for event in heard if event["__typename"] == "MessageAdded"]
    assert [node["__typename"] for node in added][-2:] == ["UserMessage", "AssistantMessage"]
    assert heard[0]["userMessageEdge"]["node"]["id"] == added[-2]["id"]
    assert added[-1]["text"] == expected(12)
    assert {event["messageId"] for event in heard if event["__typename"] == "TextDelta"} == {added[-1]["id"]}
    answer = await stack.graphql(
        "query($a: ID!) { agent(id: $a) { messages(last: 2) { nodes { __typename id text } } } }", {"a": agent_id}
    )
    assert answer["data"]["agent"]["messages"]["nodes"] == added[-2:]


async def test_the_cursors_of_a_streams_messages_are_exact(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for _ in range(3):
        turn = {"i": message_input(agent_id, "tokens=2 delay=0 reasoning=1"), "k": str(uuid.uuid4())}
        heard = [event async for event in events(stack, "event stream", MESSAGE, turn)]
    edges = [event["edge"] for event in heard if event["__typename"] == "MessageAdded"]
    assert [edge["node"]["__typename"] for edge in edges] == ["UserMessage", "ReasoningMessage", "AssistantMessage"]
    query = """query($a: ID!, $first: Int, $after: String, $last: Int, $before: String) { agent(id: $a) {
        messages(first: $first, after: $after, last: $last, before: $before) { nodes { id } } } }"""

    async def page(**window: object) -> list[str]:
        answer = await stack.graphql(query, {"a": agent_id, **window})
        return [node["id"] for node in answer["data"]["agent"]["messages"]["nodes"]]

    ids = [edge["node"]["id"] for edge in edges]
    for place, edge in enumerate(edges):
        assert await page(first=5, after=edge["cursor"]) == ids[place + 1 :]
        assert (await page(last=3, before=edge["cursor"]))[-1:] == ids[place - 1 : place] or place == 0


async def test_a_subscription_reads_the_stream_that_a_mutation_started(stack: Stack, door: str) -> None:
    given = message_input(await stack.make_agent(), "tokens=5 delay=0.01", idempotencyKey=str(uuid.uuid4()))
    payload = await things.done(stack, things.SEND, {"i": given})
    assert payload["run"]["id"].startswith("run-")
    heard = [event async for event in events(stack, door, STREAM, {"id": payload["stream"]["id"]})]
    assert text_of(heard) == expected(5)
    read = await stack.graphql("query($id: ID!) { stream(id: $id) { status text } }", {"id": payload["stream"]["id"]})
    assert read["data"]["stream"] == {"status": "COMPLETED", "text": expected(5)}


async def test_a_busy_conversation_is_an_outcome_with_its_run(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    mutation = (
        "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } stream { id }"
        " errors { __typename ... on ConversationBusy { run { id } } } } }"
    )

    def given(directive: str) -> dict[str, Any]:
        return {"i": message_input(agent_id, directive, idempotencyKey=str(uuid.uuid4()))}

    first = (await stack.graphql(mutation, given("tokens=20 delay=0.1")))["data"]["sendMessage"]
    second = (await stack.graphql(mutation, given("tokens=1")))["data"]["sendMessage"]
    assert second["stream"] is None
    assert second["errors"] == [{"__typename": "ConversationBusy", "run": {"id": first["run"]["id"]}}]


@pytest.mark.parametrize(
    ("error", "code"), [("429", "RATE_LIMITED"), ("500", "UPSTREAM_ERROR"), ("cut", "UPSTREAM_ERROR")]
)
async def test_a_failed_model_call_ends_the_turn_once(stack: Stack, error: str, code: str) -> None:
    given = message_input(await stack.make_agent(), f"tokens=4 delay=0 error={error}")
    variables = {"i": given, "k": str(uuid.uuid4())}
    heard = [event async for event in events(stack, "event stream", MESSAGE, variables)]
    assert [event["__typename"] for event in heard].count("StreamEnded") == 1
    assert heard[-1]["outcome"] == "FAILED"
    assert heard[-1]["error"]["code"] == code


async def test_refusals_with_status_200_are_in_the_log_and_metrics(stack: Stack) -> None:
    asked = {"query": STREAM, "variables": {"id": f"stream:{uuid.uuid4()}"}}
    headers = {"accept": "text/event-stream"}
    for given in (headers, headers | stack.headers()):
        assert (await stack.client.post("/graphql", json=asked, headers=given)).status_code == 200
    assert '"status":200' in stack.log.getvalue()
    assert '"refused":"UNAUTHENTICATED"' in stack.log.getvalue()
    metrics = (await stack.client.get("/metrics")).text
    assert 'agentgraph_operations_total{outcome="error",type="subscription"} 1.0' in metrics


async def test_a_stream_and_an_agent_of_another_user_are_not_found(stack: Stack, door: str) -> None:
    given, stream_id = message_input(await stack.make_agent()), await things.stream(stack)
    stack.platform.state.calls.clear()
    for query, variables in ((MESSAGE, {"i": given, "k": "x"}), (STREAM, {"id": stream_id})):
        with pytest.raises(Refused) as refused:
            await anext(events(stack, door, query, variables, user=GRACE))
        assert refused.value.code == "NOT_FOUND"
    assert stack.calls("letta") == []
