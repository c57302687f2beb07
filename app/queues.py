"""Queues of requests that wait to be admitted, one for each owner: served round-robin, new owners more often."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

NEW_TURNS = 4
"""New owners served in a row before one of the others, so that neither group starves the other."""

STANDING_SECONDS = 0.5
"""Where an owner's oldest request has waited for longer, the newest is admitted first: the others come too late."""


class Waiting(NamedTuple, Generic[T]):
    """A request that waits since a time: ``turn`` resolves when it is admitted, or to None when it is refused."""

    turn: asyncio.Future[T | None]
    since: float


class Lines(Generic[T]):
    """The lines of all owners."""

    def __init__(self) -> None:
        self._new: dict[str, deque[Waiting[T]]] = {}
        self._others: dict[str, deque[Waiting[T]]] = {}
        self._new_in_a_row = 0

    def __len__(self) -> int:
        """How many requests wait."""
        return sum(len(line) for lines in (self._new, self._others) for line in lines.values())

    def __bool__(self) -> bool:
        """Whether any request waits."""
        return bool(self._new or self._others)

    def __contains__(self, owner: str) -> bool:
        """Whether a request of an owner waits."""
        return owner in self._new or owner in self._others

    def add(self, owner: str, now: float, *, is_new: bool) -> Waiting[T]:
        """Add a request of an owner, whose line is among those of new ones if they have none yet."""
        waiting = Waiting[T](asyncio.get_running_loop().create_future(), now)
        line = self._new.get(owner) or self._others.get(owner)
        if line is None:
            line = (self._new if is_new else self._others)[owner] = deque()
        line.append(waiting)
        return waiting

    def take(self, now: float, has_room: Callable[[str], bool]) -> tuple[str, Waiting[T]] | None:
        """Remove the request whose turn it is, of the owners for whom there is room."""
        first_new = self._new_in_a_row < NEW_TURNS
        for lines in (self._new, self._others) if first_new else (self._others, self._new):
            for owner in lines:
                if has_room(owner):
                    self._new_in_a_row = self._new_in_a_row + 1 if lines is self._new else 0
                    return owner, self._pop(lines, owner, now)
        return None

    def _pop(self, lines: dict[str, deque[Waiting[T]]], owner: str, now: float) -> Waiting[T]:
        line = lines.pop(owner)
        waiting = line.pop() if now - line[0].since > STANDING_SECONDS else line.popleft()
        if line:
            self._others[owner] = line  # at the end: an owner that was served is not new
        return waiting

    def refuse(self, until: float) -> None:
        """Refuse the requests that have waited since a time or longer."""
        for lines in (self._new, self._others):
            for owner, line in list(lines.items()):
                while line and line[0].since <= until:
                    if not (turn := line.popleft().turn).done():
                        turn.set_result(None)
                if not line:
                    del lines[owner]

    def remove(self, owner: str, waiting: Waiting[T]) -> None:
        """Remove a request that does not wait any more."""
        for lines in (self._new, self._others):
            if waiting in (line := lines.get(owner, deque())):
                line.remove(waiting)
                if not line:
                    del lines[owner]
