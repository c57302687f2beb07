"""The inputs of turns: a message, a decision on tool calls that wait for approval, or a run to follow."""

from __future__ import annotations

from typing import Any

import msgspec

from clients.letta.content import ContentPart
from clients.letta.messages import UserMessage
from clients.owned import ConversationRef, OwnedRunId


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A user's message. ``content`` is a list of Letta's parts; ``otid`` is the id that the sender gives it."""

    content: list[dict[str, Any]]
    otid: str

    def wire(self) -> dict[str, Any]:
        """The JSON for Letta."""
        return {"role": "user", "content": self.content, "otid": self.otid}

    def record(self, conversation: ConversationRef, run_id: str | None) -> UserMessage:
        """The message as it is read later, before Letta has stored it."""
        content = msgspec.convert(self.content, list[ContentPart])
        return UserMessage(otid=self.otid, read_in=conversation, content=content, run_id=run_id)


class _Unshown(msgspec.Struct, frozen=True):
    def record(self, conversation: ConversationRef, run_id: str | None) -> None:
        """No message is shown before Letta has stored it."""


class SentDecision(_Unshown, frozen=True, kw_only=True):
    """A decision on all calls of one approval request."""

    tool_call_ids: list[str]
    approve: bool
    reason: str | None
    otid: str

    def wire(self) -> dict[str, Any]:
        """The JSON for Letta."""
        decision = {"type": "approval", "approve": self.approve, "reason": self.reason}
        approvals = [{**decision, "tool_call_id": call_id} for call_id in self.tool_call_ids]
        return {"type": "approval", "approvals": approvals, "otid": self.otid}


class FollowedRun(_Unshown, frozen=True, kw_only=True):
    """A turn that began elsewhere: nothing is sent. Letta can stream a ``background`` run again."""

    run_id: OwnedRunId
    background: bool
    otid: str = ""


Sent = SentMessage | SentDecision
