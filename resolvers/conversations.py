"""Reads, creates, changes, forks and deletes conversations."""

import asyncio
from datetime import datetime

from strawberry import Parent

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord
from clients.outcome import outcome_unknown
from clients.owned import ConversationRef, OwnedAgentId, OwnedConversationId, Position
from resolvers import checks
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loader_keys import ConversationWindow
from resolvers.outcome_unknown import OutcomeUnknown
from resolvers.owned import (
    OwnedAgent,
    OwnedConversation,
    conversations_of,
    default_conversation,
    not_found,
    ref_of,
    runs_of,
)
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, moment, not_of_this_list, page


async def conversation_page(
    context: RequestContext, agent_id: OwnedAgentId, window: Window, search: str | None = None
) -> Page[OwnedConversation]:
    """Read a page of an agent's conversations, newest first."""
    search = checks.search(search)
    after = None if window.cursor is None else decode_cursor(window.cursor, str)
    if after is not None and not is_letta_id(after, "conv"):
        raise not_of_this_list()
    position = None if after is None else Position(after)
    records = await _records(context, ConversationWindow(agent_id, window.size + 1, position, search))
    return page(conversations_of(agent_id, records)[: window.size], _cursor, window, more=len(records) > window.size)


async def _records(context: RequestContext, key: ConversationWindow) -> list[ConversationRecord]:
    """Read an agent's conversations after a position.

    Letta accepts every user's conversations as positions, and deleted conversations. So the gateway also reads the
    position's conversation, at the same time.
    """
    load = context.loaders.conversations.load
    if key.after is None:
        return await load(key)
    try:
        records, owner = await asyncio.gather(load(key), context.access.agent_of_conversation(key.after))
    except NotFound as error:
        raise not_of_this_list() from error
    if owner not in {None, key.agent_id}:
        raise not_of_this_list()
    return records


def conversation_edge(record: OwnedConversation) -> Edge[OwnedConversation]:
    """Return the conversation's edge in the list of the agent's conversations."""
    return Edge(record, _cursor)


def _cursor(record: OwnedConversation) -> str:
    return encode_cursor(record.id)


async def create(
    context: RequestContext, agent_id: str, summary: str | None, key: str | None
) -> Edge[OwnedConversation]:
    """Create a conversation for the user's agent, once per idempotency key. Raises Conflict (``OUTCOME_UNKNOWN``)."""
    row = await context.access.agent(agent_id)
    checks.text(summary, "summary", checks.MAX_SUMMARY)

    async def created() -> ConversationRecord:
        letta = context.resources.letta
        with context.resources.created_ids.creating(row.agent_id):
            return _noted(context, await letta.create_conversation(context.scope, row.agent_id, summary))

    async def find(since: datetime) -> ConversationRecord | None:
        recent = await _created_since(context, row.agent_id, since)
        found = [one for one in recent if (one.summary or None) == (summary or None)]
        if len(found) > 1:
            raise outcome_unknown(_UNCONFIRMED)
        return _noted(context, found[0]) if found else None

    on_unknown = OutcomeUnknown(message=_UNCONFIRMED, find=find)
    parts, kind = (agent_id, summary), ConversationRecord
    answer = await context.idempotent(key, "createConversation", parts, created, kind, on_unknown=on_unknown)
    return conversation_edge(_owned(row.agent_id, answer))


_UNCONFIRMED = (
    "Letta did not confirm the new conversation. Retry with the same key: the gateway first searches for the "
    "conversation. If this error repeats or the request had no key, check the agent's conversations before you retry "
    "with a new key."
)
_NEWEST = 50
"""The number of newest conversations among which the gateway searches for an earlier attempt's conversation."""


async def _created_since(context: RequestContext, agent_id: OwnedAgentId, since: datetime) -> list[ConversationRecord]:
    """Return the agent's conversations that are newer than ``since``. Omit conversations that this process has created.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, if there are too many new conversations, or this process may have created
            one of them.
    """
    created_ids, user_id = context.resources.created_ids, context.principal.user_id
    records = await context.resources.letta.conversations(context.renewed().scope, agent_id, limit=_NEWEST)
    recent = [one for one in records if one.created_at is None or moment(one.created_at) >= since]
    if len(recent) == _NEWEST:
        raise outcome_unknown(_UNCONFIRMED)
    found = [one for one in recent if one.agent_id == agent_id and not created_ids.has(user_id, one.id)]
    if found and not created_ids.knows_all(user_id, agent_id, since):
        raise outcome_unknown(_UNCONFIRMED)
    return found


def _noted(context: RequestContext, record: ConversationRecord) -> ConversationRecord:
    context.resources.created_ids.add(context.principal.user_id, record.id)
    return record


def _owned(agent_id: OwnedAgentId, record: ConversationRecord) -> OwnedConversation:
    for owned in conversations_of(agent_id, [record]):
        return owned
    raise not_found("conversation")


async def update(context: RequestContext, conversation_id: str, summary: str) -> OwnedConversation:
    """Change the summary of the user's conversation."""
    agent_id, owned_id = await _stored(context, conversation_id)
    checks.text(summary, "summary", checks.MAX_SUMMARY)
    updated = await context.resources.letta.update_conversation(context.scope, owned_id, summary)
    context.reset_loaders()
    return _owned(agent_id, updated)


async def fork(context: RequestContext, conversation_id: str, key: str | None) -> Edge[OwnedConversation]:
    """Copy the user's conversation, once per idempotency key.

    A retry succeeds even if the original conversation was deleted.
    """

    async def forked() -> ConversationRecord:
        agent_id, owned_id = await _stored(context, conversation_id)
        with context.resources.created_ids.creating(agent_id):
            return _noted(context, await context.resources.letta.fork_conversation(context.scope, owned_id))

    async def find(since: datetime) -> ConversationRecord | None:
        agent_id, _ = await _stored(context, conversation_id)
        found = await _created_since(context, agent_id, since)
        if any(one.id != conversation_id for one in found):  # nothing distinguishes a fork from other conversations
            raise outcome_unknown(_UNCONFIRMED)
        return None

    on_unknown = OutcomeUnknown(message=_UNCONFIRMED, find=find)
    parts, kind = (conversation_id,), ConversationRecord
    record = await context.idempotent(key, "forkConversation", parts, forked, kind, on_unknown=on_unknown)
    agent = await context.access.agent(record.agent_id)
    return conversation_edge(_owned(agent.agent_id, record))


async def delete(context: RequestContext, conversation_id: str) -> str:
    """Cancel the active runs in the user's conversation and delete the conversation. Return the conversation's id."""
    agent_id, owned_id = await _stored(context, conversation_id)
    letta = context.resources.letta
    for run in runs_of(agent_id, await context.loaders.active_runs.load(agent_id)):
        if run.conversation_id == owned_id:
            await letta.cancel(context.scope, agent_id, run.id)
    await letta.delete_conversation(context.scope, owned_id)
    return owned_id


async def by_ref(context: RequestContext, ref: ConversationRef) -> OwnedConversation:
    """Return a conversation by its reference. Raises NotFound."""
    if ref.conversation_id is None:
        return default_conversation(ref.agent_id)
    return await context.access.conversation(ref.conversation_id)


async def by_ref_or_none(context: RequestContext, ref: ConversationRef) -> OwnedConversation | None:
    """Return a conversation by its reference, or ``None`` if the conversation was deleted."""
    try:
        return await by_ref(context, ref)
    except NotFound:
        return None


async def _stored(context: RequestContext, conversation_id: str) -> tuple[OwnedAgentId, OwnedConversationId]:
    """Return the conversation's id and the agent's id. Raise BadUserInput for a default conversation.

    After a fork of a default conversation, Letta lists the conversation's messages only in the fork (tried on 0.16.8).
    """
    ref = ref_of(await context.access.conversation(conversation_id))
    if ref.conversation_id is None:
        raise BadUserInput(
            "An agent's default conversation cannot be changed, forked or deleted. Use another conversation.",
            reason=Reason.DEFAULT_CONVERSATION,
        )
    return ref.agent_id, ref.conversation_id


async def agent(record: Parent[OwnedConversation], info: Info) -> OwnedAgent:
    """Return the conversation's agent."""
    return await info.context.access.agent(record.agent_id)
