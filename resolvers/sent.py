"""What is remembered of what pages have shown; users' messages have an id of their own before Letta gives them one."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from clients.letta.messages import MessageRecord, UserMessage


def is_sent(message: MessageRecord) -> bool:
    """Whether it is known by its ``otid``: a user's message, whose sender chose that before Letta had stored it."""
    return isinstance(message, UserMessage) and bool(message.otid)


class ShownIds:
    """The Letta ids of what pages have shown lately, so that paging on from there costs no look-up.

    What is not here is found again: another replica, or this one after a restart, only takes longer.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    def keep(self, message: MessageRecord) -> None:
        """Remember a stored message, a user's by its ``otid`` as well."""
        if message.letta_id:
            self.remember(message.scope, message.letta_id)
        if message.letta_id and message.otid and is_sent(message):
            self.remember(message.scope, message.letta_id, message.otid)

    def remember(self, scope: str, letta_id: str, name: str | None = None) -> None:
        """Remember what is in a list: a message of a conversation, a passage of an agent."""
        key = (scope, name or letta_id)
        self._ids[key] = letta_id
        self._ids.move_to_end(key)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def find(self, scope: str, otid: str) -> str | None:
        """The Letta id of a user message, if it is remembered."""
        return self._ids.get((scope, otid))

    def has(self, scope: str, letta_id: str) -> bool:
        """Whether something of that Letta id has been seen there."""
        return self._ids.get((scope, letta_id)) == letta_id


class MadeIds:
    """The Letta ids of conversations and passages that this process was answered: each is of one request."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._making: Counter[str] = Counter()

    @contextmanager
    def making(self, agent_id: str) -> Iterator[None]:
        """Count a request that makes something of an agent's, until its ids are known."""
        self._making[agent_id] += 1
        try:
            yield
        finally:
            self._making[agent_id] -= 1
            if not self._making[agent_id]:
                del self._making[agent_id]

    def may_grow(self, agent_id: str) -> bool:
        """Whether a request is under way that makes something of the agent's: what is new may be its own."""
        return agent_id in self._making

    def add(self, letta_id: str) -> None:
        """Remember that a request has made it."""
        self._ids[letta_id] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def __contains__(self, letta_id: str) -> bool:
        return letta_id in self._ids
