"""Polls Letta for the runs of followed agents: once for all of a user's follows of an agent, never for two users."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol, Self

from clients.bounded import Quotas
from clients.codes import Reason
from clients.errors import GatewayError, NotFound, RateLimited
from clients.letta.records import RunRecord, RunStatus
from clients.owned import ConversationRef, OwnedAgentId, OwnedRunId
from resolvers.owned import OwnedRun, runs_of
from resolvers.streams.events import StreamFailure
from resolvers.streams.waiters import Waiters, woken

MAX_FOLLOWS = 200
"""The most follows of one user at a time."""

_RETRY_SECONDS = 1.0

NEWEST_RUNS = 50
"""The number of runs that one poll reads."""

PROVED_SECONDS = 30.0
"""The time for which a proof of ownership holds."""

FRESH_SECONDS = 1.0
"""The greatest age of the poll that a new follow begins with, and of a proof when the runs have changed."""

BUSY_POLLS = 20
"""The number of polls without changes after which polls become rarer."""

MAX_SLOWDOWN = 5
"""The factor by which polls of an idle agent become rarer."""

JITTER = 0.1
"""The part of the interval by which a poll is early or late, so that polls of many agents spread out."""


class AgentReads(Protocol):
    """The upstream reads of a poll, about one agent and for its owner."""

    owner_id: str
    agent_id: OwnedAgentId

    def renewed(self) -> Self:
        """Return the same reads with a new deadline and new loaders."""

    async def runs(self, limit: int) -> list[RunRecord]:
        """Read the newest runs of the agent, newest first."""

    async def prove(self, conversation: ConversationRef) -> None:
        """Check that the user still has a conversation with the agent. Raises NotFound."""


class Poll(NamedTuple):
    """The result of one poll. ``began`` is a ``time.monotonic()``; ``runs`` are newest first, of all conversations."""

    began: float
    runs: list[OwnedRun]
    failure: Exception | None = None


class _Followed:
    """A followed conversation: how often it is followed, when it was proved, its runs in the newest poll."""

    def __init__(self) -> None:
        self.follows = 0
        self.proved = 0.0
        self.is_gone = False
        self.state: list[tuple[OwnedRunId, RunStatus]] | None = None

    async def prove(self, reads: AgentReads, conversation: ConversationRef) -> None:
        """Record whether it exists and is the user's."""
        try:
            await reads.prove(conversation)
        except NotFound:
            self.is_gone = True
        self.proved = time.monotonic()


class Watches:
    """The watches of all followed agents, by user."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], Watch] = {}
        self._follows = Quotas(sys.maxsize, MAX_FOLLOWS)

    @contextmanager
    def following(self, reads: AgentReads, conversation: ConversationRef, interval: float) -> Iterator[Watch]:
        """Follow a conversation while the context lasts, with polls every ``interval`` seconds.

        Raises:
            RateLimited: reason ``FOLLOWS``: the user has ``MAX_FOLLOWS``.
        """
        owner, agent_id = reads.owner_id, reads.agent_id
        if not self._follows.has_room(owner):
            raise RateLimited(
                f"You follow {MAX_FOLLOWS} conversations, which is the limit. End one of the subscriptions first.",
                reason=Reason.FOLLOWS,
                retry_after_seconds=_RETRY_SECONDS,
            )
        watch = self._watches.get((owner, agent_id))
        if watch is None:
            watch = self._watches[owner, agent_id] = Watch(reads, interval)
        self._follows.add(owner, 1)
        watch.join(conversation)
        try:
            yield watch
        finally:
            watch.leave(conversation)
            if not watch.is_followed:
                del self._watches[owner, agent_id]
            self._follows.add(owner, -1)


class Watch:
    """The polls of one agent for one user.

    Attributes:
        newest: the newest poll; ``None`` before the first.
        polled: wakes after each poll.
        due: when the next poll is due, a ``time.monotonic()``.
    """

    def __init__(self, reads: AgentReads, interval: float) -> None:
        self.newest: Poll | None = None
        self.polled = Waiters()
        self._reads = reads
        self._interval = interval
        self._followed: dict[ConversationRef, _Followed] = {}
        self._quiet = self._waiting = 0
        self.due = 0.0
        self._sooner = Waiters()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_followed(self) -> bool:
        """Whether there are follows."""
        return bool(self._followed)

    def join(self, conversation: ConversationRef) -> None:
        """Add a follow of a conversation."""
        known = self._followed.setdefault(conversation, _Followed())
        known.follows += 1
        known.proved, known.is_gone = time.monotonic(), False

    def leave(self, conversation: ConversationRef) -> None:
        """Remove a follow of a conversation."""
        known = self._followed[conversation]
        known.follows -= 1
        if not known.follows:
            del self._followed[conversation]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Poll until the context ends; at the full rate first, since a turn has just ended or a reader attached."""
        self._waiting += 1
        self._quiet = 0
        self._hasten(self._began + self._interval)
        if self._task is None:
            self._task = asyncio.create_task(self._polling())
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()
                self._task = None

    async def fresh(self, conversation: ConversationRef) -> list[OwnedRun]:
        """Return the newest runs, of a poll at most ``FRESH_SECONDS`` old. Raises the error of that poll."""
        since = time.monotonic() - min(FRESH_SECONDS, self._interval)
        with self.waiting():
            while self.newest is None or self.newest.began < since:
                self._hasten(0.0)
                await woken(self.polled)
        if self.newest.failure is not None:
            raise again(self.newest.failure)
        return self.runs(conversation)

    def runs(self, conversation: ConversationRef) -> list[OwnedRun]:
        """Return a conversation's runs in the newest poll. Raises NotFound if it is not the user's any more."""
        if self._followed[conversation].is_gone:
            raise NotFound("The conversation does not exist.")
        return [] if self.newest is None else self._of(self.newest.runs, conversation)

    @property
    def _began(self) -> float:
        return 0.0 if self.newest is None else self.newest.began

    def _hasten(self, due: float) -> None:
        if due < self.due:
            self.due = due
            self._sooner.wake()

    async def _polling(self) -> None:
        while True:
            if (rest := self.due - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await woken(self._sooner)
                continue
            await self.poll()
            self.polled.wake()

    async def poll(self) -> None:
        """Poll now, and set when the next poll is due."""
        began, runs, failure = time.monotonic(), [], None
        try:
            runs = await self._read(began)
        except Exception as error:  # noqa: BLE001 - followers handle the failure
            self._quiet, failure = self._quiet + 1, error
        self.newest = Poll(began, runs, failure)
        slowdown = min(MAX_SLOWDOWN, max(1.0, self._quiet / BUSY_POLLS))
        spread = 1 + JITTER * (2 * random.random() - 1)  # noqa: S311 - it only spreads the load
        self.due = began + self._interval * slowdown * spread

    async def _read(self, began: float) -> list[OwnedRun]:
        """Read the agent's runs. Prove changed conversations and, every ``PROVED_SECONDS``, all of them."""
        reads = self._reads.renewed()
        runs = runs_of(reads.agent_id, await reads.runs(NEWEST_RUNS))
        have_changed = False
        for conversation, known in list(self._followed.items()):
            state = [(run.id, run.status) for run in self._of(runs, conversation)]
            has_changed = state != known.state
            have_changed = have_changed or has_changed
            if began - known.proved > (FRESH_SECONDS if has_changed else PROVED_SECONDS):
                await known.prove(reads, conversation)
            known.state = state
        self._quiet = 0 if have_changed else self._quiet + 1
        return runs

    def _of(self, runs: list[OwnedRun], conversation: ConversationRef) -> list[OwnedRun]:
        return [run for run in runs if run.conversation_id == conversation.conversation_id]


def again(failure: Exception) -> Exception:
    """Return a copy of a failure, to raise for one of several followers."""
    return StreamFailure.of(failure).error() if isinstance(failure, GatewayError) else failure
