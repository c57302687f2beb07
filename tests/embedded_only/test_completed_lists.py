"""Lists of the cache that a plan completes once: their answers are those of graphql-core, without the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.embedded.people import GRACE
from app.graphql.plan.values import Items
from clients.letta.messages import UserMessage
from clients.shared import SharedList
from tests.support import things
from tests.support.cached import clocked
from tests.support.stack import Stack, embedded_stack, replica_of

TURNS = 3
HELD = "id role text createdAt run { id } step { id } conversation { id }"
SELECTIONS = {
    "held fields": HELD,
    "aliases and types": "a: id b: id __typename ... on UserMessage { c: text } ... on AssistantMessage { d: text }",
    "lists": "id ... on UserMessage { text images { __typename } }",
    "loaded objects": "id run { id status } step { id modelName }",
    "skipped": "id text @skip(if: true) role @include(if: false)",
}


def documents(selection: str) -> list[str]:
    return [
        f"query($a: ID!) {{ agent(id: $a) {{ messages({part}) {{ {nodes} }} }} }}"
        for part in ("last: 3", "last: 100", "last: 0")
        for nodes in (f"nodes {{ {selection} }}", f"edges {{ cursor node {{ {selection} }} }} nodes {{ id }}")
    ]


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """A gateway whose cache stays fresh, because its clock stands still."""
    with clocked():
        async with embedded_stack(rate_limit_general=0) as running:
            yield running


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often shared lists are completed."""
    counts: Counter[str] = Counter()
    complete = Items.complete_list

    def counted(items: Items, value: list[Any], *rest: Any) -> Any:
        counts["lists"] += isinstance(value, SharedList)
        return complete(items, value, *rest)

    monkeypatch.setattr(Items, "complete_list", counted)
    return counts


async def talked(stack: Stack) -> str:
    """Return the id of an agent with messages."""
    agent_id = await stack.make_agent()
    for _ in range(TURNS):
        await things.sent(stack, agent_id=agent_id)
    return agent_id


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
async def test_repeated_answers_are_those_of_graphql_core(stack: Stack, selection: str) -> None:
    agent_id = await talked(stack)
    async with replica_of(stack, cache="off", compiled_execution="off") as plain:
        expected = [await plain.graphql(one, {"a": agent_id}) for one in documents(selection)]
    for _ in range(4):
        assert [await stack.graphql(one, {"a": agent_id}) for one in documents(selection)] == expected


async def test_a_list_is_completed_once_for_a_plan(stack: Stack, completed: Counter[str]) -> None:
    agent_id = await talked(stack)
    [first, *_], [other, *_] = documents(HELD), documents(f"again: {HELD}")
    answers = [await stack.graphql(first, {"a": agent_id}) for _ in range(6)]
    assert completed["lists"] == 2, "the first execution by the plan does not know the messages' classes before"
    assert all(answer == answers[0] for answer in answers)
    for _ in range(3):  # the plans replace each other's list
        await stack.graphql(other, {"a": agent_id})
        await stack.graphql(first, {"a": agent_id})
    assert completed["lists"] > 4


async def test_a_new_message_is_in_the_next_answer(stack: Stack) -> None:
    agent_id = await talked(stack)
    document = documents(HELD)[2]
    before = [await stack.graphql(document, {"a": agent_id}) for _ in range(3)][-1]
    await things.sent(stack, agent_id=agent_id)
    after = await stack.graphql(document, {"a": agent_id})
    counts = [len(one["data"]["agent"]["messages"]["nodes"]) for one in (before, after)]
    assert counts[1] > counts[0]


async def test_errors_of_items_are_reported_each_time(
    stack: Stack, completed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_id = await talked(stack)
    document = documents("id text")[0]
    expected = await stack.graphql(document, {"a": agent_id})

    def broken(_: UserMessage) -> str:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(UserMessage, "text", property(broken))
        answers = [await stack.graphql(document, {"a": agent_id}) for _ in range(4)]
    errors = [[error["path"] for error in answer["errors"]] for answer in answers]
    assert errors[0]
    assert errors == [errors[0]] * 4
    assert completed["lists"] == 4
    assert await stack.graphql(document, {"a": agent_id}) == expected


async def test_the_limit_of_an_answer_counts_kept_lists(stack: Stack) -> None:
    agent_id = await talked(stack)
    document = documents(HELD)[2]
    whole = await stack.graphql(document, {"a": agent_id})
    for most in range(300, 3000, 300):
        async with replica_of(stack, max_answer_bytes=most) as bounded:
            answers = [await bounded.graphql(document, {"a": agent_id}) for _ in range(4)]
            outcomes = {str(one.get("errors", [{}])[0].get("message")) for one in answers}
            assert len(outcomes) == 1, most
            assert "errors" in answers[0] or answers == [whole] * 4


async def test_users_with_the_same_document_get_their_own_messages(stack: Stack) -> None:
    agent_id = await talked(stack)
    document = "{ viewer { agents { nodes { id messages(last: 3) { nodes { id text } } } } } }"
    for _ in range(3):
        own = await stack.graphql(document)
        others = await stack.graphql(document, user=GRACE)
        assert agent_id in str(own)
        assert agent_id not in str(others)
