"""Where a message stands in its conversation, and the cursor that says so.

A place has one cursor, whether it is seen in a stream, a mutation or a query, before Letta has stored the message or
after: a client's cache that was fed by a stream then equals a fresh query. So a cursor is made from what never changes
and is known from the start, and what else paging needs is looked up when a page is asked for (decision 0011).
"""

from __future__ import annotations

import msgspec

from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.messages import MessageRecord
from clients.letta.records import RunRecord
from resolvers.context import RequestContext
from resolvers.paging import decode_cursor, encode_cursor, not_of_this_list
from resolvers.recent_ids import is_sent

_SCAN = 100
_SCANS = 10


class MessageCursor(msgspec.Struct, array_like=True):
    """A place between messages, exact within a group that shares a Letta id.

    Attributes:
        letta_id: the group's Letta id; empty for a user message, which has a place before it has one.
        ordinal: the message's place in its group.
        last: whether it is the last of its group.
        run_id: a user message's run, to find it by.
        otid: a user message's own id.
    """

    letta_id: str = ""
    ordinal: int = 0
    last: bool = True
    run_id: str | None = None
    otid: str = ""


def cursor_of(message: MessageRecord) -> str:
    """The cursor of a message's place."""
    if is_sent(message) and (message.run_id or not message.letta_id):
        return encode_cursor(MessageCursor(run_id=message.run_id, otid=message.otid or ""))
    return encode_cursor(MessageCursor(message.letta_id, message.ordinal, message.ordinal == message.group_size - 1))


async def resolved_cursor(context: RequestContext, scope: str, cursor: str) -> MessageCursor:
    """The place that a cursor of this conversation's names, with its Letta id.

    Raises:
        BadUserInput: reason ``CURSOR``, for a cursor of something else.
    """
    place = decode_cursor(cursor, MessageCursor)
    if is_letta_id(place.letta_id, "message"):
        return place
    if place.letta_id or not place.otid:
        raise not_of_this_list()
    shown, user_id = context.resources.shown_ids, context.principal.user_id
    if (known := shown.find(user_id, scope, place.otid)) is None:
        message, is_here = await _found(context, scope, place)
        if is_here:
            shown.keep(user_id, message)
        known = message.letta_id
    return MessageCursor(known)


async def sent_message(context: RequestContext, scope: str, otid: str) -> MessageRecord | None:
    """A user message by its ``otid``, looked for from the newest back; the last 1,000 are looked through."""
    before: str | None = None
    for _ in range(_SCANS):
        messages = await context.loaders.messages.load((scope, _SCAN, True, before, None))
        for message in messages:
            if is_sent(message) and message.otid == otid:
                return message
        if len(messages) < _SCAN:
            break
        before = messages[0].letta_id
    return None


async def _found(context: RequestContext, scope: str, place: MessageCursor) -> tuple[MessageRecord, bool]:
    """A user message, and whether it is known to be here: from its run, which is one positioned read, else looked for.

    In a fork it is of a run of the conversation that was forked, and it is for who reads there to see that it is here.
    """
    if place.run_id is not None:
        run, messages = await _of_run(context, scope, place.run_id)
        for message in messages:
            if is_sent(message) and message.otid == place.otid:
                return message, run is not None and scope == (run.conversation_id or run.agent_id)
    if (stored := await sent_message(context, scope, place.otid)) is None:
        raise not_of_this_list()
    return stored, True


async def _of_run(context: RequestContext, scope: str, run_id: str) -> tuple[RunRecord | None, list[MessageRecord]]:
    """A run of the principal's and its first messages; nothing where it is gone from Letta."""
    try:
        run = await context.access.run(run_id)
        return run, await context.loaders.run_messages.load((run_id, scope))
    except NotFound:
        return None, []
