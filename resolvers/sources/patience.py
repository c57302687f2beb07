"""Repeats calls to Letta that read a run, because the run continues while Letta is unavailable."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from clients.errors import GatewayError, RateLimited, UpstreamError, UpstreamUnavailable

T = TypeVar("T")

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""The times between attempts to read a run, in seconds. If the last attempt fails, the turn's stream fails."""

JITTER = 0.5
"""The maximum random change of a pause, as a fraction, so that many streams do not call Letta at the same time."""


MAX_WAIT_SECONDS = 15.0
"""The longest ``retry_after_seconds`` for which the gateway waits. An open breaker's wait is usually shorter."""


async def pause(pauses: int, error: GatewayError | None = None) -> bool:
    """Wait before the next attempt, at least as long as the last attempt's error asks for.

    Returns ``False`` if no attempt is left after a number of pauses, or if the error asks for too long a wait.
    """
    asked = 0.0 if error is None else error.retry_after_seconds or 0.0
    if pauses >= len(PAUSES) or asked > MAX_WAIT_SECONDS:
        return False
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - it only spreads the load
    await asyncio.sleep(asked + PAUSES[pauses] * spread)
    return True


def is_temporary(error: GatewayError) -> bool:
    """Return whether a later attempt can succeed. A timeout has taken too long for another attempt."""
    return isinstance(error, UpstreamUnavailable | UpstreamError | RateLimited) and error.retryable


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read from Letta, and repeat the read after a temporary error. ``read`` must change nothing."""
    pauses = 0
    while True:
        try:
            return await read()
        except GatewayError as error:
            if not is_temporary(error) or not await pause(pauses, error):
                raise
        pauses += 1
