"""The clocks on a stream after it has opened: first token, idle between frames, total."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from clients.errors import Service, UpstreamTimeout
from resolvers.context import Clocks

T = TypeVar("T")

_MESSAGES = {
    "FIRST_TOKEN": "The model did not begin to answer in time.",
    "IDLE": "The model stopped in mid-answer.",
    "TOTAL": "The answer took too long.",
}


async def timed(
    frames: AsyncIterator[T], clocks: Clocks, service: Service, *, is_token: Callable[[T], bool]
) -> AsyncIterator[T]:
    """The frames as they come, while they come in time.

    Raises:
        UpstreamTimeout: reason ``FIRST_TOKEN``, ``IDLE`` or ``TOTAL``.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + clocks.llm_total
    first_by: float | None = clock() + clocks.first_token
    iterator = aiter(frames)
    while True:
        candidates = [(end, "TOTAL"), (clock() + clocks.idle, "IDLE")]
        if first_by is not None:
            candidates = [(end, "TOTAL"), (first_by, "FIRST_TOKEN")]
        limit, reason = min(candidates)
        try:
            async with asyncio.timeout_at(limit):
                frame = await anext(iterator, None)
        except TimeoutError as error:
            raise UpstreamTimeout(_MESSAGES[reason], reason=reason, service=service) from error
        if frame is None:
            return
        if is_token(frame):
            first_by = None
        yield frame
