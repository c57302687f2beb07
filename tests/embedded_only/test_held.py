"""Selections that need only what the parent holds make no call (decision 0072)."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from typing import Any, NamedTuple

import pytest
from graphql import GraphQLObjectType

from app.embedded.faults import Fault
from app.embedded.people import GRACE
from schema.held import held_of
from tests.support import things
from tests.support.agentfiles import as_admin
from tests.support.callcases import DONE, NODES
from tests.support.documents import CREATE_CONVERSATION, MESSAGE
from tests.support.schema import SCHEMA
from tests.support.stack import ADA, Stack, embedded_stack, opened_socket

pytestmark = pytest.mark.uncached

ANSWER = '{ agent(id: "$id") { messages(last: 1) { nodes { %s } } } }'
RUN = '{ run(id: "$id") { %s } }'
READ_RUN, READ_STEP, ME = "letta GET /v1/runs/{id}", "letta GET /v1/steps/{id}", "ams GET /me"


async def talked_to(stack: Stack) -> str:
    """Return an agent that has answered in its default conversation."""
    agent_id = await stack.make_agent()
    await things.sent(stack, agent_id=agent_id)
    return agent_id


async def run_of_a_conversation(stack: Stack) -> str:
    sent = await things.sent(stack, conversation_id=await things.conversation(stack))
    return str(sent["run"]["id"])


async def message_of_a_conversation(stack: Stack) -> str:
    sent = await things.sent(stack, conversation_id=await things.conversation(stack))
    return str(sent["userMessageEdge"]["node"]["id"])


class Row(NamedTuple):
    """A field, and the calls that it makes if its object is read.

    Attributes:
        field: the type and name of the field.
        document: ``$id`` stands for what ``make`` returns, and ``%s`` for a selection on the parent.
        held: a selection that the parent holds.
        more: a field that the parent does not hold.
        calls: the calls if ``more`` is selected.
    """

    field: str
    make: things.Maker
    document: str
    held: str
    more: str
    calls: list[str]


ROWS = [
    Row("Message.run", talked_to, ANSWER, "id", "status", [READ_RUN]),
    Row("Message.step", talked_to, ANSWER, "id", "status", [READ_STEP]),
    Row("Step.run", things.step, '{ node(id: "$id") { ... on Step { %s } } }', "id", "status", [READ_RUN]),
    Row(
        "Message.conversation",
        message_of_a_conversation,
        '{ node(id: "$id") { ... on Message { %s } } }',
        "id agent { id }",
        "summary",
        [],  # the message's conversation has been read, to check its owner
    ),
    Row(
        "Run.conversation",
        run_of_a_conversation,
        RUN,
        "id agent { id owner { id } }",
        "summary",
        ["letta GET /v1/conversations/{id}"],
    ),
    Row("Run.agent", things.run, RUN, "id owner { id email }", "version", []),
    Row("Conversation.agent", things.conversation, '{ node(id: "$id") { ... on Conversation { %s } } }', "id", "name",
        ["letta GET /v1/agents/{id}"]),
    Row("Agent.template", things.agent, '{ agent(id: "$id") { %s } }', "id slug", "name", ["ams GET /templates"]),
    Row("TemplateVersion.template", NODES["TemplateVersion"], '{ node(id: "$id") { ... on TemplateVersion { %s } } }',
        "id slug", "name", []),
    Row("Stream.run", things.stream, '{ stream(id: "$id") { %s } }', "id", "status", [ME, READ_RUN]),
]  # fmt: skip

PAYLOADS = [
    ("createAgent", "agent", "id owner { id }", "version", [ME]),
    ("updateAgent", "agent", "id owner { id }", "version", [ME]),
    ("upgradeAgent", "agent", "id owner { id }", "version", [ME]),
    ("sendMessage", "run", "id", "status", [ME, READ_RUN]),
    ("respondToApproval", "run", "id", "status", [READ_RUN]),
    ("publishTemplate", "template", "id slug", "name", ["ams GET /templates"]),
]
"""Fields of payloads: the mutation, the field, a selection that the payload holds, another field, and its calls."""

EVENTS = {"StreamStarted", "StreamEnded", "ApprovalRequested"}


def test_every_field_with_a_held_selection_is_tested() -> None:
    declared = {
        f"{kind.name}.{name}"
        for kind in SCHEMA.type_map.values()
        if isinstance(kind, GraphQLObjectType)
        for name, field in kind.fields.items()
        if held_of(field) is not None
    }
    messages = {f"{kind.name}." for kind in SCHEMA.get_possible_types(SCHEMA.type_map["Message"])}  # type: ignore[arg-type]
    tested = {row.field for row in ROWS} | {f"{one[0].upper()}{one[1:]}Payload.{field}" for one, field, *_ in PAYLOADS}
    tested |= {f"{event}.run" for event in EVENTS}
    for row in [one for one in tested if one.startswith("Message.")]:
        tested |= {kind + row.removeprefix("Message.") for kind in messages}
        tested.remove(row)
    assert declared == tested


def calls_of(stack: Stack) -> Counter[str]:
    """Return the calls since the last time, without ids."""
    made = [f"{call['service']} {call['method']} {call['path'].split('?')[0]}" for call in stack.platform.state.calls]
    stack.platform.state.calls.clear()
    return Counter(re.sub(r"(?<=/)[a-z]+-[0-9a-f-]{36}", "{id}", call) for call in made)


async def asked(stack: Stack, document: str, variables: dict[str, Any] | None = None) -> tuple[Any, Counter[str]]:
    """Return the data of a document, and the calls that it made."""
    calls_of(stack)
    answer = await stack.graphql(document, variables)
    assert "errors" not in answer, (document, answer)
    return answer["data"], calls_of(stack)


def found(data: Any) -> list[Any]:
    """Return all values with the response name ``x``."""
    parts = data if isinstance(data, list) else data.values() if isinstance(data, dict) else ()
    own = [data["x"]] if isinstance(data, dict) and "x" in data else []
    return own + [one for part in parts for one in found(part)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)
async def test_a_selection_that_the_parent_holds_makes_no_call(stack: Stack, row: Row) -> None:
    document, name = row.document.replace("$id", await row.make(stack)), row.field.split(".")[1]
    _, least = await asked(stack, document % "__typename")
    held, calls = await asked(stack, document % f"x: {name} {{ __typename {row.held} }}")
    assert calls == least
    read, calls = await asked(stack, document % f"x: {name} {{ __typename {row.held} {row.more} }}")
    assert list((calls - least).elements()) == row.calls
    [seen], [whole] = found(held), found(read)
    assert seen["id"]
    assert seen == {key: whole[key] for key in seen}


@pytest.mark.parametrize(("mutation", "name", "held", "more", "calls"), PAYLOADS, ids=lambda one: one)
async def test_a_selection_that_a_payload_holds_makes_no_call(
    stack: Stack, mutation: str, name: str, held: str, more: str, calls: list[str]
) -> None:
    given, make = DONE[f"Mutation.{mutation}"]
    counts = []
    for selection in ("errors { __typename }", f"x: {name} {{ {held} }}", f"x: {name} {{ {held} {more} }}"):
        async with embedded_stack(cache="off") as other:
            done = given.replace("$id", json.dumps(await make(other)))
            calls_of(other)
            answer = await as_admin(other, f"mutation {{ {mutation}({done}) {{ {selection} }} }}")
            assert "errors" not in answer, answer
            assert all(one["id"] for one in found(answer))
            counts.append([calls_of(other)[call] for call in calls])  # the number of other calls varies with the turn
    without, with_held, with_more = counts
    assert with_held == without
    assert sum(with_more) > sum(without)  # the turn may have found its run in a list, so that it is not read again


async def test_a_selection_that_an_event_holds_makes_no_call(stack: Stack) -> None:
    async def heard(selection: str, directive: str) -> tuple[list[Any], Counter[str]]:
        agent_id = await stack.make_agent()
        await stack.require_approval(agent_id, "memory_insert")
        given = {"to": {"agentId": agent_id}, "content": [{"text": f"hi [[{directive}]]"}]}
        events = " ".join(f"... on {kind} {{ x: run {{ {selection} }} }}" for kind in sorted(EVENTS))
        query = re.sub(r"__typename cursor.*(?=\} \})", events, MESSAGE, flags=re.DOTALL)
        calls_of(stack)
        async with opened_socket(stack) as socket:
            seen = [one async for one in socket.events(query, {"i": given, "k": str(uuid.uuid4())})]
        return found(seen), calls_of(stack)

    for directive, count in (("tokens=1 delay=0", 2), ("tokens=1 delay=0 tool=memory_insert approve=1", 3)):
        runs, calls = await heard("id __typename", directive)
        assert len(runs) == count
        assert len({run["id"] for run in runs}) == 1
        assert calls[READ_RUN] == 0
        _, calls = await heard("id status", directive)
        assert calls[READ_RUN] == count


FORMS = {
    "alias": ("run { a: id b: id }", {}, True),
    "merged": ("run { id } run { __typename }", {}, True),
    "merged with more": ("run { id } run { status }", {}, False),
    "inline fragment": ("run { ... { id } ... on Run { id } ... on Node { id } }", {}, True),
    "fragment": ("run { ...OfRun }", {}, True),
    "fragment with more": ("run { ...OfRun ...More }", {}, False),
    "on the interface": ("... on Message { run { id } } ... on AssistantMessage { run { __typename } }", {}, True),
    "more on another type": ("... on UserMessage { run { status } } run { id }", {}, True),
    "skipped": ("run { id status @skip(if: true) }", {}, True),
    "not skipped": ("run { id status @skip(if: false) }", {}, False),
    "skipped by a variable": ("run { id status @skip(if: $yes) }", {"yes": True}, True),
    "not skipped by a variable": ("run { id status @skip(if: $yes) }", {"yes": False}, False),
    "included by a variable": ("run { id ...More @include(if: $yes) }", {"yes": True}, False),
    "not included by a variable": ("run { id ... @include(if: $yes) { status } }", {"yes": False}, True),
    "by the variable's default": ("run { id status @include(if: $no) }", {}, True),
    "not included and skipped": ("run { id status @include(if: $yes) @skip(if: $yes) }", {"yes": True}, True),
}  # fmt: skip


@pytest.mark.parametrize(("selection", "variables", "is_held"), FORMS.values(), ids=list(FORMS))
async def test_every_form_of_a_selection_counts(
    stack: Stack, selection: str, variables: dict[str, bool], is_held: bool
) -> None:
    parts = {"OfRun": "fragment OfRun on Run { id }", "More": "fragment More on Run { status }"}
    fragments = " ".join(text for name, text in parts.items() if f"...{name}" in selection)
    declared = ", ".join(f"${name}: Boolean = false" for name in sorted(set(re.findall(r"\$(\w+)", selection))))
    document = (ANSWER % selection).replace("$id", await talked_to(stack))
    data, calls = await asked(stack, f"query{f'({declared})' if declared else ''} {document} {fragments}", variables)
    assert calls[READ_RUN] == (0 if is_held else 1)
    assert data["agent"]["messages"]["nodes"][0]["run"]


async def test_one_document_is_decided_for_each_request(stack: Stack) -> None:
    document = "query($s: Boolean!) " + (ANSWER % "x: run { id status @include(if: $s) }")
    document = document.replace("$id", await talked_to(stack))
    for wanted in (False, True, False):
        data, calls = await asked(stack, document, {"s": wanted})
        assert calls[READ_RUN] == wanted
        assert ("status" in found(data)[0]) is wanted
    two = "query($s: Boolean!) " + (ANSWER % "run { id } b: run { status @include(if: $s) id }")
    _, calls = await asked(stack, two.replace("$id", await talked_to(stack)), {"s": True})
    assert calls[READ_RUN] == 1


async def test_a_record_without_a_reference_has_null(stack: Stack) -> None:
    agent_id = await talked_to(stack)
    stack.platform.state.users[ADA].rows[0] |= {"template_id": None, "agent_id": agent_id}
    query = """query($a: ID!) { agent(id: $a) { template { id }
      messages(first: 1) { nodes { __typename run { id } step { id } conversation { id agent { id } } } } } }"""
    data, _ = await asked(stack, query, {"a": agent_id})
    [message] = data["agent"]["messages"]["nodes"]
    default = {"id": f"conversation:{agent_id}", "agent": {"id": agent_id}}
    assert message == {"__typename": "SystemMessage", "run": None, "step": None, "conversation": default}
    asked_for = {"model": stack.chat_model, "messages": [{"role": "USER", "content": "hi"}], "idempotencyKey": "k"}
    await things.done(stack, "mutation($i: CompletionInput!) { complete(input: $i) { text } }", {"i": asked_for})
    data, _ = await asked(stack, "{ viewer { streams { run { id } } } }")
    assert {"run": None} in data["viewer"]["streams"]


async def test_a_held_reference_does_not_show_whether_the_object_still_exists(stack: Stack) -> None:
    agent_id = await talked_to(stack)
    document = ANSWER.replace("$id", agent_id)
    data, _ = await asked(stack, document % "x: run { id } step { id }")
    stack.platform.faults["letta"] = Fault(status=404, path=f"/v1/runs/{found(data)[0]['id']}")
    assert (await asked(stack, document % "x: run { id } step { id }"))[0] == data
    answer = await stack.graphql(document % "run { id status }")
    assert answer["data"]["agent"]["messages"]["nodes"] == [{"run": None}]
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["NOT_FOUND"]


async def test_a_held_reference_is_in_the_answer_if_the_service_is_down(stack: Stack) -> None:
    stream_id = await things.stream(stack)
    stack.platform.faults["letta"] = Fault(down=True)
    stack.platform.faults["ams"] = Fault(down=True)
    data, calls = await asked(stack, f'{{ stream(id: "{stream_id}") {{ x: run {{ id }} }} }}')
    assert found(data)[0]["id"]
    assert not calls


@pytest.mark.parametrize("kind", ["Run", "Step", "Conversation", "Agent"])
async def test_ids_that_a_client_sends_are_always_checked(stack: Stack, kind: str) -> None:
    agent_id = await stack.make_agent(GRACE)
    turn = {"to": {"agentId": agent_id}, "content": [{"text": "hi"}], "idempotencyKey": "k", "waitSeconds": 20}
    await things.done(stack, things.SEND, {"i": turn}, user=GRACE)
    query = "query($a: ID!) { agent(id: $a) { messages(last: 1) { nodes { run { id } step { id } } } } }"
    [message] = (await stack.graphql(query, {"a": agent_id}, user=GRACE))["data"]["agent"]["messages"]["nodes"]
    ids = {"Run": message["run"]["id"], "Step": message["step"]["id"], "Agent": agent_id}
    made = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id}, user=GRACE)
    ids["Conversation"] = made["data"]["createConversation"]["conversationEdge"]["node"]["id"]
    asked_for = {"i": ids[kind], "r": [{"__typename": kind, "id": ids[kind]}]}
    answer = await stack.graphql(
        "query($i: ID!, $r: [_Any!]!) { node(id: $i) { id } nodes(ids: [$i]) { __typename } "
        "_entities(representations: $r) { __typename ... on Node { id } } }",
        asked_for,
    )
    assert answer["data"] == {"node": None, "nodes": [None], "_entities": [None]}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"NOT_FOUND"}


async def test_the_dashboard_with_runs_and_steps_makes_no_more_calls_and_costs_no_calls(stack: Stack) -> None:
    agent_ids = [await talked_to(stack) for _ in range(3)]
    plain = "viewer { agents(first: %d) { nodes { id messages(last: 20) { nodes { id text %s } } } } }"
    _, least = await asked(stack, f"{{ {plain % (5, '')} }}")
    data, calls = await asked(stack, f"{{ {plain % (5, 'run { id } step { id } conversation { id }')} }}")
    assert calls == least
    of_agent = {one["id"]: one["messages"]["nodes"] for one in data["viewer"]["agents"]["nodes"]}
    assert all(of_agent[agent_id][-1]["run"]["id"] for agent_id in agent_ids)
    costs = [await cost_of(stack, f"{{ {plain % (5, more)} }}") for more in ("", "run { id }", "run { status }")]
    each = 5 * 20
    assert costs[1] - costs[0] == 3 * each  # the field, the object and its id
    assert costs[2] - costs[0] == 52 * each


async def cost_of(stack: Stack, document: str) -> int:
    """Return an operation's cost, even if the operation is refused."""
    body = {"query": document, "extensions": {"cost": True}}
    answer = (await stack.client.post("/graphql", json=body, headers=stack.headers())).json()
    return int(answer["extensions"]["cost"]["requested"])
