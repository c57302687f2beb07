"""The documents whose upstream calls ``calltable`` counts, and the objects that they need."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.support import things
from tests.support.agentfiles import agent_file, created, publish, second_version
from tests.support.documents import CREATE_CONVERSATION
from tests.support.stack import ADA, Stack

FEW, MORE = 2, 4
"""The two numbers of objects that are compared."""


@dataclass(frozen=True)
class ParentType:
    """A document that reads objects of a type.

    Attributes:
        document: ``$n`` stands for the number of objects, ``%s`` for the selection, ``$id`` for what ``make`` returns.
        make: creates that many objects.
        most: the largest possible number of objects.
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
        await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
    return agent_id


async def _conversing(stack: Stack, count: int) -> str:
    """Make that many conversations with an agent, with a turn in each."""
    agent_id = await stack.make_agent()
    for _ in range(count):
        made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
        await things.sent(stack, conversation_id=made["conversationEdge"]["node"]["id"])
    return agent_id


async def _templates(stack: Stack, count: int) -> str:
    await publish(stack, *(agent_file(stack, f"counted-{number}") for number in range(count)))
    return ""


async def _turns(stack: Stack, count: int) -> str:
    agent_id = await stack.make_agent()
    for _ in range(count):
        await things.sent(stack, agent_id=agent_id)
    return agent_id


async def _nothing(_: Stack, __: int) -> str:
    return ""


async def _used(stack: Stack, _: int) -> str:
    asked = {"model": stack.chat_model, "messages": [{"role": "USER", "content": "hi"}], "idempotencyKey": "calls"}
    await things.done(stack, "mutation($i: CompletionInput!) { complete(input: $i) { text } }", {"i": asked})
    return ""


_TODAY = datetime.now(UTC).date()
_DAYS = f'from: "{_TODAY - timedelta(days=1)}", to: "{_TODAY + timedelta(days=1)}"'

PARENT_TYPES: dict[str, ParentType] = {
    "Query": ParentType("{ %s }", _nothing, most=1),
    "User": ParentType("{ viewer { %s } }", _nothing, most=1),
    "Agent": ParentType("{ viewer { agents(first: $n) { nodes { %s } } } }", _agents),
    "Conversation": ParentType('{ agent(id: "$id") { conversations(first: $n) { nodes { %s } } } }', _conversations),
    "Message": ParentType(
        '{ agent(id: "$id") { conversations(first: $n) { nodes { '
        "messages { nodes { ... on UserMessage { %s } } } } } } }",
        _conversing,
    ),
    "Model": ParentType("{ models { %s } }", _nothing, most=1),
    "ModelSupports": ParentType("{ models { supports { %s } } }", _nothing, most=1),
    "Run": ParentType('{ agent(id: "$id") { runs(first: $n) { nodes { %s } } } }', _conversing),
    "Step": ParentType(
        '{ agent(id: "$id") { messages(last: 50) { nodes { ... on AssistantMessage { step { status %s } } } } } }',
        _turns,
    ),
    "Stream": ParentType("{ viewer { streams { %s } } }", _turns),
    "Template": ParentType('{ templates(search: "counted") { nodes { %s } } }', _templates),
    "TemplateVersion": ParentType(
        '{ templates(search: "counted") { nodes { version(number: "1.0.0") { %s } } } }', _templates
    ),
    "UsageRow": ParentType(f"{{ viewer {{ usage({_DAYS}, groupBy: [MODEL]) {{ rows {{ %s }} }} }} }}", _used, most=1),
}
"""A document for each type with fields that have resolvers."""

OUTCOMES = re.compile(r"Stream\w+|\w+Payload|MessageAdded|ApprovalRequested|ConversationBusy|BudgetExceeded")
"""Types of payloads and events, which are counted with their mutation or subscription."""


async def _model(stack: Stack) -> str:
    return f"model:{stack.chat_model}"


async def _template(stack: Stack) -> str:
    slug = f"read-{len(stack.platform.state.templates)}"
    await publish(stack, agent_file(stack, slug))
    return f"template:{slug}"


async def _version(stack: Stack) -> str:
    return f"{await _template(stack)}@1.0.0"


async def _greeter(stack: Stack) -> str:
    await publish(stack, agent_file(stack), second_version(stack))
    return "template:greeter"


async def _source(stack: Stack) -> str:
    return agent_file(stack)


async def _upgradable(stack: Stack) -> str:
    await _greeter(stack)
    return await created(stack, "made", version="1.0.0")


async def _viewer(_: Stack) -> str:
    return f"user:{ADA}"


NODES: dict[str, things.Maker] = {
    "Agent": things.agent,
    "AssistantMessage": things.answer,
    "Conversation": things.conversation,
    "MemoryBlock": things.block,
    "Model": _model,
    "Passage": things.passage,
    "Run": things.run,
    "Step": things.step,
    "Template": _template,
    "TemplateVersion": _version,
    "Tool": things.tool,
    "User": _viewer,
    "UserMessage": things.message,
}
"""The types that are read by id; all messages except the user's are read alike."""

BY_ID = ("node", "nodes", "_entities")
"""The fields that read by id."""

SAID = 'content: [{text: "hi [[tokens=2 delay=0]]"}]'
ASKED = 'model: "gpt-4o-mini" messages: [{role: USER content: "hi [[tokens=2 delay=0]]"}]'
KEY = 'idempotencyKey: "counted"'

DONE: dict[str, tuple[str, things.Maker]] = {
    "Mutation.createAgent": (f'input: {{templateId: $id variables: {{company: "C"}} {KEY}}}', _greeter),
    "Mutation.upgradeAgent": ("input: {agentId: $id}", _upgradable),
    "Mutation.updateAgent": ('input: {agentId: $id description: "d" tags: ["t"] model: "gpt-4o-mini"}', things.agent),
    "Mutation.deleteAgent": ("input: {agentId: $id}", things.agent),
    "Mutation.publishTemplate": ("input: {source: $id}", _source),
    "Mutation.createConversation": ("input: {agentId: $id}", things.agent),
    "Mutation.updateConversation": ('input: {conversationId: $id summary: "s"}', things.conversation),
    "Mutation.forkConversation": ("input: {conversationId: $id}", things.conversation),
    "Mutation.deleteConversation": ("input: {conversationId: $id}", things.conversation),
    "Mutation.sendMessage": (
        f"input: {{to: {{conversationId: $id}} {SAID} {KEY} waitSeconds: 20}}",
        things.conversation,
    ),
    "Mutation.startCompletion": (f"input: {{{ASKED} {KEY}}}", _viewer),
    "Mutation.complete": (f"input: {{{ASKED} {KEY}}}", _viewer),
    "Mutation.embed": ('input: {model: "text-embedding-3-small" inputs: ["a"]}', _viewer),
    "Mutation.respondToApproval": ("input: {requestId: $id decision: DENY}", things.approval_request),
    "Mutation.cancelRun": ("input: {runId: $id}", things.run),
    "Mutation.cancelStream": ("input: {streamId: $id}", things.stream),
    "Mutation.updateMemoryBlock": ('input: {blockId: $id value: "v"}', things.block),
    "Mutation.insertPassage": ('input: {agentId: $id text: "t"}', things.agent),
    "Mutation.deletePassage": ("input: {passageId: $id}", things.passage),
    "Mutation.revokeSession": ('input: {sessionId: "00000000-0000-4000-8000-000000000000"}', _viewer),
    "Subscription.stream": ("id: $id", things.stream),
    "Subscription.message": (f'streamKey: "k" input: {{to: {{conversationId: $id}} {SAID}}}', things.conversation),
    "Subscription.completion": (f'streamKey: "k" input: {{{ASKED}}}', _viewer),
}
"""The arguments of each mutation and subscription. ``$id`` is the result of the maker."""

ARGUMENTS: dict[str, tuple[str, things.Maker]] = {
    "Query.agent": ('id: "$id"', things.agent),
    "Query.conversation": ('id: "$id"', things.conversation),
    "Query.run": ('id: "$id"', things.run),
    "Query.stream": ('id: "$id"', things.stream),
    "Agent.searchMemory": ('query: "parcels"', things.agent),
    "Query.template": ('id: "template:support-bot"', things.agent),
    "Query.templateValidation": ('source: "a: b"', things.agent),
    "User.usage": (_DAYS, things.agent),
    "Template.version": ('number: "1.0.0"', things.agent),
}
"""The arguments of a field, and the maker of the object that ``$id`` names."""
