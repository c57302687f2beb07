"""Tracks the gateway's graceful shutdown.

After the first signal, the gateway refuses new operations and gives running operations a grace period.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum

from clients.codes import Reason
from clients.errors import GatewayError, Interrupted, Overloaded
from resolvers.streams.waiters import Waiters, woken

RETRY_SECONDS = 1.0
"""How long a refused client should wait before a retry, in seconds. Another process then answers."""


class Stage(IntEnum):
    """The stages of a graceful shutdown, in order."""

    OPEN = 0
    """New operations are accepted."""
    DRAINING = 1
    """New operations are refused. Running operations continue. Readers that can resume elsewhere are detached."""
    DETACHING = 2
    """All readers are detached from streams."""
    CUTTING = 3
    """Unfinished operations are cancelled."""


class Drain:
    """Tracks the stage of the graceful shutdown, and counts the operations in progress.

    Attributes:
        requests: the number of running operations whose answer is not a stream.
        streams: the number of running operations whose answer is a stream.
        spread: each connection reacts to the current stage after a random part of this time, in seconds.
    """

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.requests = 0
        self.streams = 0
        self.spread = 0.0
        self._sockets = 0
        self._background: list[Callable[[], Awaitable[None]]] = []
        self._watchers: dict[object, Callable[[Stage], None]] = {}
        self._ended = Waiters()
        self._request = _Counted(self, requests=1)
        self._stream = _Counted(self, requests=-1, streams=1)
        self._socket = _Counted(self, sockets=1)

    @property
    def is_open(self) -> bool:
        """Return whether new operations are accepted."""
        return self.stage is Stage.OPEN

    @property
    def connections(self) -> int:
        """Return the number of WebSockets and streams, at most."""
        return self._sockets + self.streams

    def advance(self, stage: Stage, spread: float = 0.0) -> None:
        """Begin a shutdown stage, and call all functions that ``watched`` has registered.

        If ``stage`` does not come after the current stage, do nothing.
        """
        if stage <= self.stage:
            return
        self.stage, self.spread = stage, spread
        for act in list(self._watchers.values()):
            act(stage)

    def begin(self, request: object, act: Callable[[Stage], None], *, counts: bool) -> None:
        """Begin a request that ``end`` ends. This is ``watched``, and ``request`` if ``counts`` is true."""
        self._watchers[request] = act
        if counts:
            self.requests += 1

    def end(self, request: object, *, counts: bool) -> None:
        """End a request. The arguments are those of ``begin``."""
        del self._watchers[request]
        if counts:
            self.requests -= 1
            self._ended.wake()

    def watched(self, act: Callable[[Stage], None]) -> _Watched:
        """Within a ``with`` block, call ``act`` at the beginning of each shutdown stage."""
        return _Watched(self._watchers, act)

    def request(self) -> _Counted:
        """Count one running request during a ``with`` block."""
        return self._request

    def stream(self) -> _Counted:
        """Count a running request as a stream during a ``with`` block."""
        return self._stream

    def socket(self) -> _Counted:
        """Count one open WebSocket during a ``with`` block."""
        return self._socket

    def count(self, requests: int, streams: int, sockets: int) -> None:
        """Add to the numbers of running requests, streams and WebSockets. The arguments can be negative."""
        self.requests += requests
        self.streams += streams
        self._sockets += sockets
        self._ended.wake()

    def background(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Register background work. ``idle`` then also waits until ``settled`` returns.

        ``settled`` returns when the work has ended.
        """
        self._background.append(settled)

    async def idle(self) -> None:
        """Wait until all operations, background work and WebSockets have ended."""
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
    """The context manager of ``Drain.watched``. A class needs less memory than a generator."""

    __slots__ = ("_act", "_watchers")

    def __init__(self, watchers: dict[object, Callable[[Stage], None]], act: Callable[[Stage], None]) -> None:
        self._watchers = watchers
        self._act = act

    def __enter__(self) -> None:
        self._watchers[self] = self._act

    def __exit__(self, *_: object) -> None:
        del self._watchers[self]


class _Counted:
    """A context manager that counts what runs. It has no state, so all requests, streams or sockets share one."""

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
    """Return the error for a new operation while the gateway is stopping."""
    message = "The gateway is stopping. Retry the request."
    return Overloaded(message, reason=Reason.DRAINING, retry_after_seconds=RETRY_SECONDS)


def stream_cut() -> GatewayError:
    """Return the error that ends a ``/v1`` stream when the gateway stops."""
    return Overloaded("The gateway is stopping. Retry the request.", reason=Reason.DRAINING)


def interruption() -> GatewayError:
    """Return the error for an operation that the gateway cancels during shutdown."""
    return Interrupted(
        "The gateway stopped before the answer was complete. Retry a mutation only with the same idempotency key.",
        reason=Reason.DRAINING,
    )
