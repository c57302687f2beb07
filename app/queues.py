"""Queues of requests that wait to be admitted, one for each owner: served round-robin, new owners more often."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

NEW_IN_A_ROW = 4
"""The number of new owners served before one of the others, so that neither group starves."""

STANDING_SECONDS = 0.5
"""If an owner's oldest request has waited longer (seconds), the newest is admitted first: the others are too late."""


class Waiting(NamedTuple, Generic[T]):
    """A queued request. ``admitted`` resolves when it is admitted, or to ``None`` if it is refused."""

    admitted: asyncio.Future[T | None]
    since: float


class Queues(Generic[T]):
    """The queues of all owners."""

    def __init__(self) -> None:
        self._new: dict[str, deque[Waiting[T]]] = {}
        self._others: dict[str, deque[Waiting[T]]] = {}
        self._new_in_a_row = 0

    def __len__(self) -> int:
        """The number of queued requests."""
        return sum(len(queue) for queues in (self._new, self._others) for queue in queues.values())

    def __bool__(self) -> bool:
        """Whether a request is queued."""
        return bool(self._new or self._others)

    def __contains__(self, owner: str) -> bool:
        """Whether a request of the owner is queued."""
        return owner in self._new or owner in self._others

    def add(self, owner: str, now: float, *, is_new: bool) -> Waiting[T]:
        """Queue a request. If the owner has no queue yet, ``is_new`` decides to which group it is added."""
        waiting = Waiting[T](asyncio.get_running_loop().create_future(), now)
        queue = self._new.get(owner) or self._others.get(owner)
        if queue is None:
            queue = (self._new if is_new else self._others)[owner] = deque()
        queue.append(waiting)
        return waiting

    def take(self, now: float, has_room: Callable[[str], bool]) -> tuple[str, Waiting[T]] | None:
        """Remove the next request among the owners for whom ``has_room`` is true."""
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
            self._others[owner] = queue  # at the end, as the owner was just served
        return waiting

    def refuse(self, until: float) -> None:
        """Refuse the requests that have waited since ``until`` or longer."""
        for queues in (self._new, self._others):
            for owner, queue in list(queues.items()):
                while queue and queue[0].since <= until:
                    if not (admitted := queue.popleft().admitted).done():
                        admitted.set_result(None)
                if not queue:
                    del queues[owner]

    def remove(self, owner: str, waiting: Waiting[T]) -> None:
        """Remove a request that was cancelled."""
        for queues in (self._new, self._others):
            if waiting in (queue := queues.get(owner, deque())):
                queue.remove(waiting)
                if not queue:
                    del queues[owner]
