"""Reads the texts of an agent's answer from the events of a turn, for both formats of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.rest.envelope import failure_of
from clients.codes import Reason
from clients.errors import Conflict, GatewayError
from clients.letta.messages import AssistantMessage, ReasoningMessage
from resolvers.messages import message_node_id
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded
from resolvers.streams.events import Ended, Event, FinishReason, ReasoningDelta, StreamOutcome, TextDelta


class Piece(NamedTuple):
    """A piece of the text of one of the agent's messages, or of the model's reasoning.

    ``message_id`` is the message's GraphQL id.
    """

    message_id: str
    text: str
    is_reasoning: bool = False


class Pieces:
    """Translates a turn's events to pieces of text.

    A stored message whose deltas are missing, for example because Letta could not replay the run, is a piece too.

    Attributes:
        approval_id: the GraphQL id of the approval request that has ended the turn.
    """

    __slots__ = ("_sent", "approval_id")

    def __init__(self) -> None:
        self.approval_id: str | None = None
        self._sent: dict[str, list[str]] = {}

    def of(self, event: Event) -> Piece | None:
        """Return the piece of an event, or ``None`` if the event has no text of the agent's."""
        if isinstance(event, TextDelta):
            message_id = event.message_id or ""
            self._sent.setdefault(message_id, []).append(event.text)
            return Piece(message_id, event.text, isinstance(event, ReasoningDelta))
        if isinstance(event, ApprovalRequested):
            self.approval_id = message_node_id(event.message)
        elif isinstance(event, MessageAdded) and isinstance(event.message, AssistantMessage | ReasoningMessage):
            return self._rest(event.message)
        return None

    def all(self, events: Iterable[Event]) -> list[Piece]:
        """Return the pieces of all events."""
        return [piece for event in events if (piece := self.of(event)) is not None]

    def _rest(self, message: AssistantMessage | ReasoningMessage) -> Piece | None:
        """Return what the deltas of a stored message have lacked."""
        message_id, text = message_node_id(message), message.text or ""
        sent = "".join(self._sent.pop(message_id, ()))
        if len(text) <= len(sent) or not text.startswith(sent):
            return None
        return Piece(message_id, text[len(sent) :], isinstance(message, ReasoningMessage))


def joined_pieces(pieces: Iterable[Piece]) -> list[Piece]:
    """Join the pieces of each message, in the order in which the messages begin."""
    texts: dict[tuple[str, bool], list[str]] = {}
    for piece in pieces:
        texts.setdefault((piece.message_id, piece.is_reasoning), []).append(piece.text)
    return [Piece(message_id, "".join(some), is_reasoning) for (message_id, is_reasoning), some in texts.items()]


def failure_in(ended: Ended, approval_id: str | None = None) -> GatewayError | None:
    """Return the error of a turn that has ended without a complete answer, or ``None`` for a complete answer."""
    if ended.outcome is StreamOutcome.COMPLETED and ended.finish_reason is FinishReason.REQUIRES_APPROVAL:
        return _needs_approval(ended, approval_id)
    return failure_of(ended)


def _needs_approval(ended: Ended, approval_id: str | None) -> Conflict:
    """Return the error that names the mutation with which the user decides, because ``/v1`` has no approvals."""
    named = "the id of the conversation's last `ApprovalRequestMessage`" if approval_id is None else f"`{approval_id}`"
    return Conflict(
        "The agent waits for your approval of a tool call. Approve or deny the call with the GraphQL mutation "
        f"`respondToApproval`, whose `requestId` is {named}. The rest of the answer is in the mutation's `stream`. "
        f"The run is {ended.run_id}.",
        reason=Reason.APPROVAL_PENDING,
    )
