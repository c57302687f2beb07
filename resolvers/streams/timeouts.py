"""The timeouts of a stream: until the first token, between frames (idle), and in total."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
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
class Timeouts:
    """Timeouts in seconds. ``request`` limits operations without model calls. The other timeouts limit model calls."""

    request: float
    llm_total: float
    first_token: float
    idle: float


class StreamTimeouts:
    """The timeouts of one stream's upstream call."""

    def __init__(self, timeouts: Timeouts, service: Service) -> None:
        self._time = asyncio.get_running_loop().time
        self._timeouts = timeouts
        self._service = service
        self._began = self._time()

    async def timed(self, frames: AsyncIterator[T], *, is_token: Callable[[T], bool]) -> AsyncGenerator[T]:
        """Yield the upstream call's frames. Raises UpstreamTimeout (``FIRST_TOKEN``, ``IDLE`` or ``TOTAL``)."""
        total = (self._began + self._timeouts.llm_total, Reason.TOTAL)
        first = (self._began + self._timeouts.first_token, Reason.FIRST_TOKEN)
        waiting_for_first = True
        iterator, alarm = aiter(frames), _Alarm()
        try:
            while True:
                soonest = first if waiting_for_first else (self._time() + self._timeouts.idle, Reason.IDLE)
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
    """Cancels the task that creates the alarm after a deadline, like ``asyncio.timeout_at``, but reuses the timer."""

    __slots__ = ("_cancelling", "_is_set", "_limit", "_loop", "_rang", "_task", "_timer", "_timer_at")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._limit = 0.0
        self._task: asyncio.Task[None] | None = asyncio.current_task()
        self._cancelling = 0
        self._is_set = self._rang = False

    def set(self, limit: float) -> None:
        """Set the task's deadline, as a time of the event loop's clock."""
        self._limit, self._is_set = limit, True
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        if self._timer is None or limit < self._timer_at:
            self._start()

    def unset(self) -> None:
        """Remove the deadline."""
        self._is_set = False

    def is_the_reason(self) -> bool:
        """Undo the alarm's cancellation of the task. Return whether only the alarm has cancelled the task."""
        return self._take_back() <= self._cancelling if self._rang else False

    def stop(self) -> None:
        """Stop the timer."""
        if self._rang:  # the task has raised an error other than the cancellation
            self._take_back()
        self._is_set, self._task = False, None
        if self._timer is not None:
            self._timer.cancel()

    def _take_back(self) -> int:
        self._rang = False
        return 0 if self._task is None else self._task.uncancel()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._limit
        self._timer = self._loop.call_at(self._limit, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._is_set or self._task is None:
            return
        if self._loop.time() < self._limit:
            self._start()
        else:
            self._rang = True
            self._task.cancel()
