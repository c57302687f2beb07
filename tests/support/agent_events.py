"""Events of an agent's turn, as the kernel delivers them."""

from __future__ import annotations

from clients.letta.messages import AssistantMessage, ReasoningMessage
from clients.owned import ConversationRef
from resolvers.messages import message_node_id
from resolvers.owned import conversation_of_stream
from resolvers.streams.events import Ended, Event, FinishReason, ReasoningDelta, StreamOutcome, TextDelta

AGENT = "agent-00000000-0000-0000-0000-000000000001"
WHERE: ConversationRef = conversation_of_stream(AGENT, None)
COMPLETED = Ended(outcome=StreamOutcome.COMPLETED, finish_reason=FinishReason.END_TURN)


def assistant(number: int, text: str) -> AssistantMessage:
    return AssistantMessage(letta_id=f"message-{number}", otid=f"o{number}", read_in=WHERE, content=text)


def reasoning(number: int, text: str) -> ReasoningMessage:
    return ReasoningMessage(letta_id=f"message-{number}", otid=f"r{number}", read_in=WHERE, reasoning=text)


def deltas(message: AssistantMessage | ReasoningMessage, *texts: str) -> list[Event]:
    """Return the deltas of a message that is streamed in these pieces."""
    kind = ReasoningDelta if isinstance(message, ReasoningMessage) else TextDelta
    return [kind(message_id=message_node_id(message), text=text) for text in texts]
