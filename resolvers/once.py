"""What is asked for twice under one key is done once: for calls whose upstreams keep no keys themselves.

Streams keep their own, and so does AMS; this is for the rest. Answers are in memory, so a key is known to
the replica that took it, as a stream's is.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from clients.bounded import Kept, Quotas
from clients.codes import Reason
from clients.errors import BadUserInput, Conflict, GatewayError, Overloaded, RateLimited
from clients.outcome import is_unconfirmed
from resolvers.doubt import Attempted, Doubt, confirmed, settled_at

V = TypeVar("V")
Act = Callable[[], Coroutine[Any, Any, V]]
"""What is to be done once."""

OVERHEAD_BYTES = 1024
"""What a small answer takes in memory, about."""

KEY_BYTES = 512
"""What a key takes whose answer was dropped, about."""

OWNERS = 8
"""How many owners it takes to use up the memory of answers."""

MAX_KEPT_BYTES = 128 * 1024 * 1024
"""What the answers of all owners take, about."""

MAX_UNDER_WAY = 100
"""How many of an owner's may be under way."""

_RETRY_SECONDS = 10.0

_Name = tuple[str, str]


def fingerprint(*parts: object) -> str:
    """A digest of an input, to tell a repeated request from another one under the same key."""
    try:
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    except RecursionError as error:
        raise BadUserInput("The input is nested too deeply. Send fewer levels.", reason=Reason.NESTED) from error


@dataclass(eq=False, kw_only=True)
class _Done:
    """What a key stands for.

    Attributes:
        fingerprint: of its input.
        task: has the answer; ``None`` once that was dropped to make room.
        began: when the first attempt began.
        only_once: whether it must not be done twice: the key then outlives its answer.
        attempted: set where it is not known whether it was carried out.
        ended_at: when it ended, on the clock of ``Once``.
    """

    fingerprint: str
    task: asyncio.Task[Any] | None
    began: datetime
    only_once: bool
    attempted: Attempted | None = None
    ended_at: float = 0.0


class Once:
    """The answers of this process, by owner and key.

    An owner over its quota loses its own oldest answers. The key of what must not be done twice stays taken all the
    same, for as long as it would have been.

    Args:
        retention: how long an answer is kept, in seconds.
        memory: how many bytes all answers take, about; an owner's take an ``OWNERS``th part of it.
        max_under_way: how many of an owner's may be under way.
        clock: in seconds; never goes back.
    """

    def __init__(
        self,
        retention: float,
        *,
        memory: int = MAX_KEPT_BYTES,
        max_under_way: int = MAX_UNDER_WAY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retention = retention
        self._clock = clock
        self._under_way: dict[_Name, _Done] = {}
        self._places = Quotas(sys.maxsize, max_under_way)
        self._quotas = Quotas(memory, memory // OWNERS)
        self._ended: Kept[_Done] = Kept(self._quotas, _reduced)

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
            Conflict: reason ``KEY_REUSED``, when the key was used with other input; ``ANSWER_DROPPED``, when it was
                done and the answer has made room for others; ``OUTCOME_UNKNOWN``.
            RateLimited: reason ``KEYS``, when the owner has too many under way, or keeps too much already.
            Overloaded: reason ``KEYS``, when all owners together keep too much already.
        """
        self._drop_old()
        name = (owner_id, key)
        known = self._under_way.get(name) or self._ended.get(*name)
        if known is not None and known.fingerprint != input_print:
            raise Conflict("The key was used with other input. Use a new key.", reason=Reason.KEY_REUSED)
        if known is None or (known.attempted is not None and doubt is not None and doubt.look is not None):
            known = self._begin(name, input_print, act, weigh, doubt, known)
        if known.task is None:
            raise Conflict(_DROPPED, reason=Reason.ANSWER_DROPPED)
        answer: V = await asyncio.shield(known.task)
        return answer

    def knows(self, owner_id: str, key: str) -> bool:
        """Whether the owner's key has begun or done something that is still kept."""
        self._drop_old()
        return (owner_id, key) in self._under_way or self._ended.get(owner_id, key) is not None

    async def settled(self) -> None:
        """Wait until what is under way now has ended."""
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Cancel what is under way; the process is going."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [one.task for one in self._under_way.values() if one.task is not None]

    def _check_room(self, owner_id: str) -> None:
        """Raises RateLimited or Overloaded, before anything is done."""
        if not self._places.has_room(owner_id):
            message = (
                f"You have {self._places.each} requests with idempotency keys under way. Wait until one has ended."
            )
            raise RateLimited(message, reason=Reason.KEYS, retry_after_seconds=1.0)
        self._ended.fit(owner_id, more=OVERHEAD_BYTES)
        if self._quotas.is_over(owner_id, OVERHEAD_BYTES):
            raise RateLimited(_OVER_QUOTA, reason=Reason.KEYS, retry_after_seconds=_RETRY_SECONDS)
        if not self._quotas.has_room(owner_id, OVERHEAD_BYTES):
            raise Overloaded(_NO_ROOM, reason=Reason.KEYS, retry_after_seconds=_RETRY_SECONDS)

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
        self._check_room(name[0])
        self._ended.pop(*name)
        task = asyncio.create_task(self._carried_out(name, act, weigh, doubt, attempted))
        task.add_done_callback(_seen)
        began = attempted.began if attempted else datetime.now(UTC)
        one = _Done(fingerprint=input_print, task=task, began=began, only_once=doubt is not None)
        self._under_way[name] = one
        self._places.add(name[0], 1)
        return one

    async def _carried_out(
        self, name: _Name, act: Act[V], weigh: Callable[[V], int], doubt: Doubt | None, attempted: Attempted | None
    ) -> V:
        try:
            answer = await confirmed(act, doubt, attempted)
        except BaseException as error:  # a cancellation too: the key is free for another try, or looks first
            one = self._over(name)
            if doubt is not None and isinstance(error, GatewayError) and is_unconfirmed(error):
                one.attempted = Attempted(began=one.began, settled_at=settled_at(error))
                self._keep(name, one, OVERHEAD_BYTES)
            raise
        self._keep(name, self._over(name), weigh(answer))
        return answer

    def _over(self, name: _Name) -> _Done:
        """It is not under way any more."""
        self._places.add(name[0], -1)
        return self._under_way.pop(name)

    def _keep(self, name: _Name, one: _Done, weight: int) -> None:
        one.ended_at = self._clock()
        self._ended.put(*name, one, weight)

    def _drop_old(self) -> None:
        now = self._clock()
        while (oldest := self._ended.oldest()) is not None and now - oldest[2].ended_at >= self._retention:
            self._ended.pop(oldest[0], oldest[1])


_DROPPED = (
    "The request with this key was carried out, and its answer was evicted from memory. Look for its result; a new key "
    "repeats the request."
)
_OVER_QUOTA = "The answers kept under your idempotency keys use up your share of memory. Retry later."
_NO_ROOM = "The answers kept under idempotency keys of all users use up the memory. Retry later."


def _reduced(one: _Done) -> int:
    """Drop an answer. Returns the bytes still kept: the key of an action that must not be repeated, else 0."""
    if one.attempted is not None:
        return OVERHEAD_BYTES
    if not one.only_once:
        return 0
    one.task = None
    return KEY_BYTES


def _seen(task: asyncio.Task[Any]) -> None:
    """There may be nobody left who waits for a failure."""
    if not task.cancelled():
        task.exception()
