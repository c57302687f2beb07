"""What is remembered of messages; users' have an id of their own before Letta gives them one."""

from __future__ import annotations

from collections import OrderedDict

from clients.letta.messages import MessageRecord, UserMessage


def is_sent(message: MessageRecord) -> bool:
    """Whether it is known by its ``otid``: a user's message, whose sender chose that before Letta had stored it."""
    return isinstance(message, UserMessage) and bool(message.otid)


class ShownIds:
    """The Letta ids of messages that pages have shown lately, so that paging on from one costs no look-up.

    What is not here is found again: another replica, or this one after a restart, only takes longer.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    def keep(self, message: MessageRecord) -> None:
        """Remember a stored message, a user's by its ``otid`` as well."""
        for name in (message.letta_id, message.otid if is_sent(message) else None):
            if name and message.letta_id:
                key = (message.scope, name)
                self._ids[key] = message.letta_id
                self._ids.move_to_end(key)
        while len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def find(self, scope: str, otid: str) -> str | None:
        """The Letta id of a user message, if it is remembered."""
        return self._ids.get((scope, otid))

    def has(self, scope: str, letta_id: str) -> bool:
        """Whether a message of that Letta id has been seen there."""
        return self._ids.get((scope, letta_id)) == letta_id
