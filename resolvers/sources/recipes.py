"""Writes and reads the data with which another process continues a stream (decision 0062).

A recipe has no secret, and no text of the user's. The answer's position comes from the stream's log.
"""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from clients.letta.sending import FollowedRun, Sent
from clients.origin import Origin
from clients.owned import ConversationRef
from resolvers.context import RequestContext
from resolvers.sources.lookup import Attempt, LostTurn


class TurnRecipe(msgspec.Struct, frozen=True, kw_only=True, tag="turn", omit_defaults=True):
    """The data of a turn.

    Attributes:
        user_id, origin, request_id, traceparent: the request that started the turn.
        agent_id, conversation_id: the conversation, as in ``ConversationRef``.
        otid: the ``otid`` of the message that began the turn; empty if another program sent the message.
        run_id: the turn's run, if the run was known before the stream began.
        began: the time before the message was sent.
        max_cost: the maximum cost in US dollars.
        cancels: whether the run is cancelled if the stream is abandoned.
    """

    user_id: str
    origin: Origin
    request_id: str
    agent_id: str
    otid: str
    began: datetime
    traceparent: str | None = None
    conversation_id: str | None = None
    run_id: str | None = None
    max_cost: Decimal | None = None
    cancels: bool = False


class CompletionRecipe(msgspec.Struct, frozen=True, tag="completion"):
    """The data of a completion, which no other process can continue."""


Recipe = TurnRecipe | CompletionRecipe

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Recipe)

COMPLETION = _ENCODER.encode(CompletionRecipe())
"""The recipe of every completion."""


def turn_recipe(
    context: RequestContext,
    conversation: ConversationRef,
    sent: Sent | FollowedRun | LostTurn,
    earlier: Attempt | None,
    max_cost: Decimal | None,
    *,
    cancels: bool,
) -> bytes:
    """Return the recipe of a turn that is about to begin, or that this process continues."""
    if isinstance(sent, LostTurn):
        began, run_id = sent.began, sent.run_id
    else:
        began = datetime.now(UTC) if earlier is None else earlier.began
        run_id = sent.run_id if isinstance(sent, FollowedRun) else None if earlier is None else earlier.run_id
    return _ENCODER.encode(
        TurnRecipe(
            user_id=context.principal.user_id,
            origin=context.origin,
            request_id=context.request_id,
            traceparent=context.traceparent,
            agent_id=conversation.agent_id,
            conversation_id=conversation.conversation_id,
            otid=sent.otid,
            run_id=run_id,
            began=began,
            max_cost=max_cost,
            cancels=cancels,
        )
    )


def decode_recipe(recipe: bytes) -> Recipe | None:
    """Decode a recipe. Return ``None`` for a recipe of another version of the gateway that this version cannot read."""
    try:
        made: Recipe = _DECODER.decode(recipe)
    except msgspec.MsgspecError:
        return None
    return made
