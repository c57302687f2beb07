"""Conversations: lists of them, one of them, a new one."""

from __future__ import annotations

from datetime import datetime
from typing import overload

from strawberry import Parent

from clients.ams import AgentRow
from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord
from clients.outcome import outcome_unknown
from resolvers import checks
from resolvers.access import DEFAULT_PREFIX
from resolvers.context import RequestContext
from resolvers.doubt import Doubt
from resolvers.info import Info
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, moment, not_of_this_list, page


async def conversation_page(
    context: RequestContext, agent_id: str, asked: Window, search: str | None = None
) -> Page[ConversationRecord]:
    """An agent's conversations, newest first. The caller has proved that the agent is the principal's."""
    search = checks.search(search)
    after = None if asked.cursor is None else decode_cursor(asked.cursor, str)
    if after is not None and not is_letta_id(after, "conv"):
        raise not_of_this_list()
    try:
        records = await context.loaders.conversations.load((agent_id, asked.size + 1, after, search))
    except NotFound as error:
        raise not_of_this_list() from error
    own = [record for record in records if record.agent_id == agent_id]
    edges = [conversation_edge(record) for record in own[: asked.size]]
    return page(edges, asked, more=len(records) > asked.size)


def conversation_edge(record: ConversationRecord) -> Edge[ConversationRecord]:
    """The conversation in its place in its agent's list."""
    return Edge(record, encode_cursor(record.id))


async def create(
    context: RequestContext, agent_id: str, summary: str | None, key: str | None
) -> Edge[ConversationRecord]:
    """Start a conversation with an agent of the principal's; with the same key, the one that it has started.

    Raises:
        Conflict: reason ``KEY_REUSED``; ``OUTCOME_UNKNOWN``, where Letta did not confirm it.
    """
    row = await context.access.agent(agent_id)
    checks.text(summary, "summary", checks.MAX_SUMMARY)

    async def made() -> ConversationRecord:
        letta = context.resources.letta
        with context.resources.made_ids.making(row.agent_id):
            return _noted(context, await letta.create_conversation(context.scope, row.agent_id, summary))

    async def look(since: datetime) -> ConversationRecord | None:
        found = await _unaccounted(context, row.agent_id, since)
        return _noted(context, _only([one for one in found if (one.summary or None) == (summary or None)]))

    doubt = Doubt(message=_UNCONFIRMED, look=look)
    return conversation_edge(await context.once(key, "createConversation", (agent_id, summary), made, doubt=doubt))


_UNCONFIRMED = (
    "Letta did not confirm the new conversation. Retry with the same key: the gateway looks for the conversation "
    "first. If this error repeats, or if there was no key, look in the agent's conversations before you use a new key."
)
_NEWEST = 50
"""How many of an agent's newest conversations are looked through for one that was made."""


async def _unaccounted(context: RequestContext, agent_id: str, since: datetime) -> list[ConversationRecord]:
    """The agent's conversations made since a time that no request of this process is known to have made.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, where there are more than are looked through, and where one may be of a
            request that is under way or that is forgotten.
    """
    made_ids, user_id = context.resources.made_ids, context.principal.user_id
    records = await context.resources.letta.conversations(context.renewed().scope, agent_id, limit=_NEWEST)
    recent = [one for one in records if one.created_at is None or moment(one.created_at) >= since]
    if len(recent) == _NEWEST:
        raise outcome_unknown(_UNCONFIRMED)
    found = [one for one in recent if one.agent_id == agent_id and not made_ids.has(user_id, one.id)]
    if found and not made_ids.knows_all(user_id, agent_id, since):
        raise outcome_unknown(_UNCONFIRMED)
    return found


def _only(found: list[ConversationRecord]) -> ConversationRecord | None:
    """The one that was found, if any. Raises Conflict (``OUTCOME_UNKNOWN``) where several could be it."""
    if len(found) > 1:
        raise outcome_unknown(_UNCONFIRMED)
    return found[0] if found else None


@overload
def _noted(context: RequestContext, record: ConversationRecord) -> ConversationRecord: ...
@overload
def _noted(context: RequestContext, record: ConversationRecord | None) -> ConversationRecord | None: ...
def _noted(context: RequestContext, record: ConversationRecord | None) -> ConversationRecord | None:
    """The conversation, accounted for."""
    if record is not None:
        context.resources.made_ids.add(context.principal.user_id, record.id)
    return record


async def update(context: RequestContext, conversation_id: str, summary: str) -> ConversationRecord:
    """Say anew what a conversation of the principal's is about."""
    record = await _made(context, conversation_id)
    checks.text(summary, "summary", checks.MAX_SUMMARY)
    updated = await context.resources.letta.update_conversation(context.scope, record.id, summary)
    context.forget()
    return updated


async def fork(context: RequestContext, conversation_id: str, key: str | None) -> Edge[ConversationRecord]:
    """Begin another conversation with what one of the principal's remembers; as ``create`` with a key.

    Under a key the answer stays the same where the origin is deleted meanwhile, but not where the agent is no longer
    the principal's.
    """

    async def forked() -> ConversationRecord:
        record = await _made(context, conversation_id)
        with context.resources.made_ids.making(record.agent_id):
            return _noted(context, await context.resources.letta.fork_conversation(context.scope, record.id))

    async def look(since: datetime) -> ConversationRecord | None:
        found = await _unaccounted(context, (await _made(context, conversation_id)).agent_id, since)
        if any(one.id != conversation_id for one in found):  # any of them may be the fork: it has no mark of its own
            raise outcome_unknown(_UNCONFIRMED)
        return None

    doubt = Doubt(message=_UNCONFIRMED, look=look)
    fork_made = await context.once(key, "forkConversation", (conversation_id,), forked, doubt=doubt)
    await context.access.agent(fork_made.agent_id)
    return conversation_edge(fork_made)


async def delete(context: RequestContext, conversation_id: str) -> str:
    """Delete a conversation of the principal's; answers its id.

    What runs in it is stopped first: Letta lets it go on to its end, and somebody pays for that.
    """
    record = await _made(context, conversation_id)
    letta = context.resources.letta
    for run in await context.loaders.active_runs.load(record.agent_id):
        if run.conversation_id == record.id:
            await letta.cancel(context.scope, run)
    await letta.delete_conversation(context.scope, record.id)
    return record.id


async def still_there(context: RequestContext, conversation_id: str) -> ConversationRecord | None:
    """A conversation of the principal's, unless it is deleted."""
    try:
        return await context.access.conversation(conversation_id)
    except NotFound:
        return None


async def _made(context: RequestContext, conversation_id: str) -> ConversationRecord:
    """A conversation of the principal's that was made.

    A default one has no record in Letta to change or delete; once it is forked, Letta lists its messages in the fork
    alone (tried on 0.16.8).
    """
    record = await context.access.conversation(conversation_id)
    if record.id.startswith(DEFAULT_PREFIX):
        raise BadUserInput(
            "An agent's default conversation cannot be changed, forked or deleted.",
            reason=Reason.DEFAULT_CONVERSATION,
        )
    return record


async def agent(record: Parent[ConversationRecord], info: Info) -> AgentRow:
    """The agent it is held with."""
    return await info.context.access.agent(record.agent_id)
