"""Archival memory: an agent's passages, found by page, by id and by meaning, and kept and forgotten."""

from __future__ import annotations

from datetime import datetime

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import MemoryHit, PassageRecord
from clients.outcome import outcome_unknown
from resolvers import checks
from resolvers.access import not_found
from resolvers.context import RequestContext
from resolvers.doubt import Doubt
from resolvers.once import OVERHEAD_BYTES
from resolvers.paging import (
    DEFAULT_PAGE,
    MAX_PAGE,
    Edge,
    Moment,
    Page,
    Window,
    decode_cursor,
    encode_cursor,
    moment,
    not_of_this_list,
    page,
)

PREFIX = "passage:"
MAX_TEXT = 200_000
MAX_QUERY = 2_000
_LETTA = "passage-"
_SCAN = 50
_SCANS = 20


class _Place(msgspec.Struct, array_like=True):
    """A place in a list of passages; the time holds it even when the passage is deleted meanwhile."""

    created_at: Moment
    passage_id: str


def passage_node_id(passage: PassageRecord) -> str:
    """The passage's id in the graph: ``passage:<agent id>:<uuid>``. Letta reads one within its agent alone."""
    return f"{PREFIX}{passage.agent_id}:{passage.id.removeprefix(_LETTA)}"


def passage_edge(passage: PassageRecord) -> Edge[PassageRecord]:
    """The passage in its place."""
    return Edge(passage, encode_cursor(_Place(_made(passage), passage.id)))


async def passage_page(context: RequestContext, agent_id: str, asked: Window) -> Page[PassageRecord]:
    """An agent's passages, newest first. The caller has proved that the agent is the principal's."""
    place = None if asked.cursor is None else decode_cursor(asked.cursor, _Place)
    if place is not None and not is_letta_id(place.passage_id, "passage"):
        raise not_of_this_list()
    before = None if place is None else place.passage_id
    found = await context.loaders.passages.load((agent_id, asked.size + 1, True, before, None))
    if place is not None and not (found and await _is_there(context, agent_id, place, found[0])):
        found = await _after_a_gap(context, agent_id, asked.size + 1, place)
    for passage in found[: asked.size]:
        context.resources.shown_ids.remember(context.principal.user_id, agent_id, passage.id)
    edges = [passage_edge(passage) for passage in found[: asked.size]]
    return page(edges, asked, more=len(found) > asked.size)


async def _is_there(context: RequestContext, agent_id: str, place: _Place, older: PassageRecord) -> bool:
    """Whether a place is the agent's own: Letta takes any passage for one, whoever's it is (so 0.16.8's source)."""
    if context.resources.shown_ids.has(context.principal.user_id, agent_id, place.passage_id):
        return True
    newer = await context.loaders.passages.load((agent_id, _SCAN, False, None, older.id))
    return any(passage.id == place.passage_id for passage in newer)


async def _after_a_gap(context: RequestContext, agent_id: str, limit: int, place: _Place) -> list[PassageRecord]:
    """What comes after a place where Letta lists nothing: the list's end, unless the passage there is gone.

    Then the last passage that is newer than it is looked for, among the newest 1,000, and the list goes on from there.
    """
    load = context.loaders.passages.load
    oldest = await load((agent_id, 1, False, None, None))
    if not oldest or oldest[0].id == place.passage_id or _made(oldest[0]) > place.created_at:
        return []
    anchor: str | None = None
    for _ in range(_SCANS):
        passages = await load((agent_id, _SCAN, True, anchor, None))
        newer = [passage for passage in passages if _made(passage) > place.created_at]
        anchor = newer[-1].id if newer else anchor
        if len(newer) < _SCAN:
            return await load((agent_id, limit, True, anchor, None))
    raise not_of_this_list()


async def passage_by_id(context: RequestContext, node_id: str) -> PassageRecord:
    """The passage of a node id, read again within its agent. Raises NotFound.

    Letta has no call for one passage: its older neighbour is asked for, and then what comes after that.
    """
    agent_id, _, uuid = node_id.removeprefix(PREFIX).partition(":")
    passage_id = f"{_LETTA}{uuid}"
    if not node_id.startswith(PREFIX) or not is_letta_id(passage_id, "passage"):
        raise not_found("passage")
    try:
        agent_id = (await context.access.agent(agent_id)).agent_id
    except NotFound as error:
        raise not_found("passage") from error
    load = context.loaders.passages.load
    older = await load((agent_id, 1, True, passage_id, None))
    found = await load((agent_id, 1, False, None, older[0].id if older else None))
    if not found or found[0].id != passage_id:
        raise not_found("passage")
    return found[0]


async def search(context: RequestContext, agent_id: str, query: str, limit: int | None) -> list[MemoryHit]:
    """The passages nearest to a query, best first. The caller has proved that the agent is the principal's."""
    limit = DEFAULT_PAGE if limit is None else limit
    if not 1 <= limit <= MAX_PAGE:
        raise BadUserInput(f"`limit` is {limit}: it must be from 1 to {MAX_PAGE}.", reason=Reason.PAGING)
    return await context.loaders.memory_search.load((agent_id, _worded(query, "query", MAX_QUERY), limit))


async def insert(
    context: RequestContext, agent_id: str, text: str, tags: list[str] | None, key: str | None
) -> list[Edge[PassageRecord]]:
    """Keep a text in the archival memory of an agent of the principal's; with the same key, once.

    Answers what was made of it, in the order of ``passage_page``.

    Raises:
        Conflict: reason ``KEY_REUSED``; ``OUTCOME_UNKNOWN``, where Letta did not confirm it.
    """
    row = await context.access.agent(agent_id)
    kept, tags = _worded(text, "text", MAX_TEXT), checks.tags(tags)

    async def inserted() -> list[PassageRecord]:
        letta = context.resources.letta
        with context.resources.made_ids.making(row.agent_id):
            return _noted(context, await letta.insert_passage(context.scope, row.agent_id, kept, tags))

    async def look(since: datetime) -> list[PassageRecord] | None:
        found = await _inserted_since(context, row.agent_id, kept, since)
        return _noted(context, found) or None

    doubt = Doubt(message=_UNCONFIRMED, look=look)
    made = await context.once(key, "insertPassage", (agent_id, text, tags), inserted, _weight, doubt)
    return [passage_edge(passage) for passage in sorted(made, key=newest_first)]


async def _inserted_since(context: RequestContext, agent_id: str, text: str, since: datetime) -> list[PassageRecord]:
    """The passage of a text, made since a time, that no request of this process is known to have made.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, where several could be it, or it may be of a request that is under way, or
            a piece of it is there: Letta may cut a text into several passages.
    """
    made_ids, user_id = context.resources.made_ids, context.principal.user_id
    newest = await context.resources.letta.passages(context.renewed().scope, agent_id, limit=_SCAN, newest_first=True)
    recent = [one for one in newest if one.created_at is None or _made(one) >= since]
    own = [one for one in recent if not made_ids.has(user_id, one.id) and one.text in text]
    if own and not made_ids.knows_all(user_id, agent_id, since):
        raise outcome_unknown(_UNCONFIRMED)
    if len(own) > 1 or len(recent) == _SCAN or any(one.text != text for one in own):
        raise outcome_unknown(_UNCONFIRMED)
    return own


def _noted(context: RequestContext, passages: list[PassageRecord]) -> list[PassageRecord]:
    """The passages, accounted for."""
    for passage in passages:
        context.resources.made_ids.add(context.principal.user_id, passage.id)
    return passages


_UNCONFIRMED = (
    "Letta did not confirm the passage. Retry with the same key: the gateway looks for the passage first. If this "
    "error repeats, or if there was no key, look in the agent's passages before you use a new key."
)


def newest_first(passage: PassageRecord) -> tuple[float, str]:
    """The order of the list: of one time, those of lesser ids come first in both directions (tried on 0.16.8)."""
    return (-_made(passage).timestamp(), passage.id)


def _weight(passages: list[PassageRecord]) -> int:
    return sum(OVERHEAD_BYTES + 4 * len(passage.text or "") for passage in passages)


async def delete(context: RequestContext, node_id: str) -> str:
    """Forget a passage of the principal's; answers its id. Raises NotFound.

    It is read first: Letta would delete any agent's passage through any other's path.
    """
    passage = await passage_by_id(context, node_id)
    await context.resources.letta.delete_passage(context.scope, passage)
    return node_id


def _worded(text: str, what: str, most: int) -> str:
    if not text.strip():
        raise BadUserInput(f"The {what} is empty.", reason=Reason.EMPTY)
    if len(text) > most:
        raise BadUserInput(f"The {what} has more than {most} characters.", reason=Reason.TOO_LONG)
    return text


def _made(passage: PassageRecord) -> datetime:
    return moment(passage.created_at)
