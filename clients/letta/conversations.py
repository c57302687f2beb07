"""Conversations, and the messages in them.

A *scope* names one conversation: ``conv-…``, or ``agent-…`` for that agent's own, default conversation.
"""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.messages import MessageRecord, decode_page
from clients.letta.records import ConversationRecord
from clients.service import ServiceClient

_CONVERSATION = msgspec.json.Decoder(ConversationRecord)
_CONVERSATIONS = msgspec.json.Decoder(Page[ConversationRecord])


class ConversationCalls(ServiceClient):
    """Part of ``Letta``."""

    async def conversation(self, scope: CallScope, conversation_id: str) -> ConversationRecord:
        """One conversation. Raises NotFound."""
        call = Call(operation="conversation", path=f"/v1/conversations/{conversation_id}", subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def conversations(
        self,
        scope: CallScope,
        agent_id: str,
        *,
        limit: int,
        after: str | None = None,
        search: str | None = None,
    ) -> list[ConversationRecord]:
        """A page of an agent's conversations, newest first; with ``search``, those whose summary contains that text.

        Raises NotFound for an ``after`` that never was; after a deleted one the list goes on.
        """
        params = [("agent_id", agent_id), ("limit", str(limit)), ("order", "desc")]
        params += [("after", after)] if after is not None else []
        params += [("summary_search", _literal(search))] if search else []
        call = Call(operation="conversations", path="/v1/conversations/", params=params, subject=agent_id)
        return await self.read(scope, _CONVERSATIONS, call)

    async def create_conversation(self, scope: CallScope, agent_id: str, summary: str | None) -> ConversationRecord:
        """Start a conversation with an agent."""
        call = Call(
            operation="conversation.create",
            method="POST",
            path="/v1/conversations/",
            params=[("agent_id", agent_id)],
            json={"summary": summary} if summary is not None else {},
            subject=agent_id,
        )
        return await self.read(scope, _CONVERSATION, call)

    async def update_conversation(self, scope: CallScope, conversation_id: str, summary: str) -> ConversationRecord:
        """Say anew what a conversation is about. Raises NotFound."""
        path = f"/v1/conversations/{conversation_id}"
        call = Call(
            operation="conversation.update",
            method="PATCH",
            path=path,
            json={"summary": summary},
            subject=conversation_id,
        )
        return await self.read(scope, _CONVERSATION, call)

    async def fork_conversation(self, scope: CallScope, conversation_id: str) -> ConversationRecord:
        """Begin another conversation with what one remembers. Raises NotFound."""
        path = f"/v1/conversations/{conversation_id}/fork"
        call = Call(operation="conversation.fork", method="POST", path=path, subject=conversation_id)
        return await self.read(scope, _CONVERSATION, call)

    async def delete_conversation(self, scope: CallScope, conversation_id: str) -> None:
        """Delete a conversation. A run in it goes on to its end (tried on 0.16.8). Raises NotFound."""
        path = f"/v1/conversations/{conversation_id}"
        call = Call(operation="conversation.delete", method="DELETE", path=path, subject=conversation_id)
        await self.tell(scope, call)

    async def messages(
        self,
        scope: CallScope,
        conversation: str,
        *,
        limit: int,
        newest_first: bool,
        before: str | None = None,
        after: str | None = None,
    ) -> list[MessageRecord]:
        """A page of a conversation's messages, oldest first in the answer.

        ``newest_first`` says from which end it is taken. ``limit`` counts Letta's messages, each of which can be
        several here. ``before`` and ``after`` are Letta ids, and what is no place is told by nobody (tried on 0.16.8):
        a default conversation takes any message's id for one, whoever's it is, and raises NotFound for one that is
        none; another conversation passes over what it does not know, and the page begins at its end.
        """
        params = [("limit", str(limit)), ("order", "desc" if newest_first else "asc")]
        params += [("before", before)] if before else []
        params += [("after", after)] if after else []
        if conversation.startswith("agent-"):
            path, params = "/v1/conversations/default/messages", [("agent_id", conversation), *params]
        else:
            path = f"/v1/conversations/{conversation}/messages"
        answer = await self.upstream.request(
            scope, Call(operation="messages", path=path, params=params, subject=conversation)
        )
        return decode_page(answer.body, conversation, newest_first=newest_first)


def _literal(text: str) -> str:
    """A text to search for as it stands: Letta searches with SQL's ``LIKE``, whose signs it lets through."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
