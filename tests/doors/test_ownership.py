"""Every field and mutation that takes an id, called by the owner, another user, an administrator and without a token.

Each argument of type ID in the schema must have a row here. Ids in a ``JSON`` or ``_Any`` are listed by hand.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type

from tests.support import things
from tests.support.agentfiles import agent_file, publish
from tests.support.doors import event_stream
from tests.support.schema import SCHEMA, possible_types
from tests.support.stack import ADA, GRACE, Stack, any_stack
from tests.support.things import Maker

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NO_ID = {
    "Subscription.message(streamKey)": "a key that the client chooses",
    "Subscription.completion(streamKey)": "a key that the client chooses",
}
"""Arguments of type ID that name nothing."""

OF_THE_MODEL = ".toolCallId)"
"""The model chooses the id of a tool call, which is valid within one conversation."""

BY_HAND = {"Query._entities(representations)"}
"""Ids within a scalar."""

LEARNS = re.compile(
    r"GET /v1/(?:conversations/conv-[^/]+|runs/run-[^/]+|steps/step-[^/]+|blocks/block-[^/]+/agents\?limit=100)\Z"
)
"""The only call before the refusal: the read that finds the object's owner (Letta contract)."""


@dataclass(frozen=True)
class Row:
    """A document that uses ``$id``, and the maker of the object. Every user can read ``shared`` objects."""

    document: str
    make: Maker
    shared: bool = False


def doing(mutation: str, given: str, make: Maker, *, shared: bool = False) -> Row:
    """Return the row of a mutation."""
    return Row(f"mutation($id: ID!) {{ {mutation}(input: {{{given}}}) {{ errors {{ message }} }} }}", make, shared)


def reading(document: str, make: Maker, *, shared: bool = False) -> Row:
    """Return the row of a query."""
    return Row(f"query($id: ID!) {{ {document} }}", make, shared)


def following(document: str, make: Maker) -> Row:
    """Return the row of a subscription, of which one event is read."""
    return Row(f"subscription($id: ID!) {{ {document} {{ __typename }} }}", make)


async def first_model(stack: Stack) -> str:
    return f"model:{stack.chat_model}"


async def first_template(_: Stack) -> str:
    return "template:support-bot"


async def greeter(stack: Stack) -> str:
    """Publish a template with an available model."""
    await publish(stack, agent_file(stack))
    return "template:greeter"


async def first_version(_: Stack) -> str:
    return "template:support-bot@1.2.0"


async def default_conversation(stack: Stack) -> str:
    return f"conversation:{await stack.make_agent()}"


async def viewer(_: Stack) -> str:
    return f"user:{ADA}"


KEY = f'idempotencyKey: "{uuid.uuid4()}"'
HELLO = 'content: [{text: "hi"}]'

NODES: dict[str, tuple[Maker, bool]] = {
    "Agent": (things.agent, False),
    "Conversation": (things.conversation, False),
    "MemoryBlock": (things.block, False),
    "Message": (things.message, False),
    "Model": (first_model, True),
    "Passage": (things.passage, False),
    "Run": (things.run, False),
    "Step": (things.step, False),
    "Stream": (things.stream, False),
    "Template": (first_template, True),
    "TemplateVersion": (first_version, True),
    "Tool": (things.tool, True),
    "User": (viewer, False),
}
"""The types that ``node`` reads; all messages are read alike."""

ROWS: dict[str, list[Row]] = {
    "Query.node(id)": [
        reading("node(id: $id) { __typename id }", make, shared=shared) for make, shared in NODES.values()
    ],
    "Query.nodes(ids)": [
        reading("nodes(ids: [$id]) { __typename id }", make, shared=shared) for make, shared in NODES.values()
    ],
    "Query._entities(representations)": [
        reading(
            f'_entities(representations: [{{__typename: "{name}" id: $id}}]) {{ ... on {name} {{ id }} }}',
            make,
            shared=shared,
        )
        for name, (make, shared) in NODES.items()
        if name not in {"Stream", "Message"}
    ],
    "Query.agent(id)": [reading("agent(id: $id) { id }", things.agent)],
    "Query.conversation(id)": [
        reading("conversation(id: $id) { id }", make) for make in (things.conversation, default_conversation)
    ],
    "Query.run(id)": [reading("run(id: $id) { id }", things.run)],
    "Query.stream(id)": [reading("stream(id: $id) { id }", things.stream)],
    "Query.template(id)": [reading("template(id: $id) { id }", first_template, shared=True)],
    "Mutation.sendMessage(input.to.agentId)": [
        doing("sendMessage", f"to: {{agentId: $id}} {HELLO} {KEY}", things.agent)
    ],
    "Mutation.sendMessage(input.to.conversationId)": [
        doing("sendMessage", f"to: {{conversationId: $id}} {HELLO} {KEY}", things.conversation)
    ],
    "Mutation.respondToApproval(input.requestId)": [
        doing("respondToApproval", "requestId: $id decision: APPROVE", things.approval_request)
    ],
    "Mutation.cancelRun(input.runId)": [doing("cancelRun", "runId: $id", things.run)],
    "Mutation.cancelStream(input.streamId)": [doing("cancelStream", "streamId: $id", things.stream)],
    "Mutation.updateMemoryBlock(input.blockId)": [doing("updateMemoryBlock", 'blockId: $id value: "v"', things.block)],
    "Mutation.createAgent(input.templateId)": [
        doing("createAgent", f'templateId: $id variables: {{company: "C"}} {KEY}', greeter, shared=True)
    ],
    "Mutation.updateAgent(input.agentId)": [doing("updateAgent", 'agentId: $id description: "d"', things.agent)],
    "Mutation.upgradeAgent(input.agentId)": [doing("upgradeAgent", "agentId: $id", things.agent)],
    "Mutation.deleteAgent(input.agentId)": [doing("deleteAgent", "agentId: $id", things.agent)],
    "User.agents(filter.templateId)": [
        reading("viewer { agents(filter: {templateId: $id}) { nodes { id } } }", first_template, shared=True)
    ],
    "Mutation.createConversation(input.agentId)": [doing("createConversation", "agentId: $id", things.agent)],
    "Mutation.updateConversation(input.conversationId)": [
        doing("updateConversation", 'conversationId: $id summary: "s"', things.conversation)
    ],
    "Mutation.forkConversation(input.conversationId)": [
        doing("forkConversation", "conversationId: $id", things.conversation)
    ],
    "Mutation.deleteConversation(input.conversationId)": [
        doing("deleteConversation", "conversationId: $id", things.conversation)
    ],
    "Mutation.insertPassage(input.agentId)": [doing("insertPassage", 'agentId: $id text: "t"', things.agent)],
    "Mutation.deletePassage(input.passageId)": [doing("deletePassage", "passageId: $id", things.passage)],
    "Subscription.stream(id)": [following("stream(id: $id)", things.stream)],
    "Subscription.conversation(id)": [following("conversation(id: $id)", things.conversation)],
    "Subscription.message(input.to.agentId)": [
        following(f'message(streamKey: "k" input: {{to: {{agentId: $id}} {HELLO}}})', things.agent)
    ],
    "Subscription.message(input.to.conversationId)": [
        following(f'message(streamKey: "k" input: {{to: {{conversationId: $id}} {HELLO}}})', things.conversation)
    ],
}


def id_arguments() -> Iterator[str]:
    """Yield ``Type.field(path)`` of each argument or input field that is an ID."""
    for kind in SCHEMA.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                for argument, taken in field.args.items():
                    yield from (f"{kind.name}.{name}({path})" for path in id_paths(argument, taken.type))


def id_paths(path: str, taken: Any) -> Iterator[str]:
    named = get_named_type(taken)
    if named.name == "ID":
        yield path
    elif isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from id_paths(f"{path}.{name}", field.type)


def test_every_argument_that_is_an_id_has_a_row() -> None:
    named = {argument for argument in id_arguments() if not argument.endswith(OF_THE_MODEL)}
    assert named - NO_ID.keys() == ROWS.keys() - BY_HAND


def test_every_node_has_a_row() -> None:
    assert (possible_types("Node") - possible_types("Message")) | {"Message"} == NODES.keys()


CELLS = [(f"{name} {row.make.__name__}", row) for name, rows in ROWS.items() for row in rows]
READS = [pytest.param(row, id=name) for name, row in CELLS if row.document.startswith("query")]
CHANGES = [pytest.param(row, id=name) for name, row in CELLS if not row.document.startswith("query")]


@dataclass
class Library:
    """A gateway whose objects are created once and only read. ``own`` is an agent of another user."""

    stack: Stack
    own: str
    things: dict[Maker, str] = field(default_factory=dict)

    async def thing(self, make: Maker) -> str:
        if make not in self.things:
            self.things[make] = await make(self.stack)
        return self.things[make]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def library() -> AsyncIterator[Library]:
    async with any_stack(rate_limit_general=0) as stack:
        yield Library(stack, await stack.make_agent(GRACE))


async def asked(stack: Stack, row: Row, thing: str, token: str | None) -> dict[str, Any]:
    """Return the answer to a row's document, or the first event of its subscription."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    body = {"query": row.document, "variables": {"id": thing}}
    if not row.document.startswith("subscription"):
        response = await stack.client.post("/graphql", json=body, headers=headers)
        answer: dict[str, Any] = response.json()
        return answer
    headers["accept"] = "text/event-stream"
    async with stack.client.stream("POST", "/graphql", json=body, headers=headers) as response:
        return await anext(event_stream(response))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", READS)
async def test_only_the_owner_reads_an_object(library: Library, row: Row) -> None:
    await check_row(library.stack, row, await library.thing(row.make), library.own)


@pytest.mark.parametrize("row", CHANGES)
async def test_only_the_owner_changes_an_object(stack: Stack, row: Row) -> None:
    own = await stack.make_agent(GRACE)
    await check_row(stack, row, await row.make(stack), own)


async def check_row(stack: Stack, row: Row, thing: str, own: str) -> None:
    await check_without_token(stack, row, thing)
    if not row.shared:
        for admin in (False, True):
            await check_other_user(stack, row, thing, stack.token(GRACE, admin=admin), own)
    if "conversation(id: $id) { __typename }" in row.document:
        await things.say(stack, thing)
    answer = await asked(stack, row, thing, stack.token())
    assert "errors" not in answer, answer
    [value] = answer["data"].values()
    assert value not in (None, [None])
    assert not (value.get("errors") if isinstance(value, dict) else None)


async def check_without_token(stack: Stack, row: Row, thing: str) -> None:
    """Check that a request without a valid token is refused without upstream calls."""
    for token in (None, "no.such.token"):
        before = len(stack.platform.state.calls)
        answer = await asked(stack, row, thing, token)
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert len(stack.platform.state.calls) == before


async def check_other_user(stack: Stack, row: Row, thing: str, token: str, own: str) -> None:
    """Check that a user with an agent of their ``own`` gets the answer for an id that does not exist."""
    missing = UUID.sub(lambda _: str(uuid.uuid4()), thing)
    before = len(stack.platform.state.calls)
    answer, unknown = [await asked(stack, row, one, token) for one in (thing, missing)]
    made = [f"{call['method']} {call['path']}" for call in stack.platform.state.calls[before:]]
    assert all(value in (None, [None]) for value in (answer.get("data") or {}).values())
    for refusal in (answer, unknown):
        assert [error["extensions"].pop("requestId") for error in refusal["errors"]]
    assert answer == unknown
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    if not stack.real:
        assert [call for call in made if not allowed(call, own)] == []


def allowed(call: str, agent_id: str) -> bool:
    """Return whether a call reads the user's own profile or agents, or finds the owner of an object."""
    if call == "GET /me" or LEARNS.match(call):
        return True
    return call.startswith((f"GET /v1/agents/{agent_id}?", f"GET /v1/agents/?tags=user%3A{GRACE}"))
