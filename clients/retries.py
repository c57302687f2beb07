"""Decides which failed calls the gateway repeats, and when."""

import asyncio
import random
import time
from typing import NamedTuple

from clients.breakers import Breakers
from clients.calls import Call, CallScope, RetryCause, UpstreamLimits, UpstreamObserver
from clients.errors import Service

MAX_RETRIES = 2
"""How often the gateway repeats one call."""

MAX_WAIT_SECONDS = 2.0
"""The longest ``Retry-After`` for which the gateway waits. The client gets a longer one at once, with the error."""

SAVED_CALLS = 100
"""A budget saves the retries for this number of calls."""


class RetryBudget:
    """Limits a service's retries to a share of the calls, so that retries cannot multiply a failing service's load."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = self._most = share * SAVED_CALLS

    def earn(self) -> None:
        """Add one call's share to the budget."""
        self._saved = min(self._saved + self._share, self._most)

    def spend(self) -> bool:
        """Take one retry from the budget. Returns whether the budget had one."""
        has_one = self._saved >= 1
        self._saved -= has_one
        return has_one


class Repeatable(NamedTuple):
    """A failure after which the call may be repeated, with the ``Retry-After`` of the service's answer."""

    cause: RetryCause
    retry_after_seconds: float | None = None

    def allows(self, call: Call) -> bool:
        """Return whether a repetition cannot make the service carry out the call twice."""
        return call.is_read or self.cause is RetryCause.CONNECT


class Retries:
    """Repeats the failed calls to one service."""

    def __init__(
        self, service: Service, limits: UpstreamLimits, observer: UpstreamObserver, breakers: Breakers
    ) -> None:
        self._service = service
        self._limits = limits
        self._observer = observer
        self._breakers = breakers
        self.budget = RetryBudget(limits.retry_share)

    async def pause(
        self, scope: CallScope, call: Call, failure: Repeatable | None, *, made: int, deadline: float
    ) -> bool:
        """Wait before a call is repeated.

        Args:
            scope: the request that causes the call.
            call: the failed call.
            failure: the failure of the last attempt; ``None`` if the call may not be repeated.
            made: how often the call has been repeated already.
            deadline: the time by which the call must end.

        Returns:
            Whether to repeat the call. If not, the client gets the last attempt's error.
        """
        if failure is None or made >= MAX_RETRIES or not failure.allows(call):
            return False
        wait = self._wait(failure, made)
        fits = time.monotonic() + wait + self._limits.fair < deadline
        if not fits or self._is_refused(scope, call) or not self.budget.spend():
            return False
        self._observer.call_retried(self._service, call.operation, failure.cause, wait, scope.request_id)
        await asyncio.sleep(wait)
        return not self._is_refused(scope, call)

    def _wait(self, failure: Repeatable, made: int) -> float:
        """Return the seconds to wait: a random backoff, after the time in ``Retry-After``."""
        asked = failure.retry_after_seconds or 0.0
        if asked > MAX_WAIT_SECONDS:
            return float("inf")
        return asked + random.uniform(0, self._limits.backoff * 2**made)  # noqa: S311 - spreads the load

    def _is_refused(self, scope: CallScope, call: Call) -> bool:
        """Return whether a breaker or the operation's call budget would refuse another attempt."""
        is_spent = scope.budget is not None and scope.budget.is_spent
        return is_spent or self._breakers.wait(call.part, scope.caller) > 0
