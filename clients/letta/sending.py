"""Types for a user's message or decision, and for a run that another program started."""

from typing import Any

import msgspec

from clients.letta.content import ContentPart
from clients.letta.messages import UserMessage
from clients.owned import ConversationRef, OwnedRunId


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message from a user to Letta.

    ``content`` is a list of parts in Letta's form. The user's client chose ``otid``.
    """

    content: list[dict[str, Any]]
    otid: str

    def wire(self) -> dict[str, Any]:
        """Return the message as a JSON object for Letta's API."""
        return {"role": "user", "content": self.content, "otid": self.otid}

    def record(self, conversation: ConversationRef, run_id: str | None) -> UserMessage:
        """Convert the message to a ``UserMessage`` that Letta has not stored yet."""
        content = msgspec.convert(self.content, tuple[ContentPart, ...])
        return UserMessage(otid=self.otid, read_in=conversation, content=content, run_id=run_id)


class _Unshown(msgspec.Struct, frozen=True):
    def record(self, conversation: ConversationRef, run_id: str | None) -> None:
        """Return ``None``. Clients see the turn's first message only after Letta has stored that message."""


class SentDecision(_Unshown, frozen=True, kw_only=True):
    """A user's decision on an approval request. The decision applies to all tool calls of the request."""

    tool_call_ids: list[str]
    approve: bool
    reason: str | None
    otid: str

    def wire(self) -> dict[str, Any]:
        """Return the decision as a JSON object for Letta's API."""
        decision = {"type": "approval", "approve": self.approve, "reason": self.reason}
        approvals = [{**decision, "tool_call_id": call_id} for call_id in self.tool_call_ids]
        return {"type": "approval", "approvals": approvals, "otid": self.otid}


class FollowedRun(_Unshown, frozen=True, kw_only=True):
    """A run that another program started. The gateway reads the run's stream.

    If ``background`` is true, Letta can replay the run's stream. If ``is_over`` is true, the run has ended.
    """

    run_id: OwnedRunId
    background: bool
    is_over: bool = False
    otid: str = ""


Sent = SentMessage | SentDecision
