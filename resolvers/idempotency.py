"""Stores the idempotency keys of mutations. Letta and LiteLLM do not support such keys.

Answers are kept in memory and, if replicas share state, in Redis (``resolvers.shared_answers``).
"""

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
from clients.errors import BadUserInput, GatewayError, Overloaded, RateLimited
from clients.outcome import is_unconfirmed
from resolvers.outcome_unknown import Attempted, OutcomeUnknown, confirmed, settled_at
from resolvers.shared_answers import Action, SharedAnswers, answer_dropped, key_reused

V = TypeVar("V")
Act = Callable[[], Coroutine[Any, Any, V]]


OVERHEAD_BYTES = 1024
"""The approximate memory of one small stored answer, in bytes."""

KEY_BYTES = 512
"""The approximate memory of an idempotency key without a stored answer, in bytes."""

OWNERS = 8
"""One owner's quota is the memory for all answers divided by this number."""

MAX_KEPT_BYTES = 128 * 1024 * 1024


MAX_IN_FLIGHT = 100


_RETRY_SECONDS = 10.0

_Name = tuple[str, str]


def fingerprint(*parts: object) -> str:
    """Return a digest of a request's input. If a later request has the same key, the gateway compares the digests."""
    try:
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    except RecursionError as error:
        raise BadUserInput("The input is nested too deeply. Reduce the nesting.", reason=Reason.NESTED) from error


@dataclass(eq=False, kw_only=True)
class _Done:
    """An action that a request with an idempotency key has started.

    Attributes:
        task: the task that returns the answer; ``None`` after the answer was evicted.
        only_once: whether the action must not be repeated. The key is then kept longer than the answer.
        attempted: the earlier attempts, if the outcome is unknown.
    """

    fingerprint: str
    task: asyncio.Task[Any] | None
    began: datetime
    only_once: bool
    attempted: Attempted | None = None
    ended_at: float = 0.0


class IdempotencyKeys:
    """Stores answers to mutations by owner and idempotency key.

    If an owner is over the quota, the owner's oldest answers are evicted.

    Args:
        retention: how long an answer is kept, in seconds.
        memory: the approximate memory of all answers, in bytes. One owner's quota is ``memory / OWNERS``.
        max_in_flight: the maximum number of one owner's actions in flight.
        clock: a monotonic clock, in seconds.
        shared: the answers of all replicas; ``None`` if this process shares no state.
    """

    def __init__(
        self,
        retention: float,
        *,
        memory: int = MAX_KEPT_BYTES,
        max_in_flight: int = MAX_IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedAnswers | None = None,
    ) -> None:
        self._shared = shared
        self._retention = retention
        self._clock = clock
        self._in_flight: dict[_Name, _Done] = {}
        self._slots = Quotas(sys.maxsize, max_in_flight)
        self._quotas = Quotas(memory, memory // OWNERS)
        self._ended: Kept[_Done] = Kept(self._quotas, _evict_answer)
        self._timer: asyncio.TimerHandle | None = None

    async def done(
        self,
        owner_id: str,
        key: str,
        input_print: str,
        act: Act[V],
        kind: type[V],
        weigh: Callable[[V], int] = lambda _: OVERHEAD_BYTES,
        on_unknown: OutcomeUnknown | None = None,
    ) -> V:
        """Run ``act`` once per owner and key. Return the result of ``act``, which has the type ``kind``.

        If the waiting requests are cancelled, the action continues. A failure frees the key. If the outcome is unknown
        and ``on_unknown`` is given, the next request with the key first searches for the result.

        Raises:
            Conflict: reason ``KEY_REUSED``, ``OUTCOME_UNKNOWN``, or ``ANSWER_DROPPED`` if the answer was evicted.
            RateLimited: reason ``KEYS``, if the owner has too many actions in flight, or the answers fill the quota.
            Overloaded: reason ``KEYS``, if all owners' answers fill the memory.
        """
        self._expire()
        name = (owner_id, key)
        known = self._in_flight.get(name) or self._ended.get(*name)
        if known is not None and known.fingerprint != input_print:
            raise key_reused()
        if known is None or (known.attempted is not None and on_unknown is not None and on_unknown.find is not None):
            action = Action(*name, input_print, act, kind, on_unknown)
            known = self._begin(name, action, weigh, known)
        if known.task is None:
            raise answer_dropped()
        answer: V = await asyncio.shield(known.task)
        return answer

    async def knows(self, owner_id: str, key: str) -> bool:
        """Return whether the owner's key is stored, or an action with the key is running."""
        self._expire()
        if (owner_id, key) in self._in_flight or self._ended.get(owner_id, key) is not None:
            return True
        return self._shared is not None and await self._shared.knows(owner_id, key)

    async def settled(self) -> None:
        """Wait until all actions in progress have ended."""
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    async def aclose(self) -> None:
        """Cancel the running actions at shutdown."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._shared is not None:
            await self._shared.aclose()

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [one.task for one in self._in_flight.values() if one.task is not None]

    def _check_room(self, owner_id: str) -> None:
        if not self._slots.has_room(owner_id):
            message = (
                f"You have {self._slots.each} running requests with idempotency keys, which is the limit. "
                "Wait until a request ends."
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
        action: Action[V],
        weigh: Callable[[V], int],
        earlier: _Done | None,
    ) -> _Done:
        attempted = None if earlier is None else earlier.attempted
        self._check_room(name[0])
        self._ended.pop(*name)
        task = asyncio.create_task(self._run(name, action, weigh, attempted))
        task.add_done_callback(_retrieve_error)
        began = attempted.began if attempted else datetime.now(UTC)
        one = _Done(fingerprint=action.input_print, task=task, began=began, only_once=action.on_unknown is not None)
        self._in_flight[name] = one
        self._slots.add(name[0], 1)
        return one

    async def _run(
        self,
        name: _Name,
        action: Action[V],
        weigh: Callable[[V], int],
        attempted: Attempted | None,
    ) -> V:
        try:
            if self._shared is None:
                answer = await confirmed(action.act, action.on_unknown, attempted)
            else:
                answer = await self._shared.answer(action, attempted)
        except BaseException as error:  # including a cancellation
            one = self._stopped(name)
            if action.on_unknown is not None and isinstance(error, GatewayError) and is_unconfirmed(error):
                one.attempted = Attempted(began=one.began, settled_at=settled_at(error))
                self._keep(name, one, OVERHEAD_BYTES)
            raise
        self._keep(name, self._stopped(name), weigh(answer))
        return answer

    def _stopped(self, name: _Name) -> _Done:
        self._slots.add(name[0], -1)
        return self._in_flight.pop(name)

    def _keep(self, name: _Name, one: _Done, weight: int) -> None:
        one.ended_at = self._clock()
        self._ended.put(*name, one, weight)
        self._set_timer()

    def _set_timer(self) -> None:
        """Expire the oldest answer in time, even if no further request has a key."""
        if self._timer is None and (oldest := self._ended.oldest()) is not None:
            left = self._retention - (self._clock() - oldest[2].ended_at)
            self._timer = asyncio.get_running_loop().call_later(max(left, 0.0), self._due)

    def _due(self) -> None:
        self._timer = None
        self._expire()
        self._set_timer()

    def _expire(self) -> None:
        now = self._clock()
        while (oldest := self._ended.oldest()) is not None and now - oldest[2].ended_at >= self._retention:
            self._ended.pop(oldest[0], oldest[1])


_OVER_QUOTA = "The stored answers for your idempotency keys fill your share of the gateway's memory. Retry later."
_NO_ROOM = "The stored answers for all users' idempotency keys fill the gateway's memory. Retry later."


def _evict_answer(one: _Done) -> int:
    """Evict an answer. Return the bytes that the answer's key still uses."""
    if one.attempted is not None:
        return OVERHEAD_BYTES
    if not one.only_once:
        return 0
    one.task = None
    return KEY_BYTES


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Retrieve a task's error, so that asyncio does not report the error."""
    if not task.cancelled():
        task.exception()
