"""Reads, searches, inserts and deletes passages of archival memory."""

from datetime import datetime

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import MemoryHit, PassageRecord
from clients.outcome import outcome_unknown
from clients.owned import OwnedAgentId, Position
from resolvers import checks, paging
from resolvers.context import RequestContext
from resolvers.idempotency import OVERHEAD_BYTES
from resolvers.loader_keys import MemoryQuery, PassageWindow
from resolvers.outcome_unknown import OutcomeUnknown
from resolvers.owned import not_found, passage_of

PREFIX = "passage:"
MAX_TEXT = 200_000
MAX_QUERY = 2_000
_LETTA = "passage-"
_SCAN = 50
_SCANS = 20


class _PassageCursor(msgspec.Struct, array_like=True):
    """A position in a list of passages. The cursor stays valid after the passage is deleted."""

    created_at: paging.Moment
    passage_id: str


def passage_node_id(passage: PassageRecord) -> str:
    """Return the passage's GraphQL id: ``passage:<agent id>:<uuid>``. Letta needs both ids to find a passage."""
    return f"{PREFIX}{passage.agent_id}:{passage.id.removeprefix(_LETTA)}"


def passage_edge(passage: PassageRecord) -> paging.Edge[PassageRecord]:
    """Return the passage's edge in the list of the agent's passages."""
    return paging.Edge(passage, _cursor)


def _cursor(passage: PassageRecord) -> str:
    return paging.encode_cursor(_PassageCursor(_created(passage), passage.id))


async def passage_page(
    context: RequestContext, agent_id: OwnedAgentId, window: paging.Window
) -> paging.Page[PassageRecord]:
    """Read a page of an agent's passages, newest first."""
    cursor = None if window.cursor is None else paging.decode_cursor(window.cursor, _PassageCursor)
    if cursor is not None and not is_letta_id(cursor.passage_id, "passage"):
        raise paging.not_of_this_list()
    before = None if cursor is None else Position(cursor.passage_id)
    found = await context.loaders.passages.load(PassageWindow(agent_id, window.size + 1, before=before))
    if cursor is not None and not await _is_valid(context, agent_id, cursor, found):
        found = await _after_a_gap(context, agent_id, window.size + 1, cursor)
    shown, user_id = context.resources.shown_ids, context.principal.user_id

    def write(passage: PassageRecord) -> str:
        shown.add(user_id, agent_id, passage.id)
        return _cursor(passage)

    return paging.page(found[: window.size], write, window, more=len(found) > window.size)


async def _is_valid(
    context: RequestContext, agent_id: OwnedAgentId, cursor: _PassageCursor, older: list[PassageRecord]
) -> bool:
    """Return whether a cursor belongs to the agent's list of passages. ``older`` is the page after the cursor.

    Letta accepts any passage's id, even another user's, and returns nothing for an unknown id. The passages are read in
    both cases, so that the number of upstream calls does not show whether another user's passage exists.
    """
    if older and context.resources.shown_ids.has(context.principal.user_id, agent_id, cursor.passage_id):
        return True
    after = Position(older[0].id) if older else None
    sought = Position(cursor.passage_id)
    window = PassageWindow(agent_id, _SCAN, newest_first=False, after=after, sought=sought)
    return any(passage.id == cursor.passage_id for passage in await context.loaders.passages.load(window))


async def _after_a_gap(
    context: RequestContext, agent_id: OwnedAgentId, limit: int, cursor: _PassageCursor
) -> list[PassageRecord]:
    """Read the page after a cursor whose passage is the last one or was deleted.

    The gateway searches the newest 1,000 passages for the cursor's position.
    """
    load = context.loaders.passages.load
    oldest = await load(PassageWindow(agent_id, 1, newest_first=False))
    if not oldest or _created(oldest[0]) > cursor.created_at:
        return []
    anchor: Position | None = None
    for _ in range(_SCANS):
        passages = await load(PassageWindow(agent_id, _SCAN, before=anchor))
        newer = [passage for passage in passages if _created(passage) > cursor.created_at]
        anchor = Position(newer[-1].id) if newer else anchor
        if len(newer) < _SCAN:
            return await load(PassageWindow(agent_id, limit, before=anchor))
    raise paging.not_of_this_list()


async def passage_by_id(context: RequestContext, node_id: str) -> PassageRecord:
    """Read the passage with the given GraphQL id. Raises NotFound."""
    _, passage = await _owned(context, node_id)
    return passage


async def _owned(context: RequestContext, node_id: str) -> tuple[OwnedAgentId, PassageRecord]:
    """Read a passage and its agent's id.

    Letta cannot read a single passage, so the gateway reads two adjacent pages.
    """
    claimed, _, uuid = node_id.removeprefix(PREFIX).partition(":")
    passage_id = f"{_LETTA}{uuid}"
    if not node_id.startswith(PREFIX) or not is_letta_id(passage_id, "passage"):
        raise not_found("passage")
    try:
        agent_id = (await context.access.agent(claimed)).agent_id
    except NotFound as error:
        raise not_found("passage") from error
    load = context.loaders.passages.load
    sought = Position(passage_id)
    older = await load(PassageWindow(agent_id, 1, before=sought))
    after = Position(older[0].id) if older else None
    found = await load(PassageWindow(agent_id, 1, newest_first=False, after=after, sought=sought))
    if not found or found[0].id != passage_id:
        raise not_found("passage")
    return agent_id, found[0]


async def search(context: RequestContext, agent_id: OwnedAgentId, query: str, limit: int | None) -> list[MemoryHit]:
    """Search an agent's passages by meaning. Return the best match first."""
    limit = paging.DEFAULT_PAGE if limit is None else limit
    if not 1 <= limit <= paging.MAX_PAGE:
        message = f"`limit` is {limit}: values from 1 to {paging.MAX_PAGE} are allowed."
        raise BadUserInput(message, reason=Reason.PAGING)
    return await context.loaders.memory_search.load(MemoryQuery(agent_id, _checked(query, "query", MAX_QUERY), limit))


async def insert(
    context: RequestContext, agent_id: str, text: str, tags: list[str] | None, key: str | None
) -> list[paging.Edge[PassageRecord]]:
    """Insert a text into the agent's archival memory once per idempotency key. Return the new passages, newest first.

    Raises:
        Conflict: reason ``KEY_REUSED``, or ``OUTCOME_UNKNOWN`` if Letta did not confirm the passage.
    """
    row = await context.access.agent(agent_id)
    text, tags = _checked(text, "text", MAX_TEXT), checks.tags(tags)

    async def inserted() -> list[PassageRecord]:
        letta = context.resources.letta
        with context.resources.created_ids.creating(row.agent_id):
            return _noted(context, await letta.insert_passage(context.scope, row.agent_id, text, tags))

    async def find(since: datetime) -> list[PassageRecord] | None:
        found = await _inserted_since(context, row.agent_id, text, since)
        return _noted(context, found) or None

    on_unknown = OutcomeUnknown(message=_UNCONFIRMED, find=find)
    parts, kind = (agent_id, text, tags), list[PassageRecord]
    passages = await context.idempotent(key, "insertPassage", parts, inserted, kind, _weight, on_unknown)
    return [passage_edge(passage) for passage in sorted(passages, key=newest_first)]


async def _inserted_since(
    context: RequestContext, agent_id: OwnedAgentId, text: str, since: datetime
) -> list[PassageRecord]:
    """Find a new passage with the text, unless this process is known to have created the passage.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, if several passages match, this process may have created one, or Letta may
            have divided the text.
    """
    created_ids, user_id = context.resources.created_ids, context.principal.user_id
    newest = await context.resources.letta.passages(context.renewed().scope, agent_id, limit=_SCAN, newest_first=True)
    recent = [one for one in newest if one.created_at is None or _created(one) >= since]
    own = [one for one in recent if not created_ids.has(user_id, one.id) and one.text in text]
    if own and not created_ids.knows_all(user_id, agent_id, since):
        raise outcome_unknown(_UNCONFIRMED)
    if len(own) > 1 or len(recent) == _SCAN or any(one.text != text for one in own):
        raise outcome_unknown(_UNCONFIRMED)
    return own


def _noted(context: RequestContext, passages: list[PassageRecord]) -> list[PassageRecord]:
    for passage in passages:
        context.resources.created_ids.add(context.principal.user_id, passage.id)
    return passages


_UNCONFIRMED = (
    "Letta did not confirm the passage. Retry with the same key: the gateway first searches for the passage. If this "
    "error repeats or the request had no key, check the agent's passages before you retry with a new key."
)


def newest_first(passage: PassageRecord) -> tuple[float, str]:
    """Return a passage's sort key. Letta 0.16.8 sorts passages with the same time by ascending id."""
    return (-_created(passage).timestamp(), passage.id)


def _weight(passages: list[PassageRecord]) -> int:
    return sum(OVERHEAD_BYTES + 4 * len(passage.text or "") for passage in passages)


async def delete(context: RequestContext, node_id: str) -> str:
    """Delete the user's passage and return the passage's id. The gateway checks the owner, because Letta does not."""
    agent_id, passage = await _owned(context, node_id)
    await context.resources.letta.delete_passage(context.scope, agent_id, passage_of(agent_id, passage))
    return node_id


def _checked(text: str, name: str, most: int) -> str:
    if not text.strip():
        raise BadUserInput(f"`{name}` is empty. Write at least one character.", reason=Reason.EMPTY)
    if len(text) > most:
        message = f"`{name}` has more than {most:,} characters. Shorten the text."
        raise BadUserInput(message, reason=Reason.TOO_LONG)
    return text


def _created(passage: PassageRecord) -> datetime:
    return paging.moment(passage.created_at)
