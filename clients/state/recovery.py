"""Lets requests with a key wait for Redis during a short outage."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from clients.state.errors import StateUnavailable

RECOVERY_SECONDS = 2.0
"""How long after a failure of Redis a request with a key waits for Redis, in seconds.

So a key stays unique while Redis restarts. During a longer outage, requests do not wait.
"""


class Recovery:
    """Decides whether one request repeats a command that Redis has not executed.

    Args:
        recovered: waits until Redis executes commands, at most the given number of seconds after the failure. Returns
            whether Redis executes commands.
    """

    def __init__(self, recovered: Callable[[float], Awaitable[bool]]) -> None:
        self._recovered = recovered
        self._failed_at: float | None = None

    def succeeded(self) -> None:
        """Record that Redis has executed the command."""
        self._failed_at = None

    async def after(self, error: StateUnavailable) -> bool:
        """Wait for Redis after an error, and return whether the command can succeed now.

        If Redis still answers, as it does without memory, the command would fail again.
        """
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        is_brief = now < self._failed_at + RECOVERY_SECONDS
        return error.is_outage and is_brief and await self._recovered(RECOVERY_SECONDS)
