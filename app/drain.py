"""Draining: from the first signal on nothing new begins, and what is under way has the grace to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from clients.errors import GatewayError, Interrupted, Overloaded
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave
from resolvers.streams.waiters import Waiters, woken

RETRY_SECONDS = 1.0
"""When a client that was refused may try again, in seconds: another replica, or the next process, answers then."""

REASON = "DRAINING"


class Stage(IntEnum):
    """How far the stop has come. A stage is never left for an earlier one."""

    OPEN = 0
    """Everything is accepted."""
    DRAINING = 1
    """New operations are refused; those under way go on."""
    DETACHING = 2
    """Readers of streams are detached."""
    CUTTING = 3
    """Operations that still run are cancelled."""


class Drain:
    """The stage of this process, what is under way in it, and who must act when the stage changes.

    Attributes:
        stage: how far the stop has come.
        requests: operations under way whose answer is one whole.
        streams: operations under way whose answer is a stream.
    """

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.requests = 0
        self.streams = 0
        self._sockets = 0
        self._background: list[Callable[[], Awaitable[None]]] = []
        self._watchers: dict[object, Callable[[Stage], None]] = {}
        self._ended = Waiters()

    @property
    def is_open(self) -> bool:
        """Whether new operations are accepted."""
        return self.stage is Stage.OPEN

    def advance(self, stage: Stage) -> None:
        """Go on to a stage and call the watchers; a stage that is past changes nothing."""
        if stage <= self.stage:
            return
        self.stage = stage
        for act in list(self._watchers.values()):
            act(stage)

    @contextmanager
    def watched(self, act: Callable[[Stage], None]) -> Iterator[None]:
        """Call ``act`` with each stage that begins while the context lasts."""
        watcher = object()
        self._watchers[watcher] = act
        try:
            yield
        finally:
            del self._watchers[watcher]

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count an operation while the context lasts."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._ended.wake()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Within ``request``: its answer is a stream, and is counted as one."""
        self.requests -= 1
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1
            self.requests += 1

    @contextmanager
    def socket(self) -> Iterator[None]:
        """Count a socket while the context lasts, whatever runs on it."""
        self._sockets += 1
        try:
            yield
        finally:
            self._sockets -= 1
            self._ended.wake()

    @contextmanager
    def leaving(self, leave: Leave) -> Iterator[None]:
        """Detach the readers that were given ``leave`` when the time for that comes."""

        def act(stage: Stage) -> None:
            if stage >= Stage.DETACHING:
                leave.now(DetachReason.DRAINING)

        act(self.stage)
        with self.watched(act):
            yield

    def background(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Wait for further work before the process counts as idle: ``settled`` returns when that has ended."""
        self._background.append(settled)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while True:
            while self._is_busy():
                await woken(self._ended)
            for settled in self._background:
                await settled()
            if not self._is_busy():
                return

    def _is_busy(self) -> bool:
        return bool(self.requests or self.streams or self._sockets)


def refusal() -> GatewayError:
    """The error for an operation that comes while the process drains: nothing was done for it."""
    return Overloaded("The gateway is stopping. Try again.", reason=REASON, retry_after_seconds=RETRY_SECONDS)


def stream_cut() -> GatewayError:
    """The error that ends a stream at the OpenAI door, which has no event for a reader that is detached."""
    return Overloaded("The gateway is stopping. Try again.", reason=REASON)


def interruption() -> GatewayError:
    """The error for an operation that the end of the grace cut short: how much of it was done is unknown."""
    return Interrupted(
        "The gateway stopped before the answer was there: a mutation may have been carried out.", reason=REASON
    )
