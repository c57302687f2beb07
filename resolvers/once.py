"""What is asked for twice under one key is done once: for calls whose upstreams keep no keys themselves.

Streams keep theirs on their shelf, and AMS its own; this is for the rest. Answers are in memory, so a key is known to
the replica that took it, as a stream's is.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from clients.errors import BadUserInput, Conflict, GatewayError
from clients.outcome import is_unconfirmed
from resolvers.doubt import Attempted, Doubt, confirmed, settled_at

V = TypeVar("V")
Act = Callable[[], Coroutine[Any, Any, V]]
"""What is to be done once."""

OVERHEAD_BYTES = 1024
"""What a small answer takes in memory, about."""

MAX_ANSWERS, MAX_KEPT_BYTES = 10_000, 64 * 1024 * 1024
"""How many answers are kept, and what they hold in all, about."""

_Name = tuple[str, str]


def fingerprint(*parts: object) -> str:
    """A digest of an input, to tell a repeated request from another one under the same key."""
    try:
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    except RecursionError as error:
        raise BadUserInput("The input is nested too deeply.", reason="NESTED") from error


@dataclass(eq=False, kw_only=True)
class _Done:
    """What a key stands for. ``task`` has the answer; the rest is known once it is there.

    ``began`` is when the first attempt began; ``attempted`` is set where it is not known whether it was carried out.
    """

    fingerprint: str
    task: asyncio.Task[Any]
    began: datetime
    attempted: Attempted | None = None
    ended_at: float = 0.0
    weight: int = 0


class Once:
    """The answers of this process, by owner and key.

    ``retention`` is how long an answer is kept, in seconds. ``max_answers`` bounds how many are kept, ``max_kept`` what
    they hold in all, in bytes, about: the oldest make room. The newest is kept however large it is.
    """

    def __init__(
        self,
        retention: float,
        *,
        max_answers: int = MAX_ANSWERS,
        max_kept: int = MAX_KEPT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retention = retention
        self._max_answers = max_answers
        self._max_kept = max_kept
        self._clock = clock
        self._under_way: dict[_Name, _Done] = {}
        self._ended: OrderedDict[_Name, _Done] = OrderedDict()
        self._kept = 0

    async def done(
        self,
        owner_id: str,
        key: str,
        input_print: str,
        act: Act[V],
        weigh: Callable[[V], int] = lambda _: OVERHEAD_BYTES,
        doubt: Doubt | None = None,
    ) -> V:
        """The answer of ``act``: done now, or what the owner's key has begun or done before.

        Whoever waits may leave: what was begun goes on to its end, within its own deadline. What fails frees the key.
        With a ``doubt``, what may have been carried out all the same does not: the same key then looks for it first.

        Raises:
            Conflict: reason ``KEY_REUSED``, when the key was used with other input; ``OUTCOME_UNKNOWN``.
        """
        self._drop_old()
        name = (owner_id, key)
        known = self._under_way.get(name) or self._ended.get(name)
        if known is not None and known.fingerprint != input_print:
            raise Conflict("The key was used before, with other input.", reason="KEY_REUSED")
        if known is None or (known.attempted is not None and doubt is not None and doubt.look is not None):
            known = self._begin(name, input_print, act, weigh, doubt, known)
        answer: V = await asyncio.shield(known.task)
        return answer

    def knows(self, owner_id: str, key: str) -> bool:
        """Whether the owner's key has begun or done something that is still kept."""
        self._drop_old()
        return (owner_id, key) in self._under_way or (owner_id, key) in self._ended

    async def settled(self) -> None:
        """Wait until what is under way now has ended."""
        if tasks := [one.task for one in self._under_way.values()]:
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Cancel what is under way; the process is going."""
        tasks = [one.task for one in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self,
        name: _Name,
        input_print: str,
        act: Act[V],
        weigh: Callable[[V], int],
        doubt: Doubt | None,
        earlier: _Done | None,
    ) -> _Done:
        attempted = None if earlier is None else earlier.attempted
        if earlier is not None:
            self._drop(name)
        task = asyncio.create_task(self._carried_out(name, act, weigh, doubt, attempted))
        task.add_done_callback(_seen)
        one = _Done(fingerprint=input_print, task=task, began=attempted.began if attempted else datetime.now(UTC))
        self._under_way[name] = one
        return one

    async def _carried_out(
        self, name: _Name, act: Act[V], weigh: Callable[[V], int], doubt: Doubt | None, attempted: Attempted | None
    ) -> V:
        try:
            answer = await confirmed(act, doubt, attempted)
        except BaseException as error:  # a cancellation too: the key is free for another try, or looks first
            one = self._under_way[name]
            if doubt is not None and isinstance(error, GatewayError) and is_unconfirmed(error):
                one.attempted = Attempted(began=one.began, settled_at=settled_at(error))
                self._keep(name, OVERHEAD_BYTES)
            else:
                del self._under_way[name]
            raise
        self._keep(name, weigh(answer))
        return answer

    def _keep(self, name: _Name, weight: int) -> None:
        one = self._under_way.pop(name)
        one.ended_at, one.weight = self._clock(), weight
        self._ended[name] = one
        self._kept += weight
        while len(self._ended) > 1 and (len(self._ended) > self._max_answers or self._kept > self._max_kept):
            self._drop_oldest()

    def _drop_old(self) -> None:
        now = self._clock()
        while self._ended and now - next(iter(self._ended.values())).ended_at >= self._retention:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._ended)))

    def _drop(self, name: _Name) -> None:
        self._kept -= self._ended.pop(name).weight


def _seen(task: asyncio.Task[Any]) -> None:
    """There may be nobody left who waits for a failure."""
    if not task.cancelled():
        task.exception()
