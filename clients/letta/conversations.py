"""Reads and changes conversations in Letta, and reads messages."""

import msgspec

from clients.calls import Call, CallScope, query_params
from clients.decode import Page
from clients.letta.messages import MessageRecord, decode_page
from clients.letta.records import ConversationRecord
from clients.owned import ClaimedConversationId, ConversationRef, OwnedAgentId, OwnedConversationId, Position
from clients.service import ServiceClient

_CONVERSATION = msgspec.json.Decoder(ConversationRecord)
_CONVERSATIONS = msgspec.json.Decoder(Page[ConversationRecord])


class ConversationCalls(ServiceClient):
    """Reads and changes conversations in Letta. The methods raise NotFound for an unknown conversation."""

    async def conversation(self, scope: CallScope, conversation_id: ClaimedConversationId) -> ConversationRecord:
        """Read a conversation."""
        call = Call("conversation", f"/v1/conversations/{conversation_id}", subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def conversations(
        self,
        scope: CallScope,
        agent_id: OwnedAgentId,
        *,
        limit: int,
        after: Position | None = None,
        search: str | None = None,
    ) -> list[ConversationRecord]:
        """Read a page of an agent's conversations, newest first.

        Each conversation's summary contains ``search``. Raises NotFound for an unknown ``after``, but not for the id of
        a deleted conversation.
        """
        params = query_params(agent_id=agent_id, limit=limit, order="desc", after=after)
        params += query_params(summary_search=_literal(search or ""))
        call = Call("conversations", "/v1/conversations/", params=params, subject=agent_id)
        return await self.read(scope, _CONVERSATIONS, call)

    async def create_conversation(
        self, scope: CallScope, agent_id: OwnedAgentId, summary: str | None
    ) -> ConversationRecord:
        """Create a conversation with an agent."""
        call = Call(
            "conversation.create",
            "/v1/conversations/",
            "POST",
            params=[("agent_id", agent_id)],
            json={"summary": summary} if summary is not None else {},
            subject=agent_id,
        )
        return await self.read(scope, _CONVERSATION, call)

    async def update_conversation(
        self, scope: CallScope, conversation_id: OwnedConversationId, summary: str
    ) -> ConversationRecord:
        """Change a conversation's summary."""
        path = f"/v1/conversations/{conversation_id}"
        call = Call("conversation.update", path, "PATCH", json={"summary": summary}, subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def fork_conversation(self, scope: CallScope, conversation_id: OwnedConversationId) -> ConversationRecord:
        """Create a conversation that begins with another conversation's messages."""
        call = Call("conversation.fork", f"/v1/conversations/{conversation_id}/fork", "POST", subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def delete_conversation(self, scope: CallScope, conversation_id: OwnedConversationId) -> None:
        """Delete a conversation. Letta 0.16.8 does not cancel a run of the conversation."""
        path = f"/v1/conversations/{conversation_id}"
        call = Call("conversation.delete", path, "DELETE", subject=conversation_id)
        await self.write(scope, call)

    async def messages(
        self,
        scope: CallScope,
        conversation: ConversationRef,
        *,
        limit: int,
        newest_first: bool,
        before: Position | None = None,
        after: Position | None = None,
    ) -> list[MessageRecord]:
        """Read a page of a conversation's messages, sorted from oldest to newest.

        The page has the newest or the oldest of the messages that are older than ``before`` and newer than ``after``.
        ``limit`` is the number of Letta's messages. Each of these messages can become several records.

        In a default conversation, Letta 0.16.8 accepts the id of any message, even from another conversation, and
        refuses an unknown id (NotFound). In other conversations, Letta ignores an unknown id.
        """
        order = "desc" if newest_first else "asc"
        params = query_params(**conversation.agent_parameter, limit=limit, order=order, before=before, after=after)
        call = Call("messages", conversation.messages_path, params=params, subject=conversation)
        return await self.parsed(scope, call, lambda body: decode_page(body, conversation, newest_first=newest_first))


def _literal(text: str) -> str:
    """Escape the wildcards of SQL's ``LIKE`` in a text. Letta searches with ``LIKE``."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
