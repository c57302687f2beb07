"""Shares the answers to mutations with idempotency keys between replicas."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import Conflict, GatewayError
from clients.outcome import is_unconfirmed, outcome_unknown
from clients.state.errors import StateUnavailable
from clients.state.keys import (
    Claim,
    Claimed,
    Done,
    InFlight,
    Reused,
    SharedKeys,
    Token,
    new_token,
    unconfirmed,
)
from clients.state.recovery import Recovery
from resolvers.outcome_unknown import Attempted, OutcomeUnknown, confirmed, settled_at

V = TypeVar("V")

POLL_SECONDS = (0.02, 0.25)
"""The shortest and the longest interval at which a replica polls for another replica's answer, in seconds."""

RETRY_SECONDS = 1.0
"""The interval at which a replica tries to store an outcome that Redis has refused, in seconds."""

MAX_UNSAVED = 1000
"""The maximum number of outcomes that wait until Redis is available again."""


@dataclass(frozen=True, slots=True)
class Action(Generic[V]):
    """A mutation that runs once per owner and key.

    ``kind`` is the type of the answer, for decoding. ``on_unknown`` is ``None`` if the mutation may run again after an
    unknown outcome.
    """

    owner: str
    key: str
    input_print: str
    act: Callable[[], Coroutine[Any, Any, V]]
    kind: type[V]
    on_unknown: OutcomeUnknown | None


class SharedAnswers:
    """Runs an action on one replica only, and gives the answer to the other replicas.

    During an outage of Redis, the action runs on each replica that receives the key. The outcome is stored after the
    outage.
    """

    def __init__(self, keys: SharedKeys) -> None:
        self._keys = keys
        self._unsaved: dict[Token, Callable[[], Awaitable[None]]] = {}
        self._saving: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        keys.connection.on_change(lambda _: self._changed.set())

    async def knows(self, owner: str, key: str) -> bool:
        """Return whether another replica knows the key. If Redis is not available, return ``False``."""
        try:
            return await self._keys.knows(owner, key)
        except StateUnavailable:
            return False

    async def answer(self, action: Action[V], attempted: Attempted | None) -> V:
        """Run an action, or return the answer of the replica that has run the action.

        Raises:
            Conflict: reason ``KEY_REUSED``, ``OUTCOME_UNKNOWN`` or ``ANSWER_DROPPED``.
            GatewayError: the action failed.
        """
        match claim := await self._claim(action, new_token()):
            case Claimed():
                return await self._run(action, claim, attempted)
            case Done(answer=None):
                raise answer_dropped()
            case Done(answer=bytes(answer)):
                return _decoded(answer, action.kind)
            case Reused():
                raise key_reused()
            case _:
                raise outcome_unknown("" if action.on_unknown is None else action.on_unknown.message)

    async def aclose(self) -> None:
        """Stop all background work."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        await self._keys.aclose()

    async def _claim(self, action: Action[V], token: Token) -> Claim:
        """Claim the key. While another replica runs the action, wait.

        If Redis does not execute the claim soon, return a claim that Redis has not confirmed.
        """
        searches = action.on_unknown is not None and action.on_unknown.find is not None
        pause, longest = POLL_SECONDS
        recovery = Recovery(self._keys.connection.recovered)
        while True:
            try:
                claim = await self._keys.claim(
                    action.owner,
                    action.key,
                    token,
                    action.input_print,
                    searches=searches,
                    only_once=action.on_unknown is not None,
                )
                recovery.succeeded()
            except StateUnavailable as error:
                if not await recovery.after(error):
                    return unconfirmed(token)
                claim = InFlight()
            if not isinstance(claim, InFlight):
                return claim
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(1.5 * pause, longest)

    async def _run(self, action: Action[V], claimed: Claimed, attempted: Attempted | None) -> V:
        if claimed.settled_in is not None:
            began = datetime.fromtimestamp(claimed.began / 1000, UTC)
            attempted = Attempted(began=began, settled_at=time.monotonic() + claimed.settled_in)
        try:
            answer = await confirmed(action.act, action.on_unknown, attempted)
        except GatewayError as error:
            await self._failed(action, claimed, error)
            raise
        except Exception:  # an internal error also frees the key
            await self._save(claimed, lambda: self._keys.free(action.owner, action.key, claimed))
            raise
        encoded, only_once = _encoded(answer), action.on_unknown is not None
        await self._save(
            claimed,
            lambda: self._keys.finish(
                action.owner, action.key, claimed, action.input_print, encoded, only_once=only_once
            ),
        )
        return answer

    async def _failed(self, action: Action[V], claimed: Claimed, error: GatewayError) -> None:
        if action.on_unknown is not None and is_unconfirmed(error):
            settled = settled_at(error) - time.monotonic()
            await self._save(
                claimed,
                lambda: self._keys.give_up(action.owner, action.key, claimed, action.input_print, settled),
            )
        else:
            await self._save(claimed, lambda: self._keys.free(action.owner, action.key, claimed))

    async def _save(self, claimed: Claimed, save: Callable[[], Awaitable[None]]) -> None:
        """Store an outcome now, or when Redis is available again."""
        try:
            await save()
        except StateUnavailable:
            if len(self._unsaved) >= MAX_UNSAVED:
                del self._unsaved[next(iter(self._unsaved))]
            self._unsaved[claimed.token] = save
            if self._saving is None or self._saving.done():
                self._saving = asyncio.create_task(self._save_all())

    async def _save_all(self) -> None:
        """Store the outcomes in order, since a later attempt can claim a key only after the earlier attempt ended."""
        while self._unsaved:
            token, save = next(iter(self._unsaved.items()))
            try:
                await save()
                self._unsaved.pop(token, None)
            except StateUnavailable as error:
                if not error.is_outage and token in self._unsaved:  # the other outcomes go first
                    self._unsaved[token] = self._unsaved.pop(token)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), RETRY_SECONDS)
                self._changed.clear()


def _encoded(answer: object) -> bytes | None:
    """Encode an answer. Return ``None`` if MessagePack cannot represent the answer, for example the integer 2**64."""
    try:
        return msgspec.msgpack.encode(answer)
    except (OverflowError, TypeError, ValueError):
        return None


def _decoded(answer: bytes, kind: type[V]) -> V:
    """Decode an answer. Raise Conflict if a different release of the gateway has encoded the answer differently."""
    try:
        return msgspec.msgpack.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise answer_dropped() from error


def key_reused() -> Conflict:
    """Return the error for a key that was used with different input."""
    message = "The `idempotencyKey` was already used with different input. Use a new key."
    return Conflict(message, reason=Reason.KEY_REUSED)


def answer_dropped() -> Conflict:
    """Return the error for a key whose answer was evicted."""
    return Conflict(_DROPPED, reason=Reason.ANSWER_DROPPED)


_DROPPED = (
    "The request with this key was executed, but the gateway no longer has the answer. Check whether the result "
    "exists. To execute the request again, use a new key."
)
