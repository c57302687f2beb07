"""Conversations: pages of them, and how they are created, changed, forked and deleted."""

from __future__ import annotations

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
from resolvers.doubt import Doubt
from resolvers.info import Info
from resolvers.loader_keys import ConversationWindow
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
    try:
        position = None if after is None else Position(after)
        key = ConversationWindow(agent_id, window.size + 1, position, search)
        records = await context.loaders.conversations.load(key)
    except NotFound as error:
        raise not_of_this_list() from error
    edges = [conversation_edge(record) for record in conversations_of(agent_id, records)[: window.size]]
    return page(edges, window, more=len(records) > window.size)


def conversation_edge(record: OwnedConversation) -> Edge[OwnedConversation]:
    """Return the conversation's edge in its agent's list."""
    return Edge(record, encode_cursor(record.id))


async def create(
    context: RequestContext, agent_id: str, summary: str | None, key: str | None
) -> Edge[OwnedConversation]:
    """Create a conversation with an agent of the user's, once per key.

    Raises:
        Conflict: reason ``KEY_REUSED``; ``OUTCOME_UNKNOWN``, if Letta did not confirm the conversation.
    """
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

    doubt = Doubt(message=_UNCONFIRMED, look=find)
    answer = await context.idempotent(key, "createConversation", (agent_id, summary), created, doubt=doubt)
    return conversation_edge(_owned(row.agent_id, answer))


_UNCONFIRMED = (
    "Letta did not confirm the new conversation. Retry with the same key: the gateway looks for the conversation "
    "first. If this error repeats, or if there was no key, look in the agent's conversations before you use a new key."
)
_NEWEST = 50
"""The number of an agent's newest conversations that are searched for a new one."""


async def _created_since(context: RequestContext, agent_id: OwnedAgentId, since: datetime) -> list[ConversationRecord]:
    """Read the agent's conversations since a time that no known request of this process has created.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, if there are more than are searched, or if one may be of a request that is
            running or whose id was evicted.
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
    """Note that a request of this process has created the conversation, and return it."""
    context.resources.created_ids.add(context.principal.user_id, record.id)
    return record


def _owned(agent_id: OwnedAgentId, record: ConversationRecord) -> OwnedConversation:
    """Return a record as a conversation with the agent. Raises NotFound if it is with another agent."""
    for owned in conversations_of(agent_id, [record]):
        return owned
    raise not_found("conversation")


async def update(context: RequestContext, conversation_id: str, summary: str) -> OwnedConversation:
    """Change the summary of a conversation of the user's."""
    agent_id, owned_id = await _stored(context, conversation_id)
    checks.text(summary, "summary", checks.MAX_SUMMARY)
    updated = await context.resources.letta.update_conversation(context.scope, owned_id, summary)
    context.forget()
    return _owned(agent_id, updated)


async def fork(context: RequestContext, conversation_id: str, key: str | None) -> Edge[OwnedConversation]:
    """Create a conversation that begins with the messages of one of the user's, once per key.

    A repetition returns the same conversation if the original is deleted, but not if the user has lost the agent.
    """

    async def forked() -> ConversationRecord:
        agent_id, owned_id = await _stored(context, conversation_id)
        with context.resources.created_ids.creating(agent_id):
            return _noted(context, await context.resources.letta.fork_conversation(context.scope, owned_id))

    async def find(since: datetime) -> ConversationRecord | None:
        agent_id, _ = await _stored(context, conversation_id)
        found = await _created_since(context, agent_id, since)
        if any(one.id != conversation_id for one in found):  # any of them may be the fork: nothing distinguishes it
            raise outcome_unknown(_UNCONFIRMED)
        return None

    doubt = Doubt(message=_UNCONFIRMED, look=find)
    record = await context.idempotent(key, "forkConversation", (conversation_id,), forked, doubt=doubt)
    agent = await context.access.agent(record.agent_id)
    return conversation_edge(_owned(agent.agent_id, record))


async def delete(context: RequestContext, conversation_id: str) -> str:
    """Delete a conversation of the user's. Returns its id.

    Its active runs are cancelled first: Letta continues them to their end, and the user pays.
    """
    agent_id, owned_id = await _stored(context, conversation_id)
    letta = context.resources.letta
    for run in runs_of(agent_id, await context.loaders.active_runs.load(agent_id)):
        if run.conversation_id == owned_id:
            await letta.cancel(context.scope, agent_id, run.id)
    await letta.delete_conversation(context.scope, owned_id)
    return owned_id


async def by_ref(context: RequestContext, ref: ConversationRef) -> OwnedConversation:
    """Return the conversation; a default one without a read. Raises NotFound."""
    if ref.conversation_id is None:
        return default_conversation(ref.agent_id)
    return await context.access.conversation(ref.conversation_id)


async def by_ref_if_kept(context: RequestContext, ref: ConversationRef) -> OwnedConversation | None:
    """Return the conversation, unless it is deleted."""
    try:
        return await by_ref(context, ref)
    except NotFound:
        return None


async def _stored(context: RequestContext, conversation_id: str) -> tuple[OwnedAgentId, OwnedConversationId]:
    """Return the ids of the agent and of a conversation of the user's. Refuses a default conversation.

    It has no record in Letta. After a fork, Letta lists its messages only in the fork (tried on 0.16.8).
    """
    ref = ref_of(await context.access.conversation(conversation_id))
    if ref.conversation_id is None:
        raise BadUserInput(
            "An agent's default conversation cannot be changed, forked or deleted.", reason=Reason.DEFAULT_CONVERSATION
        )
    return ref.agent_id, ref.conversation_id


async def agent(record: Parent[OwnedConversation], info: Info) -> OwnedAgent:
    """Return the conversation's agent."""
    return await info.context.access.agent(record.agent_id)
