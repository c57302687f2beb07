"""A bound on calls at a time that no single caller can use up."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

SHARES = 4
"""A caller gets a quarter of a bulkhead at most: three others' worth of room is left whatever one asks."""


@dataclass(slots=True)
class _Line:
    """A caller's calls that wait, and how many have been let in since the first of them came."""

    turns: deque[asyncio.Future[None]] = field(default_factory=deque)
    let_in: int = 0


class Bulkhead:
    """Room for ``size`` calls at a time.

    Who finds none waits, and is let in by turns: one call of each waiting caller after another, however many calls each
    of them has waiting. Where calls are short (``brief``), a caller waits for its own without impatience.
    """

    def __init__(self, size: int, *, brief: bool = False) -> None:
        self._brief = brief
        self._free = size
        self._share = max(1, size // SHARES)
        self._held: Counter[str] = Counter()
        self._lines: dict[str, _Line] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody is in it or waits."""
        return not self._held and not self._lines

    async def enter(self, caller: str, patience: float) -> None:
        """Take a place for one call; ``leave`` gives it back.

        Raises TimeoutError when in ``patience`` seconds no call of this caller's was let in: who asks for much at once
        waits for as long as it goes on. Where calls are brief, that counts only while the caller is below its share.
        """
        if self._may_enter(caller):  # those who wait are all at their share, else they would be in
            self._take(caller)
            return
        line = self._lines.setdefault(caller, _Line())
        turn = asyncio.get_running_loop().create_future()
        line.turns.append(turn)
        try:
            await self._come_to(turn, line, caller, patience)
        except (asyncio.CancelledError, TimeoutError):
            if turn.done():
                self.leave(caller)
            else:
                self._forget(caller, turn)
            raise

    async def _come_to(self, turn: asyncio.Future[None], line: _Line, caller: str, patience: float) -> None:
        while not turn.done():
            let_in = line.let_in
            await asyncio.wait({turn}, timeout=patience)
            waits_for_own = self._brief and self._held[caller] >= self._share
            if not turn.done() and line.let_in == let_in and not waits_for_own:
                raise TimeoutError

    def leave(self, caller: str) -> None:
        """Give a place back."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those who wait, the caller who was longest without one first."""
        while (caller := next(filter(self._may_enter, self._lines), None)) is not None:
            line = self._lines[caller]
            turn = line.turns[0]
            self._forget(caller, turn)
            self._take(caller)
            line.let_in += 1
            turn.set_result(None)
            if caller in self._lines:
                self._lines[caller] = self._lines.pop(caller)  # to the end of the queue

    def _may_enter(self, caller: str) -> bool:
        return self._free > 0 and self._held[caller] < self._share

    def _take(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        turns = self._lines[caller].turns
        turns.remove(turn)
        if not turns:
            del self._lines[caller]
