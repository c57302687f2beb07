"""Polls Letta for the runs of followed agents: once for all the follows that one user has of one agent.

A user's follows share a poll; those of different users never do, so that each poll is made for a user who owns the
agent.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from clients.bounded import Quotas
from clients.codes import Reason
from clients.errors import GatewayError, NotFound, RateLimited
from clients.letta.records import RunRecord, RunStatus
from resolvers.streams.events import StreamFailure
from resolvers.streams.waiters import Waiters, woken

if TYPE_CHECKING:
    from resolvers.context import RequestContext

MAX_FOLLOWS = 200
"""How many follows one user may have at a time."""

_RETRY_SECONDS = 1.0

NEWEST_RUNS = 50
"""How many of an agent's runs are read in one poll."""

PROVED_SECONDS = 30.0
"""How long a proof holds that a conversation exists and is the user's."""

FRESH_SECONDS = 1.0
"""How old a poll may be that a new follow begins with, and a proof when the runs of a conversation have changed."""

BUSY_POLLS = 20
"""How many polls without news pass before they become rarer."""

MAX_SLOWDOWN = 5
"""How many times rarer the polls of an idle agent become."""

JITTER = 0.1
"""The part of the interval by which a poll may come early or late, so that polls of many agents spread out."""


class Look(NamedTuple):
    """The result of one poll. ``began`` is a ``time.monotonic()``; ``runs`` are newest first, of all conversations."""

    began: float
    runs: list[RunRecord]
    failure: Exception | None = None


class _Scope:
    """A followed conversation: how often it is followed, when it was proved, its runs in the newest poll."""

    def __init__(self) -> None:
        self.follows = 0
        self.proved = 0.0
        self.is_gone = False
        self.state: list[tuple[str, RunStatus]] | None = None

    async def prove(self, context: RequestContext, scope: str) -> None:
        """Note whether it exists and is the user's."""
        try:
            await context.access.scope(scope)
        except NotFound:
            self.is_gone = True
        self.proved = time.monotonic()


class Watches:
    """The watches of all users' followed agents."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], Watch] = {}
        self._follows = Quotas(sys.maxsize, MAX_FOLLOWS)

    @contextmanager
    def following(self, context: RequestContext, scope: str, agent_id: str, interval: float) -> Iterator[Watch]:
        """Follow a conversation, whose ownership has just been proved, for as long as the context lasts.

        Args:
            context: the operation that follows.
            scope: the conversation, ``conv-…``, or ``agent-…`` for the agent's default one.
            agent_id: its agent.
            interval: the time from one poll to the next, in seconds.

        Raises:
            RateLimited: reason ``FOLLOWS``, past ``MAX_FOLLOWS`` of the user's.
        """
        owner = context.principal.user_id
        if not self._follows.has_room(owner):
            raise RateLimited(
                f"You follow {MAX_FOLLOWS} conversations, which is the limit. End one of the subscriptions first.",
                reason=Reason.FOLLOWS,
                retry_after_seconds=_RETRY_SECONDS,
            )
        watch = self._watches.get((owner, agent_id))
        if watch is None:
            watch = self._watches[owner, agent_id] = Watch(context, agent_id, interval)
        self._follows.add(owner, 1)
        watch.join(scope)
        try:
            yield watch
        finally:
            watch.leave(scope)
            if not watch.is_followed:
                del self._watches[owner, agent_id]
            self._follows.add(owner, -1)


class Watch:
    """The polls of one agent for one user.

    Attributes:
        look: the newest poll; ``None`` before the first.
        looked: wakes after each poll.
    """

    def __init__(self, context: RequestContext, agent_id: str, interval: float) -> None:
        self.look: Look | None = None
        self.looked = Waiters()
        self._context = context
        self._agent_id = agent_id
        self._interval = interval
        self._scopes: dict[str, _Scope] = {}
        self._quiet = self._waiting = 0
        self._due = 0.0
        self._sooner = Waiters()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_followed(self) -> bool:
        """Whether there is a follow left."""
        return bool(self._scopes)

    def join(self, scope: str) -> None:
        """Begin one follow of a conversation, whose ownership has just been proved."""
        known = self._scopes.setdefault(scope, _Scope())
        known.follows += 1
        known.proved, known.is_gone = time.monotonic(), False

    def leave(self, scope: str) -> None:
        """End one follow of a conversation."""
        known = self._scopes[scope]
        known.follows -= 1
        if not known.follows:
            del self._scopes[scope]

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Poll for as long as the context lasts. The rate is full at first: a turn has just ended, or a reader come."""
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

    async def fresh(self, scope: str) -> list[RunRecord]:
        """The conversation's newest runs, by a poll at most ``FRESH_SECONDS`` old. Raises what that failed with."""
        since = time.monotonic() - min(FRESH_SECONDS, self._interval)
        with self.waiting():
            while self.look is None or self.look.began < since:
                self._hasten(0.0)
                await woken(self.looked)
        if self.look.failure is not None:
            raise again(self.look.failure)
        return self.runs(scope)

    def runs(self, scope: str) -> list[RunRecord]:
        """A conversation's runs in the newest poll, newest first.

        Raises:
            NotFound: once the conversation is not the user's any more.
        """
        if self._scopes[scope].is_gone:
            raise NotFound("The conversation does not exist.")
        return [] if self.look is None else self._of(self.look.runs, scope)

    @property
    def _began(self) -> float:
        return 0.0 if self.look is None else self.look.began

    def _hasten(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._sooner.wake()

    async def _polling(self) -> None:
        while True:
            if (rest := self._due - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await woken(self._sooner)
                continue
            await self._poll()
            self.looked.wake()

    async def _poll(self) -> None:
        began, runs, failure = time.monotonic(), [], None
        try:
            runs = await self._read(began)
        except Exception as error:  # noqa: BLE001 - whatever a poll fails with is for its followers to handle
            self._quiet, failure = self._quiet + 1, error
        self.look = Look(began, runs, failure)
        slowdown = min(MAX_SLOWDOWN, max(1.0, self._quiet / BUSY_POLLS))
        spread = 1 + JITTER * (2 * random.random() - 1)  # noqa: S311 - it only spreads the load
        self._due = began + self._interval * slowdown * spread

    async def _read(self, began: float) -> list[RunRecord]:
        """The agent's runs. Proves the conversations that have news and, every ``PROVED_SECONDS``, all of them."""
        context = self._context.renewed()
        found = await context.resources.letta.runs(context.scope, [self._agent_id], limit=NEWEST_RUNS)
        runs = [run for run in found if run.agent_id == self._agent_id]
        has_news = False
        for scope, known in list(self._scopes.items()):
            state = [(run.id, run.status) for run in self._of(runs, scope)]
            is_news = state != known.state
            has_news = has_news or is_news
            if began - known.proved > (FRESH_SECONDS if is_news else PROVED_SECONDS):
                await known.prove(context, scope)
            known.state = state
        self._quiet = 0 if has_news else self._quiet + 1
        return runs

    def _of(self, runs: list[RunRecord], scope: str) -> list[RunRecord]:
        wanted = None if scope == self._agent_id else scope
        return [run for run in runs if run.conversation_id == wanted]


def again(failure: Exception) -> Exception:
    """A failure to raise for one of several followers."""
    return StreamFailure.of(failure).error() if isinstance(failure, GatewayError) else failure
