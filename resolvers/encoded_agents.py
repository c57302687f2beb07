"""Keeps the encoded list of a user's agents as long as the cache has the account from which it was encoded.

A list of 1,000 agents takes as long to decode and to encode as the rest of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from clients.ams import Account
from clients.stored import Stored
from resolvers.cache import kinds
from resolvers.context import RequestContext
from resolvers.owned import OwnedAgent, agents_of

_ACCOUNT = Stored[Account](Account)
_DECODER = msgspec.json.Decoder(Account)


class _Encoded(NamedTuple):
    version: str
    began: float
    agents: bytes


async def encoded_agents(context: RequestContext, encode: Callable[[Sequence[OwnedAgent]], bytes]) -> bytes:
    """Return the user's agents as ``encode`` writes them. ``encode`` is always the same function.

    If the process's memory has a fresh account, ``encode`` is called only once for the account.
    """
    cache, user_id = context.resources.cache, context.principal.user_id
    if cache is None or not context.reads_cache:
        return encode(await context.access.agents())
    context.versions = await cache.versions(user_id, context.versions)
    entry = cache.fresh(kinds.ACCOUNT, user_id, "", context.versions, _ACCOUNT.shape)
    if entry is None:
        return encode(await context.access.agents())
    known: _Encoded | None = cache.agent_lists.get(user_id)
    if known is None or known.began != entry.began or known.version != entry.version:
        known = _Encoded(entry.version, entry.began, encode(agents_of(_DECODER.decode(entry.value).profile)))
        cache.agent_lists.put(user_id, known, len(known.agents))
    return known.agents
