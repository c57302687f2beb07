"""Detaches a connection's readers while the process stops (decision 0059).

Readers whose streams can be resumed at another replica are detached when the drain begins. Other readers stay until
their stream ends, at most until the stage ``DETACHING``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from app.drain import Drain, Stage
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave


class Departure:
    """A context manager that detaches the readers of one response or WebSocket while the process stops.

    All readers are detached together, because a WebSocket's client can connect to another replica only after the
    WebSocket is closed. Each connection waits for a random part of ``Drain.spread``.

    Args:
        leave: detaches the readers.
        running: returns how many operations the connection runs.
        detached: called after the readers were detached, and in the stage ``CUTTING``.
    """

    __slots__ = ("_detached", "_drain", "_leave", "_running", "_timer", "_watched")

    def __init__(
        self,
        drain: Drain,
        leave: Leave,
        running: Callable[[], int] = lambda: 1,
        detached: Callable[[Stage], None] = lambda _: None,
    ) -> None:
        self._drain = drain
        self._leave = leave
        self._running = running
        self._detached = detached
        self._timer: asyncio.TimerHandle | None = None
        self._watched: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        self._watched = self._drain.watched(self._advance)
        self._watched.__enter__()
        if self._drain.stage is Stage.DRAINING:
            self._begin()
        elif not self._drain.is_open:
            self._detach()
        return self

    def __exit__(self, *error: object) -> None:
        if self._watched is not None:
            self._watched.__exit__(None, None, None)
            self._watched = None  # avoids a reference cycle
        self._leave.on_change = None
        self._stop_timer()

    def _advance(self, stage: Stage) -> None:
        self._stop_timer()
        act = self._begin if stage is Stage.DRAINING else self._detach
        if stage is Stage.CUTTING or not self._drain.spread:
            act()
        else:
            delay = random.uniform(0, self._drain.spread)  # noqa: S311 - not a secret
            self._timer = asyncio.get_running_loop().call_later(delay, act)

    def _begin(self) -> None:
        self._leave.on_change = self._check
        self._check()

    def _check(self) -> None:
        if self._leave.reason is None and self._leave.movable == self._running():
            self._detach()

    def _detach(self) -> None:
        self._leave.now(DetachReason.DRAINING)
        self._detached(self._drain.stage)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
