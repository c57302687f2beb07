"""The matrix of ownership: each argument that names an object, with a document that uses it.

The arguments are read from the SDL. An argument without a row fails ``tests/doors/test_ownership.py``.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema, build_schema, get_named_type

from tests.support import things
from tests.support.agentfiles import agent_file, publish
from tests.support.rules import FOLDER
from tests.support.stack import ADA, Stack
from tests.support.things import Maker

SDL: GraphQLSchema = build_schema((FOLDER / "schema.graphql").read_text())
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


@dataclass(frozen=True)
class CursorRow:
    """An argument that takes a cursor.

    Attributes:
        edges: a document that reads the cursors of a list; ``$id`` names the list's owner.
        ask: a document that uses the cursor ``$c`` in the asking user's own list ``$id``.
    """

    edges: str
    ask: str


def _listed(path: str, name: str, argument: str) -> CursorRow:
    size = "last" if argument == "before" else "first"
    ask = path % f"{name}({size}: 5, {argument}: $c) {{ edges {{ cursor node {{ id }} }} }}"
    edges = path % f"{name}(first: 5) {{ edges {{ cursor }} }}"
    given = "($id: ID!)" if "$id" in path else ""
    return CursorRow(f"query{given} {{ {edges} }}", f"query{given[:-1] or '('} $c: String) {{ {ask} }}")


_OF_AGENT, _OF_CONVERSATION, _OF_USER = "agent(id: $id) { %s }", "conversation(id: $id) { %s }", "viewer { %s }"

CURSORS: dict[str, CursorRow] = {
    **{
        f"Agent.{name}({argument})": _listed(_OF_AGENT, name, argument)
        for name, argument in (
            *(("messages", "after"), ("messages", "before")),
            *((name, "after") for name in ("conversations", "passages", "runs")),
        )
    },
    **{
        f"{kind}({argument})": _listed(path, kind.rpartition(".")[2], argument)
        for kind, path in (("Conversation.messages", _OF_CONVERSATION), ("User.agents", _OF_USER))
        for argument in ("after", "before")
    },
}

OTHER_CURSORS = {
    "Query.templates(after)": "Every user can read the templates of the list.",
    "Subscription.stream(after)": "A number of an event in the stream, which has its own row.",
    "Subscription.conversation(after)": "test_a_cursor_of_another_users_turn_is_refused_like_an_unknown_one",
}

TEXTS = frozenset(
    {
        *("arguments", "content", "description", "inputs", "labels", "model", "name", "number", "query", "reason"),
        *("responseFormat", "search", "source", "stop", "summary", "tag", "tags", "text", "to", "toolChoice", "tools"),
        *("url", "value", "variables", "version"),
    }
)
"""Arguments and input fields that are a text or JSON, and name no object of a user."""

KEYS = frozenset({"idempotencyKey", "streamKey"})
"""Keys that the client chooses. Equal keys of two users are different keys."""

SESSIONS = frozenset({"Mutation.revokeSession(input.sessionId)"})
"""Only admins may send an id of a session, and any text with the form of an id has the same answer."""


def arguments(*kinds: str) -> Iterator[str]:
    """Yield ``Type.field(path)`` of each argument or input field whose scalar is one of these."""
    for kind in SDL.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                for argument, taken in field.args.items():
                    yield from (f"{kind.name}.{name}({path})" for path in _paths(argument, taken.type, kinds))


def _paths(path: str, taken: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    named = get_named_type(taken)
    if named.name in kinds:
        yield path
    elif isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from _paths(f"{path}.{name}", field.type, kinds)


def unknown(name: str) -> str:
    """Return an id of the same form that names nothing."""
    return UUID.sub(lambda _: str(uuid.uuid4()), name)


def unknown_cursor(cursor: str) -> str:
    """Return a cursor of the same form whose ids name nothing."""
    place = unknown(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode())
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def last_name(argument: str) -> str:
    """Return the name of an argument or input field, without its path."""
    return re.split(r"[.(]", argument.removesuffix(")"))[-1]
