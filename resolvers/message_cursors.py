"""Cursors of messages.

A message has the same cursor in a stream, a mutation and a query, so clients can add streamed messages to cached pages.
A cursor has only fields that never change. The gateway finds the position when a page is requested (decision 0011).
"""

import msgspec

from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.messages import MessageRecord
from clients.owned import ConversationRef, Position
from resolvers.context import RequestContext
from resolvers.loader_keys import MessageWindow, RunStart
from resolvers.owned import OwnedRun
from resolvers.paging import decode_cursor, encode_cursor, not_of_this_list

_SCAN = 100
_SCANS = 10


class MessageCursor(msgspec.Struct, array_like=True):
    """A message's position in a conversation. Messages that share one Letta id have different positions.

    A user message has no Letta id at first, so the cursor has the message's run and ``otid``. ``ordinal`` is a
    message's index in the group, and ``last`` marks the group's last message.
    """

    letta_id: str = ""
    ordinal: int = 0
    last: bool = True
    run_id: str | None = None
    otid: str = ""


def cursor_of(message: MessageRecord) -> str:
    """Return the cursor of a message."""
    if message.is_known_by_otid and (message.run_id or not message.letta_id):
        return encode_cursor(MessageCursor(run_id=message.run_id, otid=message.otid or ""))
    return encode_cursor(MessageCursor(message.letta_id, message.ordinal, message.ordinal == message.group_size - 1))


async def resolved_cursor(context: RequestContext, conversation: ConversationRef, text: str) -> MessageCursor:
    """Decode a message's cursor, and find the message's Letta id. Raises BadUserInput (``CURSOR``)."""
    cursor = decode_cursor(text, MessageCursor)
    if is_letta_id(cursor.letta_id, "message"):
        return cursor
    if cursor.letta_id or not cursor.otid:
        raise not_of_this_list()
    shown, user_id = context.resources.shown_ids, context.principal.user_id
    if (known := shown.find(user_id, conversation, cursor.otid)) is None:
        message, is_here = await _found(context, conversation, cursor)
        if is_here:
            shown.add_message(user_id, message)
        known = message.letta_id
    return MessageCursor(known)


async def sent_message(context: RequestContext, conversation: ConversationRef, otid: str) -> MessageRecord | None:
    """Find a user message by its ``otid`` among the conversation's newest 1,000 messages."""
    before: Position | None = None
    for _ in range(_SCANS):
        messages = await context.loaders.messages.load(MessageWindow(conversation, _SCAN, before=before))
        for message in messages:
            if message.is_known_by_otid and message.otid == otid:
                return message
        if len(messages) < _SCAN:
            break
        before = Position(messages[0].letta_id)
    return None


async def _found(
    context: RequestContext, conversation: ConversationRef, cursor: MessageCursor
) -> tuple[MessageRecord, bool]:
    """Find a user message among the run's messages, or else among the conversation's messages.

    The second result says whether the message certainly belongs to the conversation.

    A copied message in a fork belongs to a run of the original conversation.
    """
    if cursor.run_id is not None:
        run, messages = await _of_run(context, conversation, cursor.run_id)
        for message in messages:
            if message.is_known_by_otid and message.otid == cursor.otid:
                return message, run is not None and conversation == (run.conversation_id or run.agent_id)
    if (stored := await sent_message(context, conversation, cursor.otid)) is None:
        raise not_of_this_list()
    return stored, True


async def _of_run(
    context: RequestContext, conversation: ConversationRef, run_id: str
) -> tuple[OwnedRun | None, list[MessageRecord]]:
    try:
        run = await context.access.run(run_id)
        return run, await context.loaders.run_messages.load(RunStart(run.id, conversation))
    except NotFound:
        return None, []
