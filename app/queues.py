"""Queues of requests that wait for admission, with one queue per owner.

Owners are served round-robin. New owners are served more often.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

NEW_IN_A_ROW = 4
"""Maximum number of new owners that are served in a row while other owners wait. Therefore neither group starves."""

STANDING_SECONDS = 0.5
"""If an owner's oldest request has waited more than this many seconds, the owner's newest request is admitted first."""


class Waiting(NamedTuple, Generic[T]):
    """A request in a queue. If the request is refused, the result of ``admitted`` is ``None``."""

    admitted: asyncio.Future[T | None]
    since: float


class Queues(Generic[T]):
    """One queue of requests for each owner."""

    def __init__(self) -> None:
        self._new: dict[str, deque[Waiting[T]]] = {}
        self._others: dict[str, deque[Waiting[T]]] = {}
        self._new_in_a_row = 0

    def __len__(self) -> int:
        return sum(len(queue) for queues in (self._new, self._others) for queue in queues.values())

    def __bool__(self) -> bool:
        return bool(self._new or self._others)

    def __contains__(self, owner: str) -> bool:
        return owner in self._new or owner in self._others

    def add(self, owner: str, now: float, *, is_new: bool) -> Waiting[T]:
        """Add a request to its owner's queue.

        If the owner has no queue yet, ``is_new`` says whether the owner counts as new.
        """
        waiting = Waiting[T](asyncio.get_running_loop().create_future(), now)
        queue = self._new.get(owner) or self._others.get(owner)
        if queue is None:
            queue = (self._new if is_new else self._others)[owner] = deque()
        queue.append(waiting)
        return waiting

    def take(self, now: float, has_room: Callable[[str], bool]) -> tuple[str, Waiting[T]] | None:
        """Remove and return the next request, or return ``None``.

        Requests of owners for whom ``has_room`` returns false are skipped.
        """
        first_new = self._new_in_a_row < NEW_IN_A_ROW
        for queues in (self._new, self._others) if first_new else (self._others, self._new):
            for owner in queues:
                if has_room(owner):
                    self._new_in_a_row = self._new_in_a_row + 1 if queues is self._new else 0
                    return owner, self._pop(queues, owner, now)
        return None

    def _pop(self, queues: dict[str, deque[Waiting[T]]], owner: str, now: float) -> Waiting[T]:
        queue = queues.pop(owner)
        waiting = queue.pop() if now - queue[0].since > STANDING_SECONDS else queue.popleft()
        if queue:
            self._others[owner] = queue  # at the end, because the owner was just served
        return waiting

    def refuse(self, until: float) -> None:
        """Refuse the requests that entered a queue at or before the time ``until``."""
        for queues in (self._new, self._others):
            for owner, queue in list(queues.items()):
                while queue and queue[0].since <= until:
                    if not (admitted := queue.popleft().admitted).done():
                        admitted.set_result(None)
                if not queue:
                    del queues[owner]

    def remove(self, owner: str, waiting: Waiting[T]) -> None:
        """Remove a cancelled request from its queue."""
        for queues in (self._new, self._others):
            if waiting in (queue := queues.get(owner, deque())):
                queue.remove(waiting)
                if not queue:
                    del queues[owner]
