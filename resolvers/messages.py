"""Reads pages of messages, and single messages by their ids."""

from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.messages import MessageRecord
from clients.owned import ConversationRef, Position
from clients.shared import part_of
from resolvers.context import RequestContext
from resolvers.loader_keys import MessageWindow
from resolvers.message_cursors import MessageCursor, cursor_of, resolved_cursor, sent_message
from resolvers.owned import not_found
from resolvers.paging import Edge, Page, Window, not_of_this_list, page

PREFIX = "message:"
_LETTA = "message-"
_NEAR = 3
"""Letta's lists omit some messages, so the gateway reads this many messages to find one message."""


def message_node_id(message: MessageRecord) -> str:
    """Return the message's GraphQL id: ``message:<conversation>:<letta id>:<otid>``.

    A user message has only its ``otid`` (``message:<conversation>::<otid>``), which is known before Letta stores the
    message. The id of any other message without an ``otid`` ends with the message's type and index.
    """
    otid, conversation = message.otid, message.read_in or message.conversation  # the property takes longer
    if otid and message.has_own_otid:
        return PREFIX + conversation + f"::{otid}"  # an f-string takes twice as long for a subclass of ``str``
    mark = otid or f"{message.message_type}.{message.ordinal}"
    return PREFIX + conversation + f":{message.letta_id.removeprefix(_LETTA)}:{mark}"


def message_edge(message: MessageRecord) -> Edge[MessageRecord]:
    """Return the message's edge in the list of the conversation's messages."""
    return Edge(message, cursor_of)


async def message_page(context: RequestContext, conversation: ConversationRef, window: Window) -> Page[MessageRecord]:
    """Read a page of a conversation's messages, oldest first."""
    cursor = None if window.cursor is None else await resolved_cursor(context, conversation, window.cursor)
    try:
        found = await (_backward if window.backward else _forward)(context, conversation, window.size, cursor)
    except NotFound as error:
        raise not_of_this_list() from error
    start = max(0, len(found) - window.size) if window.backward else 0
    chosen = part_of(found, start, start + window.size)
    shown, user_id = context.resources.shown_ids, context.principal.user_id

    def write(message: MessageRecord) -> str:
        shown.add_message(user_id, message)
        return cursor_of(message)

    return page(chosen, write, window, more=len(found) > window.size)


async def message_by_id(context: RequestContext, node_id: str) -> MessageRecord:
    """Read the message with the given GraphQL id. Raises NotFound."""
    text, letta_part, mark = _parsed(node_id)
    conversation = await context.access.conversation_ref(text)
    if not letta_part:
        if (message := await sent_message(context, conversation, mark)) is None:
            raise not_found("message")
        return message
    letta_id = f"{_LETTA}{letta_part}"
    if not is_letta_id(letta_id, "message"):
        raise not_found("message")
    sought = Position(letta_id)
    before = await _before(context, MessageWindow(conversation, 1, before=sought))
    try:
        group = await _after(context, conversation, 1, before, sought)
    except NotFound as error:
        raise not_found("message") from error
    for message in group:
        if message_node_id(message) == node_id:
            return message
    raise not_found("message")


def _parsed(node_id: str) -> tuple[str, str, str]:
    parts = node_id.removeprefix(PREFIX).split(":")
    if len(parts) != 3 or not (is_letta_id(parts[0], "agent") or is_letta_id(parts[0], "conv")):
        raise not_found("message")
    return parts[0], parts[1], parts[2]


async def _before(context: RequestContext, window: MessageWindow) -> list[MessageRecord]:
    """Read messages before a position. If Letta does not know the position, return nothing.

    Letta knows the positions of other users' messages too. ``_after`` follows in both cases, so that the number of
    upstream calls does not show whether another user's message exists.
    """
    try:
        return await context.loaders.messages.load(window)
    except NotFound:
        return []


async def _after(
    context: RequestContext, conversation: ConversationRef, limit: int, before: list[MessageRecord], sought: Position
) -> list[MessageRecord]:
    """Read messages after the messages ``before`` a sought message."""
    after = Position(before[-1].letta_id) if before else None
    window = MessageWindow(conversation, limit, newest_first=False, after=after, sought=sought)
    return await context.loaders.messages.load(window)


async def _backward(
    context: RequestContext, conversation: ConversationRef, size: int, cursor: MessageCursor | None
) -> list[MessageRecord]:
    """Read ``size`` messages before a cursor, and at least one more if the conversation has more."""
    if cursor is None or (cursor.ordinal == 0 and _is_shown(context, conversation, cursor)):
        before = Position(cursor.letta_id) if cursor else None
        return await context.loaders.messages.load(MessageWindow(conversation, size + 1, before=before))
    sought = Position(cursor.letta_id)
    found = await _before(context, MessageWindow(conversation, size + 1, before=sought))
    near = await _after(context, conversation, _NEAR, found, sought)
    return [*found, *(message for message in _group(near, cursor) if message.ordinal < cursor.ordinal)]


async def _forward(
    context: RequestContext, conversation: ConversationRef, size: int, cursor: MessageCursor | None
) -> list[MessageRecord]:
    """Read the messages after a cursor.

    Messages with the same Letta id form a group. If the cursor points into a group, the rest of the group comes first.
    """
    if cursor is None or (cursor.last and _is_shown(context, conversation, cursor)):
        after = Position(cursor.letta_id) if cursor else None
        return await context.loaders.messages.load(
            MessageWindow(conversation, size + 1, newest_first=False, after=after)
        )
    sought = Position(cursor.letta_id)
    before = await _before(context, MessageWindow(conversation, _NEAR, before=sought))
    found = await _after(context, conversation, size + _NEAR, before, sought)
    [*_, last] = _group(found, cursor)
    rest = found[found.index(last) + 1 :]
    return [*(message for message in _group(found, cursor) if message.ordinal > cursor.ordinal), *rest]


def _is_shown(context: RequestContext, conversation: ConversationRef, cursor: MessageCursor) -> bool:
    return context.resources.shown_ids.has(context.principal.user_id, conversation, cursor.letta_id)


def _group(near: list[MessageRecord], cursor: MessageCursor) -> list[MessageRecord]:
    """Return the messages at a cursor. Raise BadUserInput (``CURSOR``) if the conversation has no such messages.

    Letta accepts any user's message as a position in a default conversation, and ignores unknown ids in other
    conversations (tried on 0.16.8).
    """
    group = [message for message in near if message.letta_id == cursor.letta_id]
    if not group:
        raise not_of_this_list()
    return group
