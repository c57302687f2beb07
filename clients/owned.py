"""Types for ids of objects that the user owns.

Only ``resolvers.access`` decides what a user owns, and makes these ids. An upstream call about one object takes such an
id, so mypy refuses a call with an unchecked id. At run time, an id is a plain ``str`` (decision 0047).
"""

from typing import Never, NewType, Self


class _Id(str):
    """The base type of ids that only ``resolvers.access`` creates, by a cast."""

    __slots__ = ()

    def __new__(cls, proof: Never) -> Self:  # noqa: ARG004 - no value has its type
        raise TypeError(f"only resolvers.access makes a {cls.__name__}")


class OwnedAgentId(_Id):
    """The id of an agent that the user owns."""


class OwnedConversationId(_Id):
    """The id (``conv-…``) of a conversation with an agent that the user owns."""


class OwnedRunId(_Id):
    """The id of a run that belongs to one of the user's agents."""


class OwnedPassageId(_Id):
    """The id of a memory passage that belongs to one of the user's agents."""


class OwnedBlockId(_Id):
    """The id of a memory block that is not attached to another user's agent."""


class ClaimedConversationId(_Id):
    """The id of a conversation whose owner has not been checked. The id's format has been checked."""


class ClaimedRunId(_Id):
    """The id of a run whose owner the gateway has not checked yet."""


class ClaimedStepId(_Id):
    """The id of a step whose owner the gateway has not checked yet."""


class ClaimedBlockId(_Id):
    """The id of a memory block whose owner the gateway has not checked yet."""


Position = NewType("Position", str)
"""The id of the last item on a page of a list.

The next page continues from the item. A position does not prove ownership.
"""


class ConversationRef(str):
    """Identifies a conversation in Letta.

    The reference is a conversation's id (``conv-…``), or an agent's id (``agent-…``) for the agent's default
    conversation. ``conversation_id`` is ``None`` for the default conversation.
    """

    __slots__ = ("agent_id", "conversation_id")

    agent_id: OwnedAgentId
    conversation_id: OwnedConversationId | None

    def __new__(cls, agent_id: OwnedAgentId, conversation_id: OwnedConversationId | None = None) -> Self:
        """Make a reference to a conversation."""
        ref = super().__new__(cls, agent_id if conversation_id is None else conversation_id)
        ref.agent_id = agent_id
        ref.conversation_id = conversation_id
        return ref

    @property
    def messages_path(self) -> str:
        """The path of the conversation's messages in Letta's API."""
        return f"/v1/conversations/{self.conversation_id or 'default'}/messages"

    @property
    def agent_parameter(self) -> dict[str, str]:
        """The query parameter that identifies an agent's default conversation.

        Other conversations have no such parameter.
        """
        return {"agent_id": self.agent_id} if self.conversation_id is None else {}
