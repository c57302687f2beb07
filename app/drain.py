"""Draining: after the first signal, new operations are refused, and those under way have the grace period to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum

from clients.codes import Reason
from clients.errors import GatewayError, Interrupted, Overloaded
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave
from resolvers.streams.waiters import Waiters, woken

RETRY_SECONDS = 1.0
"""When a refused client may retry, in seconds: another replica or the next process answers then."""


class Stage(IntEnum):
    """The stages of the stop, in order."""

    OPEN = 0
    """Everything is accepted."""
    DRAINING = 1
    """New operations are refused; those under way go on."""
    DETACHING = 2
    """Readers of streams are detached."""
    CUTTING = 3
    """Operations that still run are cancelled."""


class Drain:
    """The stage of this process, its operations, and the watchers of the stage.

    Attributes:
        requests: operations under way whose answer is not a stream.
        streams: operations under way whose answer is a stream.
    """

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.requests = 0
        self.streams = 0
        self._sockets = 0
        self._background: list[Callable[[], Awaitable[None]]] = []
        self._watchers: dict[_Watched, Callable[[Stage], None]] = {}
        self._ended = Waiters()

    @property
    def is_open(self) -> bool:
        """Whether new operations are accepted."""
        return self.stage is Stage.OPEN

    def advance(self, stage: Stage) -> None:
        """Begin a stage and call the watchers. An earlier stage changes nothing."""
        if stage <= self.stage:
            return
        self.stage = stage
        for act in list(self._watchers.values()):
            act(stage)

    def watched(self, act: Callable[[Stage], None]) -> _Watched:
        """Return a context in which ``act`` is called with each stage that begins."""
        return _Watched(self._watchers, act)

    def request(self) -> _Counted:
        """Count an operation while the context lasts."""
        return _Counted(self, requests=1)

    def stream(self) -> _Counted:
        """Count the operation of ``request`` as a stream while the context lasts."""
        return _Counted(self, requests=-1, streams=1)

    def socket(self) -> _Counted:
        """Count a socket while the context lasts, even if no operation runs on it."""
        return _Counted(self, sockets=1)

    def leaving(self, leave: Leave) -> _Watched:
        """Detach the readers of ``leave`` at the stage ``DETACHING``, if the context still lasts."""

        def act(stage: Stage) -> None:
            if stage >= Stage.DETACHING:
                leave.now(DetachReason.DRAINING)

        act(self.stage)
        return self.watched(act)

    def count(self, requests: int, streams: int, sockets: int) -> None:
        """Change the numbers of operations."""
        self.requests += requests
        self.streams += streams
        self._sockets += sockets
        self._ended.wake()

    def background(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Make ``idle`` wait for background work as well: ``settled`` returns when it has ended."""
        self._background.append(settled)

    async def idle(self) -> None:
        """Wait until no operation is under way."""
        while True:
            while self._is_busy():
                await woken(self._ended)
            for settled in self._background:
                await settled()
            if not self._is_busy():
                return

    def _is_busy(self) -> bool:
        return bool(self.requests or self.streams or self._sockets)


class _Watched:
    """The context of ``Drain.watched``. A class takes less memory than a generator."""

    __slots__ = ("_act", "_watchers")

    def __init__(self, watchers: dict[_Watched, Callable[[Stage], None]], act: Callable[[Stage], None]) -> None:
        self._watchers = watchers
        self._act = act

    def __enter__(self) -> None:
        self._watchers[self] = self._act

    def __exit__(self, *_: object) -> None:
        del self._watchers[self]


class _Counted:
    """A context in which operations or sockets are counted as under way."""

    __slots__ = ("_drain", "_numbers")

    def __init__(self, drain: Drain, *, requests: int = 0, streams: int = 0, sockets: int = 0) -> None:
        self._drain = drain
        self._numbers = requests, streams, sockets

    def __enter__(self) -> None:
        self._drain.count(*self._numbers)

    def __exit__(self, *_: object) -> None:
        requests, streams, sockets = self._numbers
        self._drain.count(-requests, -streams, -sockets)


def refusal() -> GatewayError:
    """Return the error for an operation that is refused because the process drains."""
    return Overloaded("The gateway is stopping. Retry.", reason=Reason.DRAINING, retry_after_seconds=RETRY_SECONDS)


def stream_cut() -> GatewayError:
    """Return the error that ends a stream of ``/v1``, whose format has no event for a detached reader."""
    return Overloaded("The gateway is stopping. Retry.", reason=Reason.DRAINING)


def interruption() -> GatewayError:
    """Return the error for an operation that the end of the grace period cancelled. Its outcome is unknown."""
    return Interrupted(
        "The gateway stopped before the answer was complete. A mutation may have been carried out.",
        reason=Reason.DRAINING,
    )
