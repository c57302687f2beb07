"""Polls Letta for the runs of followed agents. All of a user's subscriptions to one agent share the polls."""

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


_RETRY_SECONDS = 1.0

NEWEST_RUNS = 50
"""The number of runs that one poll reads."""

PROVED_SECONDS = 30.0
"""The time for which an ownership check is valid, in seconds."""

FRESH_SECONDS = 1.0
"""The time for which polls and ownership checks count as recent, in seconds."""

BUSY_POLLS = 20
"""The number of polls without changes after which the poll interval grows."""

MAX_SLOWDOWN = 5
"""The maximum factor by which the poll interval grows."""

JITTER = 0.1
"""The maximum random change of the poll interval, as a fraction, so that polls do not coincide."""


class AgentReads(Protocol):
    """Reads one agent's runs, and checks whether the user owns a conversation."""

    owner_id: str
    agent_id: OwnedAgentId

    def renewed(self) -> Self:
        """Return a copy of this object with a new deadline and new loaders."""

    async def runs(self, limit: int) -> list[RunRecord]:
        """Read at most ``limit`` of the agent's newest runs, newest first."""

    async def prove(self, conversation: ConversationRef) -> None:
        """Check that the conversation belongs to the user. Raises NotFound."""


class Poll(NamedTuple):
    """The result of one poll of Letta. ``runs`` has the newest run first.

    ``began`` is a value of ``time.monotonic()``.
    """

    began: float
    runs: list[OwnedRun]
    failure: Exception | None = None


class _Followed:
    def __init__(self) -> None:
        self.follows = 0
        self.proved = 0.0
        self.is_gone = False
        self.state: list[tuple[OwnedRunId, RunStatus]] | None = None

    async def prove(self, reads: AgentReads, conversation: ConversationRef) -> None:
        """Record whether the conversation exists and belongs to the user."""
        try:
            await reads.prove(conversation)
        except NotFound:
            self.is_gone = True
        self.proved = time.monotonic()


class Watches:
    """The ``Watch`` objects of all followed agents, by user and agent."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], Watch] = {}
        self._follows = Quotas(sys.maxsize, MAX_FOLLOWS)

    @contextmanager
    def following(self, reads: AgentReads, conversation: ConversationRef, interval: float) -> Iterator[Watch]:
        """Follow a conversation while the ``with`` block runs. Poll every ``interval`` seconds. Raises RateLimited."""
        owner, agent_id = reads.owner_id, reads.agent_id
        if not self._follows.has_room(owner):
            raise RateLimited(
                f"You have {MAX_FOLLOWS} conversation subscriptions, which is the maximum. End one subscription first.",
                reason=Reason.FOLLOWS,
                retry_after_seconds=_RETRY_SECONDS,
            )
        watch = self._watches.get((owner, agent_id))
        if watch is None:
            watch = self._watches[owner, agent_id] = Watch(reads, interval)
        self._follows.add(owner, 1)
        watch.add_follow(conversation)
        try:
            yield watch
        finally:
            watch.remove_follow(conversation)
            if not watch.is_followed:
                del self._watches[owner, agent_id]
            self._follows.add(owner, -1)


class Watch:
    """Polls Letta for the runs of one user's agent.

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
        """Return whether any subscription follows the agent."""
        return bool(self._followed)

    def add_follow(self, conversation: ConversationRef) -> None:
        """Add a subscription that follows a conversation."""
        known = self._followed.setdefault(conversation, _Followed())
        known.follows += 1
        known.proved, known.is_gone = time.monotonic(), False

    def remove_follow(self, conversation: ConversationRef) -> None:
        """Remove a subscription that follows a conversation."""
        known = self._followed[conversation]
        known.follows -= 1
        if not known.follows:
            del self._followed[conversation]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Poll Letta while the ``with`` block runs. Begin with the shortest interval."""
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
        """Return the conversation's runs from a poll that is at most ``FRESH_SECONDS`` old.

        If the poll failed, the poll's error is raised.
        """
        since = time.monotonic() - min(FRESH_SECONDS, self._interval)
        with self.waiting():
            while self.newest is None or self.newest.began < since:
                self._hasten(0.0)
                await woken(self.polled)
        if self.newest.failure is not None:
            raise copy_of(self.newest.failure)
        return self.runs(conversation)

    def runs(self, conversation: ConversationRef) -> list[OwnedRun]:
        """Return the conversation's runs that the newest poll has found. Raises NotFound."""
        if self._followed[conversation].is_gone:
            raise NotFound("The conversation does not exist, or you have no permission to read it. Check the id.")
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
        """Poll Letta now, and set the time of the next poll."""
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
        """Read the agent's runs. If a conversation's runs have changed, check the conversation's owner."""
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


def copy_of(failure: Exception) -> Exception:
    """Return a copy of an error, because each follower raises a separate exception."""
    return StreamFailure.of(failure).error() if isinstance(failure, GatewayError) else failure
