"""Messages: their ids, their pages, and reading one again."""

from __future__ import annotations

from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.messages import MessageRecord
from resolvers.access import not_found
from resolvers.context import RequestContext
from resolvers.message_cursors import MessageCursor, cursor_of, resolved_cursor, sent_message
from resolvers.paging import Edge, Page, Window, not_of_this_list, page
from resolvers.recent_ids import is_sent

PREFIX = "message:"
_LETTA = "message-"
_NEAR = 3
"""How many of Letta's messages are looked at where one is to be: some are none in its lists, such as empty ones."""


def message_node_id(message: MessageRecord) -> str:
    """The message's id in the graph: ``message:<scope>:<letta id>:<otid>``.

    A user message is known by its ``otid`` alone (``message:<scope>::<otid>``): its sender chose that before Letta
    had stored the message, so the id in the stream is the id read back later. Without an ``otid``, the type and the
    place within the group tell messages apart.
    """
    if is_sent(message):
        return f"{PREFIX}{message.scope}::{message.otid}"
    mark = message.otid or f"{message.message_type}.{message.ordinal}"
    return f"{PREFIX}{message.scope}:{message.letta_id.removeprefix(_LETTA)}:{mark}"


def message_edge(message: MessageRecord) -> Edge[MessageRecord]:
    """The message in its place."""
    return Edge(message, cursor_of(message))


async def message_page(context: RequestContext, scope: str, asked: Window) -> Page[MessageRecord]:
    """A page of a conversation, oldest first."""
    place = None if asked.cursor is None else await resolved_cursor(context, scope, asked.cursor)
    try:
        found = await (_backward if asked.backward else _forward)(context, scope, asked.size, place)
    except NotFound as error:
        raise not_of_this_list() from error
    chosen = found[max(0, len(found) - asked.size) :] if asked.backward else found[: asked.size]
    for message in chosen:
        context.resources.shown_ids.keep(context.principal.user_id, message)
    return page([message_edge(message) for message in chosen], asked, more=len(found) > asked.size)


async def message_by_id(context: RequestContext, node_id: str) -> MessageRecord:
    """The message of a node id, read again within its conversation. Raises NotFound."""
    scope, letta_part, mark = _parsed(node_id)
    await context.access.scope(scope)
    if not letta_part:
        if (message := await sent_message(context, scope, mark)) is None:
            raise not_found("message")
        return message
    letta_id = f"{_LETTA}{letta_part}"
    if not is_letta_id(letta_id, "message"):
        raise not_found("message")
    load = context.loaders.messages.load
    try:
        before = await load((scope, 1, True, letta_id, None))
    except NotFound as error:
        raise not_found("message") from error
    group = await load((scope, 1, False, None, before[-1].letta_id if before else None))
    for message in group:
        if message_node_id(message) == node_id:
            return message
    raise not_found("message")


def _parsed(node_id: str) -> tuple[str, str, str]:
    parts = node_id.removeprefix(PREFIX).split(":")
    if len(parts) != 3 or not (is_letta_id(parts[0], "agent") or is_letta_id(parts[0], "conv")):
        raise not_found("message")
    return parts[0], parts[1], parts[2]


async def _backward(context: RequestContext, scope: str, size: int, place: MessageCursor | None) -> list[MessageRecord]:
    """What stands before a place, as many as are asked for and at least one more, if there are."""
    load = context.loaders.messages.load
    found = await load((scope, size + 1, True, place.letta_id if place else None, None))
    if place is None or (place.ordinal == 0 and _is_shown(context, scope, place)):
        return found
    there = await load((scope, _NEAR, False, None, found[-1].letta_id if found else None))
    return [*found, *(message for message in _group(there, place) if message.ordinal < place.ordinal)]


async def _forward(context: RequestContext, scope: str, size: int, place: MessageCursor | None) -> list[MessageRecord]:
    """What stands after a place. Where that cuts a group in two, the rest of it comes first."""
    load = context.loaders.messages.load
    if place is None or (place.last and _is_shown(context, scope, place)):
        return await load((scope, size + 1, False, None, place.letta_id if place else None))
    before = await load((scope, _NEAR, True, place.letta_id, None))
    found = await load((scope, size + _NEAR, False, None, before[-1].letta_id if before else None))
    [*_, last] = _group(found, place)
    rest = found[found.index(last) + 1 :]
    return [*(message for message in _group(found, place) if message.ordinal > place.ordinal), *rest]


def _is_shown(context: RequestContext, scope: str, place: MessageCursor) -> bool:
    return context.resources.shown_ids.has(context.principal.user_id, scope, place.letta_id)


def _group(there: list[MessageRecord], place: MessageCursor) -> list[MessageRecord]:
    """The messages at a place, among those where they must be if they are of this conversation.

    Letta takes any message's id for a place in a default conversation, whoever's it is, and in another one passes over
    what it does not know (tried on 0.16.8).

    Raises:
        BadUserInput: reason ``CURSOR``.
    """
    group = [message for message in there if message.letta_id == place.letta_id]
    if not group:
        raise not_of_this_list()
    return group
