"""Ids with a proof of ownership in their type.

``resolvers.access`` alone decides what a user owns, and alone makes these ids. Every upstream call about one object
takes such an id and no plain text, so mypy refuses a call for an id that access has not returned. The id classes exist
for mypy: at run time an id is a plain ``str`` (decision 0047).
"""

from __future__ import annotations

from typing import Never, NewType, Self


class _Id(str):
    """An id that only ``resolvers.access`` makes, by a cast."""

    __slots__ = ()

    def __new__(cls, proof: Never) -> Self:  # noqa: ARG004 - no value has its type
        raise TypeError(f"only resolvers.access makes a {cls.__name__}")


class OwnedAgentId(_Id):
    """An agent of the user's."""

    __slots__ = ()


class OwnedConversationId(_Id):
    """A conversation, ``conv-…``, with an agent of the user's."""

    __slots__ = ()


class OwnedRunId(_Id):
    """A run of an agent of the user's."""

    __slots__ = ()


class OwnedPassageId(_Id):
    """A passage that was read from an agent of the user's."""

    __slots__ = ()


class OwnedBlockId(_Id):
    """A memory block that is attached to agents of the user's alone."""

    __slots__ = ()


class ClaimedConversationId(_Id):
    """An id for the one read that learns which agent a conversation is with. It has the form of a conversation's id."""

    __slots__ = ()


class ClaimedRunId(_Id):
    """The same of a run."""

    __slots__ = ()


class ClaimedStepId(_Id):
    """The same of a step."""

    __slots__ = ()


class ClaimedBlockId(_Id):
    """The same of a memory block."""

    __slots__ = ()


Position = NewType("Position", str)
"""The id of an item before or after which a page of an owned list begins: it selects where, and not what, is read."""


class ConversationRef(str):
    """A conversation with an agent of the user's. Its text is ``conv-…``, or ``agent-…`` for the default conversation.

    Attributes:
        agent_id: the agent.
        conversation_id: the conversation; ``None`` for the agent's default conversation.
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
        """The parameter that tells Letta whose default conversation the path means; empty for any other."""
        return {"agent_id": self.agent_id} if self.conversation_id is None else {}
