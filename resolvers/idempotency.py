"""Idempotency keys of mutations, for Letta and LiteLLM, which keep none.

Streams and AMS have keys of their own. Answers are kept in memory, so only the replica that received a key knows it.
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
"""An action to do once."""

OVERHEAD_BYTES = 1024
"""The approximate memory of a small answer, in bytes."""

KEY_BYTES = 512
"""The approximate memory of a key without an answer, in bytes."""

OWNERS = 8
"""The number of owners that can use up the memory of answers."""

MAX_KEPT_BYTES = 128 * 1024 * 1024
"""The approximate memory of the answers of all owners, in bytes."""

MAX_UNDER_WAY = 100
"""The most actions of one owner that run at a time."""

_RETRY_SECONDS = 10.0

_Name = tuple[str, str]


def fingerprint(*parts: object) -> str:
    """Return a digest of an input, compared when its key comes again."""
    try:
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    except RecursionError as error:
        raise BadUserInput("The input is nested too deeply. Send fewer levels.", reason=Reason.NESTED) from error


@dataclass(eq=False, kw_only=True)
class _Done:
    """A key's action.

    Attributes:
        task: has the answer; ``None`` after the answer was evicted.
        began: when the first attempt began.
        only_once: whether it must not be repeated: the key is then kept longer than its answer.
        attempted: set if its outcome is unknown.
    """

    fingerprint: str
    task: asyncio.Task[Any] | None
    began: datetime
    only_once: bool
    attempted: Attempted | None = None
    ended_at: float = 0.0


class IdempotencyKeys:
    """The answers of this process, by owner and key.

    Past an owner's quota its oldest answers are evicted. The key of an action that must not be repeated stays taken for
    the whole retention.

    Args:
        retention: how long an answer is kept, in seconds.
        memory: the approximate memory of all answers, in bytes; an owner's quota is an ``OWNERS``th part of it.
        max_under_way: the most actions of one owner that run at a time.
        clock: a monotonic clock, in seconds.
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
        self._slots = Quotas(sys.maxsize, max_under_way)
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
        """Do ``act`` once per key of an owner, and return its answer.

        An action continues to its end, within its deadline, if the requests that wait for it are cancelled. A failure
        frees the key, unless the outcome is unknown and there is a ``doubt``: the same key then looks first.

        Raises:
            Conflict: reason ``KEY_REUSED``, if the key was used with other input; ``ANSWER_DROPPED``, if the action is
                done and its answer was evicted; ``OUTCOME_UNKNOWN``.
            RateLimited: reason ``KEYS``, if too many actions of the owner run, or its answers fill its quota.
            Overloaded: reason ``KEYS``, if the answers of all owners fill the memory.
        """
        self._drop_old()
        name = (owner_id, key)
        known = self._under_way.get(name) or self._ended.get(*name)
        if known is not None and known.fingerprint != input_print:
            raise Conflict("The key was already used with different input. Use a new key.", reason=Reason.KEY_REUSED)
        if known is None or (known.attempted is not None and doubt is not None and doubt.look is not None):
            known = self._begin(name, input_print, act, weigh, doubt, known)
        if known.task is None:
            raise Conflict(_DROPPED, reason=Reason.ANSWER_DROPPED)
        answer: V = await asyncio.shield(known.task)
        return answer

    def knows(self, owner_id: str, key: str) -> bool:
        """Whether an action of the owner's key is running, or kept."""
        self._drop_old()
        return (owner_id, key) in self._under_way or self._ended.get(owner_id, key) is not None

    async def settled(self) -> None:
        """Wait until the actions that run now have ended."""
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Cancel the running actions at shutdown."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [one.task for one in self._under_way.values() if one.task is not None]

    def _check_room(self, owner_id: str) -> None:
        """Raise RateLimited or Overloaded before an action begins."""
        if not self._slots.has_room(owner_id):
            message = f"You have {self._slots.each} requests with idempotency keys under way. Wait until one has ended."
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
        self._slots.add(name[0], 1)
        return one

    async def _carried_out(
        self, name: _Name, act: Act[V], weigh: Callable[[V], int], doubt: Doubt | None, attempted: Attempted | None
    ) -> V:
        try:
            answer = await confirmed(act, doubt, attempted)
        except BaseException as error:  # also a cancellation: the key is free for another attempt, or looks first
            one = self._stopped(name)
            if doubt is not None and isinstance(error, GatewayError) and is_unconfirmed(error):
                one.attempted = Attempted(began=one.began, settled_at=settled_at(error))
                self._keep(name, one, OVERHEAD_BYTES)
            raise
        self._keep(name, self._stopped(name), weigh(answer))
        return answer

    def _stopped(self, name: _Name) -> _Done:
        """Remove an action from the running ones."""
        self._slots.add(name[0], -1)
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
    """Retrieve a failure, since no request may wait for it any more."""
    if not task.cancelled():
        task.exception()
