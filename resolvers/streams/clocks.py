"""The timeouts of a stream: until the first token, between frames (idle), and in total."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from clients.codes import Reason
from clients.errors import Service, UpstreamTimeout

T = TypeVar("T")

_MESSAGES = {
    Reason.FIRST_TOKEN: "The model did not begin to answer in time.",
    Reason.IDLE: "The model stopped sending before the end of its answer.",
    Reason.TOTAL: "The answer was not complete in time.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Timeouts in seconds. ``request`` is for operations without model work, the others for model work."""

    request: float
    llm_total: float
    first_token: float
    idle: float


class StreamClocks:
    """The timeouts of one stream, from its upstream request on."""

    def __init__(self, clocks: Clocks, service: Service) -> None:
        self._time = asyncio.get_running_loop().time
        self._clocks = clocks
        self._service = service
        self._began = self._time()

    async def timed(self, frames: AsyncIterator[T], *, is_token: Callable[[T], bool]) -> AsyncIterator[T]:
        """Pass the frames on while they come in time.

        Raises:
            UpstreamTimeout: reason ``FIRST_TOKEN``, ``IDLE`` or ``TOTAL``.
        """
        total = (self._began + self._clocks.llm_total, Reason.TOTAL)
        first = (self._began + self._clocks.first_token, Reason.FIRST_TOKEN)
        waiting_for_first = True
        iterator, alarm = aiter(frames), _Alarm()
        try:
            while True:
                soonest = first if waiting_for_first else (self._time() + self._clocks.idle, Reason.IDLE)
                limit, reason = min(total, soonest)
                alarm.set(limit)
                try:
                    frame = await anext(iterator, None)
                except asyncio.CancelledError as cancelled:
                    if alarm.is_the_reason():
                        raise UpstreamTimeout(_MESSAGES[reason], reason=reason, service=self._service) from cancelled
                    raise
                alarm.unset()
                if frame is None:
                    return
                waiting_for_first = waiting_for_first and not is_token(frame)
                yield frame
        finally:
            alarm.stop()


class _Alarm:
    """Cancels the running task if it waits past a limit, as ``asyncio.timeout_at``.

    Its timer fires at the first limit that was set, and then at the newest: moving a limit later costs no timer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._limit = 0.0
        self._task: asyncio.Task[None] | None = None
        self._cancelling = 0
        self._rang = False

    def set(self, limit: float) -> None:
        """Set the limit of the running task, on the loop's clock."""
        self._limit, self._task = limit, asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        if self._timer is None or limit < self._timer_at:
            self._start()

    def unset(self) -> None:
        """End the limit."""
        self._task = None

    def is_the_reason(self) -> bool:
        """Undo this alarm's cancellation. Returns whether there was no other."""
        return self._take_back() <= self._cancelling if self._rang else False

    def stop(self) -> None:
        """Stop the timer."""
        if self._rang:  # the wait ended with another error
            self._take_back()
        self._task = None
        if self._timer is not None:
            self._timer.cancel()

    def _take_back(self) -> int:
        """Undo the cancellation. Returns the number of other cancellations."""
        self._rang = False
        return 0 if self._task is None else self._task.uncancel()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._limit
        self._timer = self._loop.call_at(self._limit, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._limit:
            self._start()
        else:
            self._rang = True
            self._task.cancel()
