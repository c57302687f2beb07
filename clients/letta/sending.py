"""What starts a turn: a message, or a decision on the tool calls that an earlier turn has asked leave for.

Or nothing: a turn that was begun elsewhere is taken up.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clients.letta.content import ContentPart
from clients.letta.messages import UserMessage
from clients.owned import ConversationRef, OwnedRunId


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A user's message. ``content`` is a list of Letta's parts; ``otid`` is the sender's own id of the message."""

    content: list[dict[str, Any]]
    otid: str

    def wire(self) -> dict[str, Any]:
        """As Letta takes it."""
        return {"role": "user", "content": self.content, "otid": self.otid}

    def record(self, conversation: ConversationRef, run_id: str | None) -> UserMessage:
        """The message as it will be in ``conversation``, before Letta has stored it."""
        content = msgspec.convert(self.content, list[ContentPart])
        return UserMessage(otid=self.otid, read_in=conversation, content=content, run_id=run_id)


class SentDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision on every call of one approval request."""

    tool_call_ids: list[str]
    approve: bool
    reason: str | None
    otid: str

    def wire(self) -> dict[str, Any]:
        """As Letta takes it."""
        decision = {"type": "approval", "approve": self.approve, "reason": self.reason}
        approvals = [{**decision, "tool_call_id": call_id} for call_id in self.tool_call_ids]
        return {"type": "approval", "approvals": approvals, "otid": self.otid}

    def record(self, conversation: ConversationRef, run_id: str | None) -> None:  # noqa: ARG002 - the shape of SentMessage's
        """Nothing of it is shown before Letta has stored it."""
        return


class FollowedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that was begun elsewhere and is taken up: nothing is sent. Letta streams a ``background`` run again."""

    run_id: OwnedRunId
    background: bool
    otid: str = ""

    def record(self, conversation: ConversationRef, run_id: str | None) -> None:  # noqa: ARG002 - the shape of SentMessage's
        """What began it is in the list of messages."""
        return


Sent = SentMessage | SentDecision
