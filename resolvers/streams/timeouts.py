"""The timeouts of a stream: until the first token, between frames (idle), and in total."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

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


class TimedFrames(_Alarm, Generic[T]):
    """Iterates over the frames of an upstream call with timeouts. A context manager, which stops the timer.

    It is a class with slots, because a generator and its timer would take 600 bytes more for each stream.
    """

    __slots__ = ("_began", "_frames", "_has_begun", "_is_token", "_service", "_timeouts")

    def __init__(
        self,
        frames: AsyncIterator[T],
        is_token: Callable[[T], bool],
        timeouts: Timeouts,
        service: Service,
        began: float,
    ) -> None:
        super().__init__()
        self._frames = frames
        self._is_token = is_token
        self._timeouts = timeouts
        self._service = service
        self._began = began
        self._has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        reason = self._set_next()
        try:
            frame = await anext(self._frames)
        except asyncio.CancelledError as cancelled:
            is_late = self.is_the_reason()
            self.stop()
            if is_late:
                raise UpstreamTimeout(_MESSAGES[reason], reason=reason, service=self._service) from cancelled
            raise
        except BaseException:  # including the end
            self.stop()
            raise
        self.unset()
        self._has_begun = self._has_begun or self._is_token(frame)
        return frame

    def _set_next(self) -> Reason:
        """Set the deadline of the next frame. Return the reason for an error at the deadline."""
        timeouts = self._timeouts
        if self._has_begun:
            limit, reason = self._loop.time() + timeouts.idle, Reason.IDLE
        else:
            limit, reason = self._began + timeouts.first_token, Reason.FIRST_TOKEN
        total = self._began + timeouts.llm_total
        if total <= limit:
            limit, reason = total, Reason.TOTAL
        self.set(limit)
        return reason


class StreamTimeouts:
    """The timeouts of one stream's upstream call, which begins when the object is made."""

    __slots__ = ("_began", "_service", "_timeouts")

    def __init__(self, timeouts: Timeouts, service: Service) -> None:
        self._timeouts = timeouts
        self._service = service
        self._began = asyncio.get_running_loop().time()

    def timed(self, frames: AsyncIterator[T], *, is_token: Callable[[T], bool]) -> TimedFrames[T]:
        """Iterate over the call's frames. Raises UpstreamTimeout (``FIRST_TOKEN``, ``IDLE`` or ``TOTAL``)."""
        return TimedFrames(aiter(frames), is_token, self._timeouts, self._service, self._began)
