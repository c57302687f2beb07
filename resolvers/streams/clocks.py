"""The clocks on a stream: first token, idle between frames, total. All but idle begin with the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from clients.errors import Service, UpstreamTimeout
from resolvers.resources import Clocks

T = TypeVar("T")

_MESSAGES = {
    "FIRST_TOKEN": "The model did not begin to answer in time.",
    "IDLE": "The model stopped in mid-answer.",
    "TOTAL": "The answer took too long.",
}


class StreamClocks:
    """One stream's clocks. Made when its upstream is asked, so that the time it takes to open counts."""

    def __init__(self, clocks: Clocks, service: Service) -> None:
        self._time = asyncio.get_running_loop().time
        self._clocks = clocks
        self._service = service
        self._began = self._time()

    async def timed(self, frames: AsyncIterator[T], *, is_token: Callable[[T], bool]) -> AsyncIterator[T]:
        """The frames as they come, while they come in time.

        Raises:
            UpstreamTimeout: reason ``FIRST_TOKEN``, ``IDLE`` or ``TOTAL``.
        """
        total = (self._began + self._clocks.llm_total, "TOTAL")
        first = (self._began + self._clocks.first_token, "FIRST_TOKEN")
        waiting_for_first = True
        iterator = aiter(frames)
        while True:
            soonest = first if waiting_for_first else (self._time() + self._clocks.idle, "IDLE")
            limit, reason = min(total, soonest)
            try:
                async with asyncio.timeout_at(limit):
                    frame = await anext(iterator, None)
            except TimeoutError as error:
                raise UpstreamTimeout(_MESSAGES[reason], reason=reason, service=self._service) from error
            if frame is None:
                return
            waiting_for_first = waiting_for_first and not is_token(frame)
            yield frame
