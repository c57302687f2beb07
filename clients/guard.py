"""Limits calls to one service, and reports each call's outcome."""

import asyncio
import time

from clients import failures
from clients.breakers import BreakerRefused, Breakers, Permit, Verdict
from clients.bulkhead import Bulkhead
from clients.calls import Call, CallScope, UpstreamLimits, UpstreamObserver, UpstreamRejected
from clients.errors import GatewayError, Service, UpstreamTimeout, UpstreamUnavailable
from clients.origin import Origin
from clients.retries import Repeatable

_OUTCOMES: dict[type[GatewayError], str] = {UpstreamTimeout: "timeout", UpstreamUnavailable: "unavailable"}


class Guard:
    """Limits calls to one service with bulkheads and circuit breakers."""

    def __init__(self, service: Service, limits: UpstreamLimits, observer: UpstreamObserver) -> None:
        self.service = service
        self.observer = observer
        self.breakers = Breakers(
            failures=limits.breaker_failures,
            calls=limits.breaker_calls,
            window_seconds=limits.breaker_window,
            reset_seconds=limits.breaker_reset,
            on_change=lambda key, state: observer.breaker_changed(service, key.part, state),
        )
        self._queue_seconds = limits.queue
        self._calls = Bulkhead(limits.max_concurrent, brief=True)
        self._model_calls = Bulkhead(limits.max_model_calls)
        self._letta_calls = Bulkhead(limits.max_model_calls)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or queued."""
        return all(bulkhead.is_idle for bulkhead in (self._calls, self._model_calls, self._letta_calls))

    def bulkhead(self, scope: CallScope, call: Call) -> Bulkhead:
        """Choose the bulkhead for a call."""
        if scope.origin is Origin.LETTA:
            return self._letta_calls
        return self._model_calls if call.model_work else self._calls

    def take(self, scope: CallScope, bulkhead: Bulkhead) -> bool:
        """Take a slot in a bulkhead, if the call need not wait. Return whether the call has a slot.

        Raises UpstreamTimeout after the deadline.
        """
        if scope.deadline <= time.monotonic():
            raise failures.of_wire(self.service, TimeoutError(), scope.timeout_reason, sent=False)
        return bulkhead.take(scope.caller)

    async def wait(self, scope: CallScope, bulkhead: Bulkhead) -> None:
        """Wait for a free slot in a bulkhead, and take the slot.

        Raises UpstreamUnavailable if no slot is free, or UpstreamTimeout at the deadline.
        """
        try:
            async with asyncio.timeout(scope.deadline - time.monotonic()):
                await bulkhead.enter(scope.caller, self._queue_seconds)
        except TimeoutError as error:
            raise failures.of_wire(self.service, error, scope.timeout_reason, sent=False) from error

    def permit(self, scope: CallScope, call: Call) -> Permit:
        """Get the circuit breakers' permit for one call. Raises UpstreamUnavailable if a breaker refuses the call."""
        try:
            return self.breakers.enter(call.part, scope.caller, call.kind)
        except BreakerRefused as refused:
            raise failures.of_breaker(self.service, call, refused) from refused

    async def confirm(self, call: Call, permit: Permit) -> None:
        """Ask whether this process may make a trial call. Raises UpstreamUnavailable if another process makes it."""
        try:
            await self.breakers.confirm(permit)
        except BaseException as error:  # a cancellation gives the trial call back, too
            permit.release()
            if isinstance(error, BreakerRefused):
                raise failures.of_breaker(self.service, call, error) from error
            raise


class GuardedCall:
    """One call that holds a bulkhead's slot and a circuit breaker's permit.

    ``enter`` takes both, and ``leave`` releases both. A cancelled call does not affect the breakers. The observer
    receives ``outcome``, unless the call ends with an error. If a call and its retry fail, the breakers count one
    failure.

    Attributes:
        failure: why the call may be repeated, or ``None``.
    """

    __slots__ = (
        "_began",
        "_bulkhead",
        "_guard",
        "_is_retry",
        "_operation",
        "_sent_at",
        "failure",
        "outcome",
        "permit",
        "scope",
        "status",
    )

    permit: Permit
    _bulkhead: Bulkhead

    def __init__(self, guard: Guard, scope: CallScope, operation: str, *, is_retry: bool = False) -> None:
        self._guard = guard
        self.scope = scope
        self._operation = operation
        self._is_retry = is_retry
        self._began = self._sent_at = time.monotonic()
        self.outcome = "cancelled"
        self.status: int | None = None
        self.failure: Repeatable | None = None

    async def enter(self, call: Call) -> None:
        """Take a slot and a permit for the call. Raises QueryTooComplex, UpstreamUnavailable or UpstreamTimeout."""
        scope, guard = self.scope, self._guard
        if scope.budget is not None:
            scope.budget.spend()
        bulkhead = self._bulkhead = guard.bulkhead(scope, call)
        try:
            if not guard.take(scope, bulkhead):
                await guard.wait(scope, bulkhead)
            try:
                self.permit = guard.permit(scope, call)
                if guard.breakers.are_shared:
                    await guard.confirm(call, self.permit)
                self._sent_at = time.monotonic()
            except BaseException:  # a cancellation gives the slot back, too
                bulkhead.leave(scope.caller)
                raise
        except BaseException as error:  # also reports a cancellation
            self._report(error)
            raise

    @property
    def seconds(self) -> float:
        """The seconds since the call got the permit."""
        return time.monotonic() - self._sent_at

    def report(self, verdict: Verdict) -> None:
        """Tell the circuit breakers how the call ended."""
        if not (self._is_retry and verdict.is_failure) or self.permit.trials():
            self.permit.report(verdict)

    def leave(self, error: BaseException | None) -> None:
        """Release the permit and the slot, and report the call to the observer."""
        self.permit.release()
        self._bulkhead.leave(self.scope.caller)
        self._report(error)

    def _report(self, error: BaseException | None) -> None:
        if isinstance(error, UpstreamRejected):
            self.outcome, self.status = "rejected", error.status
        elif isinstance(error, GatewayError):
            self.outcome = _OUTCOMES.get(type(error), "error")
        seconds = time.monotonic() - self._began
        guard = self._guard
        guard.observer.call_ended(
            guard.service, self._operation, self.outcome, seconds, self.status, self.scope.request_id
        )
