"""Messages: their ids, their pages, and reading one again."""

from __future__ import annotations

import msgspec

from clients.errors import BadUserInput, NotFound
from clients.letta.client import is_letta_id
from clients.letta.messages import MessageRecord, UserMessage
from resolvers.access import not_found
from resolvers.context import RequestContext
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, page

PREFIX = "message:"
_LETTA = "message-"
_SCAN = 100
_SCANS = 10


class _Place(msgspec.Struct, array_like=True):
    """A place between messages, exact within a group that shares a Letta id.

    Attributes:
        letta_id: the group's Letta id; empty for a user message that Letta has not stored yet.
        ordinal: the message's place in its group.
        last: whether it is the last of its group.
        older: the Letta id before the group, empty at the start of the conversation, ``None`` where it is not known.
        otid: a user message's own id.
    """

    letta_id: str
    ordinal: int = 0
    last: bool = True
    older: str | None = None
    otid: str = ""


def message_node_id(message: MessageRecord) -> str:
    """The message's id in the graph: ``message:<scope>:<letta id>:<otid>``.

    A user message is known by its ``otid`` alone (``message:<scope>::<otid>``): its sender chose that before Letta
    had stored the message, so the id in the stream is the id read back later. Without an ``otid``, the type and the
    place within the group tell messages apart.
    """
    if message.message_type == "user_message" and message.otid:
        return f"{PREFIX}{message.scope}::{message.otid}"
    mark = message.otid or f"{message.message_type}.{message.ordinal}"
    return f"{PREFIX}{message.scope}:{message.letta_id.removeprefix(_LETTA)}:{mark}"


def message_edge(message: MessageRecord, older: str | None = None) -> Edge[MessageRecord]:
    """The message in its place; ``older`` is the Letta id that stands before its group, where that is known."""
    place = _Place(
        message.letta_id,
        message.ordinal,
        message.ordinal == message.group_size - 1,
        older,
        "" if message.letta_id else message.otid or "",
    )
    return Edge(message, encode_cursor(place))


async def message_page(context: RequestContext, scope: str, asked: Window) -> Page[MessageRecord]:
    """A page of a conversation, oldest first."""
    if asked.size == 0:
        return page([], asked, more=False)
    place = await _place(context, scope, asked.cursor)
    found, older = await (_backward if asked.backward else _forward)(context, scope, asked.size, place)
    more = len(found) > asked.size
    edges = _edges(found, older)
    chosen = edges[-asked.size :] if asked.backward else edges[: asked.size]
    return page(chosen, asked, more=more)


async def message_by_id(context: RequestContext, node_id: str) -> MessageRecord:
    """The message of a node id, read again within its conversation. Raises NotFound."""
    scope, letta_part, mark = _parsed(node_id)
    await context.access.scope(scope)
    if not letta_part:
        return await _by_otid(context, scope, mark)
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


async def _by_otid(context: RequestContext, scope: str, otid: str) -> MessageRecord:
    """A user message by its ``otid``, looked for from the newest back; the last 1,000 are looked through."""
    before: str | None = None
    for _ in range(_SCANS):
        messages = await context.loaders.messages.load((scope, _SCAN, True, before, None))
        for message in messages:
            if isinstance(message, UserMessage) and message.otid == otid:
                return message
        if len(messages) < _SCAN:
            break
        before = messages[0].letta_id
    raise not_found("message")


async def _place(context: RequestContext, scope: str, cursor: str | None) -> _Place | None:
    if cursor is None:
        return None
    place = decode_cursor(cursor, _Place)
    if place.letta_id and is_letta_id(place.letta_id, "message"):
        if place.older and not is_letta_id(place.older, "message"):
            raise _not_here()
        return place if place.older is not None else await _placed(context, scope, place)
    try:
        return _Place((await _by_otid(context, scope, place.otid)).letta_id)
    except NotFound as error:
        raise _not_here() from error


async def _placed(context: RequestContext, scope: str, place: _Place) -> _Place:
    """A place seen in a stream, with what stands before it: asked for only where a group is cut in two."""
    if place.ordinal == 0 and place.last:
        return place
    try:
        before = await context.loaders.messages.load((scope, 1, True, place.letta_id, None))
    except NotFound as error:
        raise _not_here() from error
    return _Place(place.letta_id, place.ordinal, place.last, before[-1].letta_id if before else "", place.otid)


async def _backward(
    context: RequestContext, scope: str, size: int, place: _Place | None
) -> tuple[list[MessageRecord], str]:
    load = context.loaders.messages.load
    before = place.letta_id if place else None
    try:
        found = await load((scope, size + 1, True, before, None))
        if place is None or place.ordinal == 0:
            return found, ""
        group = await load((scope, 1, False, None, place.older or None))
    except NotFound as error:
        raise _not_here() from error
    return [*found, *(m for m in group if m.letta_id == place.letta_id and m.ordinal < place.ordinal)], ""


async def _forward(
    context: RequestContext, scope: str, size: int, place: _Place | None
) -> tuple[list[MessageRecord], str]:
    after = None if place is None else (place.letta_id if place.last else place.older)
    try:
        found = await context.loaders.messages.load((scope, size + 2, False, None, after or None))
    except NotFound as error:
        raise _not_here() from error
    if place is not None and not place.last:
        found = [m for m in found if m.letta_id != place.letta_id or m.ordinal > place.ordinal]
    return found, after or ""


def _edges(messages: list[MessageRecord], older: str) -> list[Edge[MessageRecord]]:
    """Edges in order; ``older`` is what stands before the first group."""
    edges, current = [], ""
    for message in messages:
        if current and message.letta_id != current:
            older = current
        current = message.letta_id
        edges.append(message_edge(message, older))
    return edges


def _not_here() -> BadUserInput:
    return BadUserInput("The cursor is not one of this list.", reason="CURSOR")
