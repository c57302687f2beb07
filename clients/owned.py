"""Ids with a proof of ownership in their type.

Only ``resolvers.access`` decides what a user owns, and makes these ids. Every upstream call about one object takes such
an id, so mypy refuses a call for an id that ``access`` has not returned. At run time an id is a plain ``str`` (decision
0047).
"""

from __future__ import annotations

from typing import Never, NewType, Self


class _Id(str):
    """An id that only ``resolvers.access`` makes, by a cast."""

    __slots__ = ()

    def __new__(cls, proof: Never) -> Self:  # noqa: ARG004 - no value has its type
        raise TypeError(f"only resolvers.access makes a {cls.__name__}")


class OwnedAgentId(_Id):
    """An agent of the user."""


class OwnedConversationId(_Id):
    """A conversation, ``conv-…``, with an agent of the user."""


class OwnedRunId(_Id):
    """A run of an agent of the user."""


class OwnedPassageId(_Id):
    """A passage that was read from an agent of the user."""


class OwnedBlockId(_Id):
    """A memory block that is attached to no other user's agents."""


class ClaimedConversationId(_Id):
    """An id for the one read that learns which agent a conversation is with. Only its form has been checked."""


class ClaimedRunId(_Id):
    """The same for a run."""


class ClaimedStepId(_Id):
    """The same for a step."""


class ClaimedBlockId(_Id):
    """The same for a memory block."""


Position = NewType("Position", str)
"""The id of the item before or after which a page of an owned list begins. It gives access to nothing."""


class ConversationRef(str):
    """A conversation with an agent of the user. Its text is ``conv-…``, or ``agent-…`` for the default conversation.

    ``conversation_id`` is ``None`` for the default conversation.
    """

    __slots__ = ("agent_id", "conversation_id")

    agent_id: OwnedAgentId
    conversation_id: OwnedConversationId | None

    def __new__(cls, agent_id: OwnedAgentId, conversation_id: OwnedConversationId | None = None) -> Self:
        """Refer to a conversation by owned ids."""
        ref = super().__new__(cls, agent_id if conversation_id is None else conversation_id)
        ref.agent_id = agent_id
        ref.conversation_id = conversation_id
        return ref

    @property
    def messages_path(self) -> str:
        """The path of its messages in Letta."""
        return f"/v1/conversations/{self.conversation_id or 'default'}/messages"

    @property
    def agent_parameter(self) -> dict[str, str]:
        """The parameter by which Letta finds the default conversation of an agent; empty for other conversations."""
        return {"agent_id": self.agent_id} if self.conversation_id is None else {}
