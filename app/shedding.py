"""Load shedding: admits requests as fast as the event loop keeps up, round-robin by owner, and refuses the others.

Every admitted request adds to the work of one event loop. Without a bound, ten times the work that the loop can
do makes all of it late; with one, the loop stays quick, and what it has no time for is refused while it is still cheap.

How many requests may be under way (``limit``) follows the loop's lag. A loop that falls behind lowers it. A loop that
keeps up raises it by as many requests as it had the time for, going by the CPU time that a request has cost lately. So
requests that only wait, such as for a slow service, are admitted at the rate that the loop can serve them. While the
loop has no idle time, the requests under way have at most ``BACKLOG_SECONDS`` of work: more of them make each of them
later, and none of them sooner.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.lag import INTERVAL_SECONDS
from clients.errors import Overloaded

LATE_SECONDS = 0.1
"""A loop that is later than this has too much to do."""

PROMPT_SECONDS = 0.05
"""A loop that is less late than this can do more."""

BACKLOG_SECONDS = 0.3
"""The CPU time of all requests under way, while the loop has no idle time."""

BUSY = 0.9
"""The part of its time that a loop works which has no idle time, as good as."""

RESERVE = 8
"""The requests under way past the limit, of owners who have few."""

MAX_WAIT_SECONDS = 1.0
"""How long a request waits to be admitted before it is refused, in seconds."""

STANDING_SECONDS = 0.1
"""Where the oldest request of an owner has waited for longer, the newest is admitted first."""

FLOOR = 2
"""The fewest requests under way: one keeps the loop busy while another waits for a service."""

FLOOR_OWNERS = 8
"""The fewest owners who have a request under way, however many others have."""

RETRY_SECONDS = 1.0

_FADING = 0.95
"""What of the CPU time and the number of past requests still counts after a tick, of which there are 20 a second."""


_NEWEST = 0.2
"""The weight of the newest tick in what is known of how busy the loop is."""

_ENOUGH = 0.5
"""The fewest recent requests from which the cost of one is computed."""

_LEAST_COST = 0.0001


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits: ``turn`` resolves to whether it is admitted."""

    turn: asyncio.Future[bool]
    since: float


class Shedder:
    """Decides which requests are admitted, and when.

    Args:
        most: the most requests under way, however well the loop keeps up.
        overdue: how late the loop is at this moment, in seconds.
        clock: in seconds; it never goes back.
    """

    def __init__(
        self, most: int, overdue: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = most
        self._most = most
        self._least = min(FLOOR, most)
        self._overdue = overdue
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._under_way = 0
        self._done = self._used = 0.0
        self._cost = self._busy = 0.0
        self._room = 0.0
        self._lines: dict[str, deque[_Waiting]] = {}

    @property
    def under_way(self) -> int:
        """How many admitted requests have not left."""
        return self._under_way

    @property
    def waiting(self) -> int:
        """How many requests wait to be admitted."""
        return sum(map(len, self._lines.values()))

    def enters(self, owner: str) -> bool:
        """Let a request in if there is no need to wait; ``leave`` ends it."""
        if owner in self._lines or not self._has_room(owner) or self._overdue() > LATE_SECONDS:
            return False
        self._take(owner)
        return True

    async def enter(self, owner: str) -> None:
        """Let a request in, after a wait where need be; ``leave`` ends it.

        Raises:
            Overloaded: reason ``BUSY``, when it was not admitted within ``MAX_WAIT_SECONDS``.
        """
        if self.enters(owner):
            return
        waiting = _Waiting(asyncio.get_running_loop().create_future(), self._clock())
        self._lines.setdefault(owner, deque()).append(waiting)
        try:
            is_in = await waiting.turn
        except asyncio.CancelledError:
            self._give_up(owner, waiting)
            raise
        if not is_in:
            raise Overloaded("The gateway is busy. Try again.", reason="BUSY", retry_after_seconds=RETRY_SECONDS)

    def leave(self, owner: str) -> None:
        """End a request, and admit those that wait for its place."""
        self._under_way -= 1
        self._done += 1
        if self._held[owner] > 1:
            self._held[owner] -= 1
        else:
            del self._held[owner]
        self._let_in()

    def tick(self, lag: float, used: float, interval: float = INTERVAL_SECONDS) -> None:
        """Follow the loop's lag.

        Args:
            lag: how late the loop is, in seconds.
            used: the CPU time of the loop since the last call, in seconds.
            interval: the time between two calls of a loop that keeps up, in seconds.
        """
        self._estimate(used, interval + lag)
        if lag > LATE_SECONDS:
            self.limit = max(self._least, min(self.limit, self._under_way) * 7 // 10)
            self._room = 0.0
        elif lag < PROMPT_SECONDS and self.limit < self._most:
            self._room += max(interval / max(self._cost, _LEAST_COST), interval)
            self.limit = min(self._most, self.limit + int(self._room))
            self._room %= 1
        if self._busy > BUSY:
            self.limit = max(self._least, min(self.limit, int(BACKLOG_SECONDS / max(self._cost, _LEAST_COST))))
        if self._lines:
            self._refuse_overdue()
            self._let_in()

    def _estimate(self, used: float, passed: float) -> None:
        """Follow how busy the loop is, and the CPU time of a request: the last second's, by the requests that ended."""
        self._busy += (used / passed - self._busy) * _NEWEST
        self._used, self._done = self._used * _FADING + used, self._done * _FADING
        if self._done >= _ENOUGH:
            self._cost = self._used / self._done

    def _has_room(self, owner: str) -> bool:
        """Whether a request may be admitted.

        Past the limit there is room for owners who have at most half as many requests under way as another owner has:
        one owner's load does not hold up the few requests of others.
        """
        if owner not in self._held:
            return len(self._held) < max(FLOOR_OWNERS, self.limit)
        if self._under_way < self.limit:
            return True
        return self._under_way < self.limit + RESERVE and 2 * self._held[owner] <= max(self._held.values())

    def _take(self, owner: str) -> None:
        self._under_way += 1
        self._held[owner] += 1

    def _let_in(self) -> None:
        """Admit one request of each waiting owner in turn, as long as there is room."""
        while (owner := next(filter(self._has_room, self._lines), None)) is not None:
            line = self._lines.pop(owner)
            stands = self._clock() - line[0].since > STANDING_SECONDS
            waiting = line.pop() if stands else line.popleft()
            if line:
                self._lines[owner] = line  # behind every other owner
            if not waiting.turn.done():  # it was cancelled
                self._take(owner)
                waiting.turn.set_result(True)

    def _refuse_overdue(self) -> None:
        oldest = self._clock() - MAX_WAIT_SECONDS
        for owner, line in list(self._lines.items()):
            while line and line[0].since <= oldest:
                if not (turn := line.popleft().turn).done():
                    turn.set_result(False)
            if not line:
                del self._lines[owner]

    def _give_up(self, owner: str, waiting: _Waiting) -> None:
        """Forget a request that was cancelled while it waited, or just as it was admitted."""
        if not waiting.turn.cancelled():
            if waiting.turn.result():
                self.leave(owner)
        elif waiting in (line := self._lines.get(owner, deque())):
            line.remove(waiting)
            if not line:
                del self._lines[owner]
