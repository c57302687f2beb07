"""What each field costs in upstream calls, counted: ``docs/calls.md`` is this, printed.

A field is asked for on two things of its type and then on four, with and without the field: what it adds is so many
calls at once and so many for each thing. A mutation is carried out once. ``python -m tests.support.calltable`` prints
the page.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from graphql import GraphQLObjectType, get_named_type, is_leaf_type

from schema.build import build_schema
from tests.support import things
from tests.support.agentfiles import agent_file, create, publish, second_version
from tests.support.stack import Stack, embedded_stack

SCHEMA = build_schema()._schema
UUID = re.compile(r"(?<=/)[a-z]+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FEW, MORE = 2, 4

HEAD = """# What a query costs

What each field adds in calls to the services behind the gateway, counted on a running one. *Once* is however many things
the field is asked of in one operation, *each* is for every one of them. Nothing is asked twice within an operation: a call
that another field has made is free. A field that is not here costs nothing beyond its parent.

The calls that one level of a query needs go out together, as many at a time as a service's bulkhead lets through.

| field | calls |
|---|---|
"""  # noqa: E501 - a page

MUTATIONS = """
## Mutations

What a mutation calls before it answers; what its payload is asked for is counted above. `sendMessage` waits here for
the end of its turn. A turn or a completion is one call, however many read it.

| mutation | calls |
|---|---|
"""


@dataclass(frozen=True)
class Place:
    """Where things of a type are found.

    Attributes:
        document: has ``$n`` for how many, ``%s`` for what is asked of each, ``$id`` for what ``make`` gives.
        make: prepares the platform, for as many things.
        most: how many there can be.
    """

    document: str
    make: Callable[[Stack, int], Awaitable[str]]
    most: int = MORE


async def _agents(stack: Stack, count: int) -> str:
    for _ in range(count):
        await stack.make_agent()
    return ""


async def _conversations(stack: Stack, count: int) -> str:
    agent_id = await stack.make_agent()
    for _ in range(count):
        await things.done(stack, things.CREATE_CONVERSATION, {"a": agent_id})
    return agent_id


async def _turns(stack: Stack, count: int) -> str:
    agent_id = await stack.make_agent()
    for _ in range(count):
        await things.sent(stack, agent_id=agent_id)
    return agent_id


async def _greeter(stack: Stack) -> str:
    await publish(stack, agent_file(stack))
    return "template:greeter"


async def _outdated(stack: Stack) -> str:
    """An agent of a template that has a newer version."""
    await publish(stack, agent_file(stack, "outdated"))
    made = await create(stack, "outdated", templateId="template:outdated")
    await publish(stack, second_version(stack, "outdated"))
    return str(made["data"]["createAgent"]["agent"]["id"])


async def _run_under_way(stack: Stack) -> str:
    """A run that nobody follows, so that nothing but the mutation looks at it."""
    agent_id = await stack.make_agent()
    said = {"messages": [{"role": "user", "content": "hi [[tokens=400 delay=0.05]]"}], "background": True}
    path = "/v1/conversations/default/messages"
    async with stack.letta() as letta, letta.stream("POST", path, json={**said, "agent_id": agent_id}) as answer:
        async for line in answer.aiter_lines():
            if (run := re.search(r"run-[0-9a-f-]{36}", line)) is not None:
                return run[0]
    raise AssertionError("Letta has begun nothing")


async def _stream_under_way(stack: Stack) -> str:
    return str((await things.sent(stack, "tokens=400 delay=0.05", seconds=0))["stream"]["id"])


async def _request(stack: Stack) -> str:
    """A request after whose decision the model takes its time, and the turn asks nothing of Letta meanwhile."""
    return await things.approval_request(stack, "tokens=2 first=2")


async def _source(stack: Stack) -> str:
    """The text of an Agent File, as GraphQL writes it within quotes."""
    return json.dumps(agent_file(stack, "another"))[1:-1]


async def _nothing(_: Stack, __: int) -> str:
    return ""


async def _run(stack: Stack, _: int) -> str:
    return await things.run(stack)


async def _used(stack: Stack, _: int) -> str:
    asked = {"model": stack.chat_model, "messages": [{"role": "USER", "content": "hi"}], "idempotencyKey": "calls"}
    await things.done(stack, "mutation($i: CompletionInput!) { complete(input: $i) { text } }", {"i": asked})
    return ""


_TODAY = datetime.now(UTC).date()
_DAYS = f'from: "{_TODAY - timedelta(days=1)}", to: "{_TODAY + timedelta(days=1)}"'

PLACES: dict[str, Place] = {
    "Query": Place("{ %s }", _nothing, most=1),
    "User": Place("{ viewer { %s } }", _nothing, most=1),
    "Agent": Place("{ viewer { agents(first: $n) { nodes { %s } } } }", _agents),
    "Conversation": Place('{ agent(id: "$id") { conversations(first: $n) { nodes { %s } } } }', _conversations),
    "Message": Place('{ agent(id: "$id") { messages(last: 50) { nodes { ... on UserMessage { %s } } } } }', _turns),
    "Mutation": Place("mutation { %s }", _nothing, most=1),
    "Model": Place("{ models { %s } }", _nothing, most=1),
    "ModelSupports": Place("{ models { supports { %s } } }", _nothing, most=1),
    "Run": Place('{ run(id: "$id") { %s } }', _run, most=1),
    "Step": Place('{ run(id: "$id") { steps { %s } } }', _run, most=1),
    "Stream": Place("{ viewer { streams { %s } } }", _turns),
    "Template": Place("{ templates(first: 1) { nodes { %s } } }", _nothing, most=1),
    "TemplateVersion": Place('{ template(id: "template:concierge") { version(number: "1.0.0") { %s } } }', _nothing, 1),
    "UsageRow": Place(f"{{ viewer {{ usage({_DAYS}, groupBy: [MODEL]) {{ rows {{ %s }} }} }} }}", _used, most=1),
}
"""One per type that has fields which are answered by resolvers."""

OUTCOMES = re.compile(r"Stream\w+|\w+Payload|MessageAdded|ApprovalRequested|ConversationBusy|BudgetExceeded")
"""Types that mutations and subscriptions answer with: what is read of them is read of the types above."""

KEY = 'idempotencyKey: "calls"'
WAIT = "waitSeconds: 20"
ASKED = 'model: "gpt-4o-mini", messages: [{role: USER, content: "hi"}]'

ARGUMENTS: dict[str, tuple[str, things.Maker]] = {
    "Query.node": ('id: "$id"', things.conversation),
    "Query.nodes": ('ids: ["$id"]', things.conversation),
    "Query._entities": ('representations: [{__typename: "Conversation" id: "$id"}]', things.conversation),
    "Query.agent": ('id: "$id"', things.agent),
    "Query.conversation": ('id: "$id"', things.conversation),
    "Query.run": ('id: "$id"', things.run),
    "Query.stream": ('id: "$id"', things.stream),
    "Agent.searchMemory": ('query: "parcels"', things.agent),
    "Query.template": ('id: "template:support-bot"', things.agent),
    "Query.templateValidation": ('source: "a: b"', things.agent),
    "User.usage": (_DAYS, things.agent),
    "Template.version": ('number: "1.0.0"', things.agent),
    "Mutation.createAgent": (f'input: {{templateId: "$id", variables: {{company: "C"}} {KEY}}}', _greeter),
    "Mutation.upgradeAgent": ('input: {agentId: "$id"}', _outdated),
    "Mutation.updateAgent": ('input: {agentId: "$id", name: "n", model: "gpt-4.1"}', things.agent),
    "Mutation.deleteAgent": ('input: {agentId: "$id"}', things.agent),
    "Mutation.publishTemplate": ('input: {source: "$id"}', _source),
    "Mutation.createConversation": ('input: {agentId: "$id"}', things.agent),
    "Mutation.updateConversation": ('input: {conversationId: "$id", summary: "s"}', things.conversation),
    "Mutation.forkConversation": ('input: {conversationId: "$id"}', things.conversation),
    "Mutation.deleteConversation": ('input: {conversationId: "$id"}', things.conversation),
    "Mutation.sendMessage": (
        f'input: {{to: {{agentId: "$id"}}, content: [{{text: "hi"}}], {WAIT} {KEY}}}',
        things.agent,
    ),
    "Mutation.respondToApproval": ('input: {requestId: "$id", decision: DENY}', _request),
    "Mutation.cancelRun": ('input: {runId: "$id"}', _run_under_way),
    "Mutation.cancelStream": ('input: {streamId: "$id"}', _stream_under_way),
    "Mutation.startCompletion": (f"input: {{{ASKED} {KEY}}}", things.agent),
    "Mutation.complete": (f'input: {{{ASKED} idempotencyKey: "whole"}}', things.agent),
    "Mutation.embed": ('input: {model: "text-embedding-3-small", inputs: ["a", "b"]}', things.agent),
    "Mutation.updateMemoryBlock": ('input: {blockId: "$id", value: "v"}', things.block),
    "Mutation.insertPassage": ('input: {agentId: "$id", text: "t"}', things.agent),
    "Mutation.deletePassage": ('input: {passageId: "$id"}', things.passage),
}
"""What a field is given, and what makes the thing that ``$id`` names."""


def fields() -> Iterator[tuple[str, str, Any]]:
    """Type, name and field of each field that a resolver answers; what all messages have, once."""
    message: Any = SCHEMA.type_map["Message"]
    for kind in SCHEMA.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("_"):
            continue
        if kind is SCHEMA.subscription_type or OUTCOMES.fullmatch(kind.name):
            continue
        shared = message.fields if message in kind.interfaces else {}
        for name, field in kind.fields.items():
            definition = field.extensions.get("strawberry-definition")
            answered = kind is SCHEMA.mutation_type or (definition is not None and definition.base_resolver)
            if answered and name != "id" and name not in shared:
                yield kind.name, name, field
    yield from (("Message", name, field) for name, field in message.fields.items())


class Counting:
    """A running platform with things of one type in it."""

    def __init__(self, place: Place, stack: Stack, thing: str, count: int) -> None:
        self._place = place
        self._stack = stack
        self._thing = thing
        self._count = count

    async def calls(self, asked: str, thing: str | None = None) -> Counter[str]:
        """The calls of the document with something asked of each thing."""
        document = self._place.document.replace("%s", "__typename " + asked).replace("$n", str(self._count))
        self._stack.platform.state.calls.clear()
        asked_of = document.replace("$id", thing or self._thing)
        headers = {"authorization": f"Bearer {self._stack.token(admin=True)}"}
        answer = (await self._stack.client.post("/graphql", json={"query": asked_of}, headers=headers)).json()
        assert "errors" not in answer, (document, answer)
        assert '"errors":[{' not in json.dumps(answer, separators=(",", ":")), (document, answer)
        return Counter(_call(made) for made in self._stack.platform.state.calls)

    async def added(self, kind: str, name: str, field: Any) -> Counter[str]:
        """The calls that a field adds."""
        given, make = ARGUMENTS.get(f"{kind}.{name}", ("", None))
        thing = None if make is None else await make(self._stack)
        leaf = is_leaf_type(get_named_type(field.type))
        wanted = "errors { message }" if kind == "Mutation" else "__typename"
        asked = name + (f"({given})" if given else "") + ("" if leaf else f" {{ {wanted} }}")
        with_it = await self.calls(asked, thing)
        with_it.subtract(await self.calls("", thing))
        return Counter({call: times for call, times in with_it.items() if times})


NAMES = {"ams": "AMS", "letta": "Letta", "litellm": "LiteLLM"}


def _call(made: dict[str, Any]) -> str:
    """A call as the table names it: its service, method and path, ids left out."""
    path = re.sub(r"(?<=^/templates/)(?!validate)[^/]+", "{id}", UUID.sub("{id}", made["path"].split("?")[0]))
    path = re.sub(r"(?<=/versions/).+", "{version}", path)
    return f"{NAMES[made['service']]} `{made['method']} {path}`"


async def counted(kind: str, count: int, of_kind: list[tuple[str, Any]]) -> dict[str, Counter[str]]:
    """What each field of a type adds, asked of so many things."""
    place = PLACES[kind]
    async with embedded_stack() as stack:
        counting = Counting(place, stack, await place.make(stack, count), count)
        return {name: await counting.added(kind, name, field) for name, field in of_kind}


async def table() -> str:
    """The page."""
    by_kind: dict[str, list[tuple[str, Any]]] = {}
    for kind, name, field in fields():
        by_kind.setdefault(kind, []).append((name, field))
    rows: dict[bool, list[str]] = {False: [], True: []}
    for kind in sorted(by_kind):
        most = PLACES[kind].most
        few = await counted(kind, min(FEW, most), by_kind[kind])
        more = await counted(kind, MORE, by_kind[kind]) if most > 1 else few
        written = [_row(f"{kind}.{name}", few[name], more[name]) for name in sorted(few)]
        rows[kind == "Mutation"] += [row for row in written if row]
    return "\n".join([HEAD + "\n".join(rows[False]), MUTATIONS + "\n".join(rows[True])]) + "\n"


def _row(name: str, few: Counter[str], more: Counter[str]) -> str | None:
    parts = ["nothing"] if name.startswith("Mutation.") and not few else []
    for call in sorted(few | more):
        each, rest = divmod(more[call] - few[call], MORE - FEW)
        once = few[call] - each * FEW
        assert (rest, each >= 0, once >= 0) == (0, True, True), f"{name}: {call} {few[call]}, then {more[call]}"
        parts += [f"once {_times(once)}{call}"] if once else []
        parts += [f"each {_times(each)}{call}"] if each else []
    return f"| `{name}` | {', '.join(parts)} |" if parts else None


def _times(number: int) -> str:
    return "" if number == 1 else f"{number} x "


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        print(asyncio.run(table()), end="")
