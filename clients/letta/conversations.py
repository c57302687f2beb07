"""Calls for conversations and their messages."""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.messages import MessageRecord, decode_page
from clients.letta.records import ConversationRecord
from clients.owned import ClaimedConversationId, ConversationRef, OwnedAgentId, OwnedConversationId, Position
from clients.service import ServiceClient

_CONVERSATION = msgspec.json.Decoder(ConversationRecord)
_CONVERSATIONS = msgspec.json.Decoder(Page[ConversationRecord])


class ConversationCalls(ServiceClient):
    """The calls of ``Letta`` for conversations and messages."""

    async def conversation(self, scope: CallScope, conversation_id: ClaimedConversationId) -> ConversationRecord:
        """Read a conversation. Raises NotFound."""
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
        """Read a page of an agent's conversations, newest first; with ``search``, those whose summary contains it.

        Raises NotFound for an unknown ``after``. After a deleted conversation the list continues.
        """
        params = [("agent_id", agent_id), ("limit", str(limit)), ("order", "desc")]
        params += [("after", after)] if after is not None else []
        params += [("summary_search", _literal(search))] if search else []
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
        """Change the summary of a conversation. Raises NotFound."""
        path = f"/v1/conversations/{conversation_id}"
        call = Call("conversation.update", path, "PATCH", json={"summary": summary}, subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def fork_conversation(self, scope: CallScope, conversation_id: OwnedConversationId) -> ConversationRecord:
        """Create a conversation with the messages of another one. Raises NotFound."""
        path = f"/v1/conversations/{conversation_id}/fork"
        call = Call("conversation.fork", path, "POST", subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def delete_conversation(self, scope: CallScope, conversation_id: OwnedConversationId) -> None:
        """Delete a conversation. A run in it is not cancelled (Letta 0.16.8). Raises NotFound."""
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
        """Read a page of a conversation's messages. They are returned oldest first.

        A default conversation accepts the id of any message, also of another conversation, and raises NotFound for an
        unknown one. Other conversations ignore an unknown id (Letta 0.16.8).

        ``limit`` counts Letta's messages, each of which can be several records. The page is taken from the newest or
        the oldest end of the messages older than ``before`` and newer than ``after``.
        """
        params = [*conversation.agent_parameter.items(), ("limit", str(limit))]
        params.append(("order", "desc" if newest_first else "asc"))
        params += [("before", before)] if before else []
        params += [("after", after)] if after else []
        answer = await self.upstream.request(
            scope, Call("messages", conversation.messages_path, params=params, subject=conversation)
        )
        return decode_page(answer.body, conversation, newest_first=newest_first)


def _literal(text: str) -> str:
    """Escape a text for Letta's search, which is SQL's ``LIKE``."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
