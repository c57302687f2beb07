"""Reads an agent's response again, as long as the gateway keeps the turn's stream."""

from __future__ import annotations

from app.rest.agents.pieces import Pieces, failure_in
from app.rest.agents.response_ids import AgentResponseId, response_id
from app.rest.agents.responses import ResponseHead, stored_response
from app.rest.table import Work
from clients.codes import Reason
from clients.errors import NotFound
from clients.owned import ConversationRef
from resolvers.context import RequestContext
from resolvers.owned import ref_of
from resolvers.responses.ids import not_found
from resolvers.streams.stream import Stream


def response_head(conversation: ConversationRef, stream: Stream, previous: str | None) -> ResponseHead:
    """Return the fields of the response whose turn has this stream."""
    return ResponseHead(
        id=response_id(conversation, stream),
        model=conversation.agent_id,
        created_at=int(stream.started_at.timestamp()),
        previous=previous,
    )


async def agent_response_again(context: RequestContext, work: Work, named: AgentResponseId) -> bytes:
    """Return a response from the stream of its turn. The response does not name the previous response.

    Raises NotFound if the response does not exist, has expired, or belongs to another user, and for any other work than
    reading a response, because the conversation in the graph has the input, and a turn cannot be deleted.
    """
    if work is not Work.RESPONSE:
        raise NotFound(
            "An agent's response has no list of input items, and cannot be deleted. Read the conversation's `messages` "
            "in the graph.",
            reason=Reason.RESPONSE_NOT_FOUND,
        )
    try:
        conversation = ref_of(await context.access.conversation(named.conversation_id))
        stream = await context.resources.streams.get(named.stream_id, context.owner)
    except NotFound as error:
        raise not_found() from error
    if stream.conversation != conversation or stream.evicted:
        raise not_found()
    await stream.log.filled()
    pieces, ended = Pieces(), stream.log.ended
    texts = pieces.all(await stream.log.joined_events())
    failure = None if ended is None else failure_in(ended, pieces.approval_id)
    return stored_response(response_head(conversation, stream, None), texts, ended, failure)
