"""The one guard on every upstream call: budget → deadline → bulkhead → breakers → one attempt → observer.

No client can be built without it. A call that is cancelled is neutral: it neither counts nor keeps a slot. The only
attempt that is repeated is a read whose idle connection was dropped before an answer began.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import httpx

from clients import failures
from clients.breakers import BreakerRefused, Breakers, Permit, Verdict
from clients.bulkhead import Bulkhead
from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamLimits, UpstreamObserver, UpstreamRejected
from clients.decode import undecodable
from clients.encoding import EncodingUnreadable, TooLarge
from clients.errors import GatewayError, Service, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.wire import Opened, Wire

NO_FAILURE = frozenset({408, 429, 501})
"""Statuses of 4xx and 5xx that say nothing bad of the service's health."""


class _Report:
    """What is told to the observer when a call is over."""

    __slots__ = ("began", "outcome", "status")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.outcome = "cancelled"
        self.status: int | None = None


class StreamedAnswer:
    """An answer whose body is still coming."""

    __slots__ = ("_body", "_permit", "_report", "_service", "headers", "status")

    def __init__(
        self,
        service: Service,
        status: int,
        headers: dict[str, str],
        body: AsyncIterator[bytes],
        report: _Report,
        permit: Permit,
    ) -> None:
        self.status = status
        self.headers = headers
        self._service = service
        self._body = body
        self._report = report
        self._permit = permit

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes as they come, for as long as it takes: the reader keeps the clocks. Raises UpstreamError."""
        try:
            async for chunk in self._body:
                yield chunk
        except (httpx.TransportError, EncodingUnreadable) as error:
            failure = failures.of_body(self._service, error)
            self._permit.cut()
            self._report.outcome = _outcome(failure)
            raise failure from error


class Upstream:
    """One service behind its guard. ``headers`` go with every call; ``base_url`` has no slash at its end."""

    def __init__(
        self,
        service: Service,
        base_url: str,
        *,
        headers: Mapping[str, str],
        limits: UpstreamLimits,
        observer: UpstreamObserver,
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self.service = service
        self._wire = Wire(service, base_url, headers=headers, limits=limits, observer=observer, transport=transport)
        self._limits = limits
        self._observer = observer
        self._calls = Bulkhead(limits.max_concurrent, brief=True)
        self._model_calls = Bulkhead(limits.max_model_calls)
        self._returning = Bulkhead(limits.max_returning)
        self._breakers = Breakers(
            failures=limits.breaker_failures,
            window_seconds=limits.breaker_window,
            reset_seconds=limits.breaker_reset,
            on_change=lambda part, state: observer.breaker_changed(service, part, state),
        )

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way or waits."""
        return all(bulkhead.is_idle for bulkhead in (self._calls, self._model_calls, self._returning))

    @property
    def breakers(self) -> Breakers:
        """The service's breakers."""
        return self._breakers

    async def request(self, scope: CallScope, call: Call) -> Answer:
        """One call, its whole answer.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamError: see the error tree.
            UpstreamRejected: where the service refused this call.
        """
        async with self._guarded(scope, call) as (report, permit):
            with self._timed(call, permit, scope.clock):
                async with asyncio.timeout_at(_loop_time(scope.deadline)):
                    answer = await self._wire.whole(scope, call)
            return self._judge(answer, call, report, permit)

    @asynccontextmanager
    async def stream(self, scope: CallScope, call: Call, *, opens_within: float) -> AsyncIterator[StreamedAnswer]:
        """One call whose answer is a stream of events, read as it comes. Leaving the context closes the connection.

        The service has ``opens_within`` seconds to begin its answer (reason ``FIRST_TOKEN``). The opening is judged
        by the breakers; what is given up later is neutral. An answer that is no stream of events is read whole and
        goes through ``call.check``, which tells what it is. Raises as ``request`` does.
        """
        async with self._guarded(scope, call) as (report, permit):
            status, headers, body, wire = await self._open(scope, call, permit, opens_within)
            try:
                if isinstance(body, bytes):
                    read = replace(call, check=call.check or self._no_stream)
                    self._judge(Answer(status, headers, body), read, report, permit)
                    raise undecodable(self.service)
                permit.tell(Verdict.OK)
                report.outcome, report.status = "ok", status
                del call  # its content may be large, and the answer may take minutes
                yield StreamedAnswer(self.service, status, headers, body, report, permit)
            finally:
                await wire.aclose()

    async def _open(self, scope: CallScope, call: Call, permit: Permit, opens_within: float) -> Opened:
        opening = time.monotonic() + opens_within
        clock = "FIRST_TOKEN" if opening < scope.deadline else scope.clock
        with self._timed(call, permit, clock):
            async with asyncio.timeout_at(_loop_time(min(opening, scope.deadline))):
                return await self._wire.opened(scope, call)

    async def ping(self, scope: CallScope, path: str) -> Answer:
        """Ask whether the service is there. Goes past the breakers and tells them nothing. Raises GatewayError."""
        try:
            async with asyncio.timeout_at(_loop_time(scope.deadline)):
                answer = await self._wire.whole(scope, Call(operation="ping", path=path, size=AnswerSize.RECORD))
        except (TimeoutError, httpx.TransportError) as error:
            raise failures.of_wire(self.service, error, scope.clock) from error
        except EncodingUnreadable as error:
            raise failures.of_body(self.service, error) from error
        if (wrong := failures.of_ping(self.service, answer)) is not None:
            raise wrong
        return answer

    def _no_stream(self, _: Answer) -> Answer:
        raise undecodable(self.service)

    async def aclose(self) -> None:
        """Close the client and its transport."""
        await self._wire.aclose()

    @contextmanager
    def _timed(self, call: Call, permit: Permit, clock: str) -> Iterator[None]:
        """Errors on the wire, counted and translated; ``clock`` is the reason where time ran out.

        Time that runs out counts only where the service had a fair share of it: a caller that comes with a deadline
        as good as past says nothing of the service.
        """
        began = time.monotonic()
        try:
            yield
        except TimeoutError as error:
            if time.monotonic() - began >= self._limits.fair:
                permit.tell(Verdict.SLOW if call.model_work else Verdict.FAILED)
            raise failures.of_wire(self.service, error, clock) from error
        except httpx.TransportError as error:
            if not isinstance(error, httpx.PoolTimeout):  # the pool is the gateway's own
                permit.tell(Verdict.UNREACHABLE if failures.nothing_was_sent(error) else Verdict.FAILED)
            raise failures.of_wire(self.service, error, clock) from error
        except EncodingUnreadable as error:
            if not isinstance(error, TooLarge):  # one user's large data is no failure of the service
                permit.tell(Verdict.FAILED)
            raise failures.of_body(self.service, error) from error

    @asynccontextmanager
    async def _guarded(self, scope: CallScope, call: Call) -> AsyncIterator[tuple[_Report, Permit]]:
        if scope.budget is not None:
            scope.budget.spend()
        report, operation = _Report(), call.operation
        bulkhead = self._bulkhead(scope, call)
        try:
            await self._enter(scope, bulkhead)
            try:
                permit = self._permit(scope, call)
                del call
                try:
                    yield report, permit
                finally:
                    permit.release()
            finally:
                bulkhead.leave(scope.caller)
        except GatewayError as error:
            report.outcome = _outcome(error)
            raise
        except UpstreamRejected as rejected:
            report.outcome, report.status = "rejected", rejected.status
            raise
        finally:
            seconds = time.monotonic() - report.began
            self._observer.call_ended(self.service, operation, report.outcome, seconds, report.status, scope.request_id)

    async def _enter(self, scope: CallScope, bulkhead: Bulkhead) -> None:
        """Through deadline and bulkhead."""
        left = scope.deadline - time.monotonic()
        if left <= 0:
            raise failures.of_wire(self.service, TimeoutError(), scope.clock, sent=False)
        try:
            async with asyncio.timeout(left) as deadline:
                await bulkhead.enter(scope.caller, self._limits.queue)
        except TimeoutError as error:
            met = error if deadline.expired() else httpx.PoolTimeout("")
            raise failures.of_wire(self.service, met, scope.clock, sent=False) from error

    def _bulkhead(self, scope: CallScope, call: Call) -> Bulkhead:
        if scope.returning:
            return self._returning
        return self._model_calls if call.model_work else self._calls

    def _permit(self, scope: CallScope, call: Call) -> Permit:
        try:
            return self._breakers.enter(call.part, scope.caller, call.kind)
        except BreakerRefused as refused:
            raise failures.of_breaker(self.service, call, refused) from refused

    def _judge(self, answer: Answer, call: Call, report: _Report, permit: Permit) -> Answer:
        """Tell the breakers, and tell an answer from a refusal from a failure."""
        report.status = answer.status
        if _is_success(answer.status) and call.check is not None:
            try:
                answer = call.check(answer)
            except UpstreamError:
                permit.tell(Verdict.FAILED)
                raise
        if _is_success(answer.status):
            report.outcome = "ok"
            permit.tell(Verdict.OK)
            return answer
        if _is_refusal(answer, call):
            permit.tell(Verdict.OK)
            raise UpstreamRejected(answer)
        if answer.status >= 500 and call.is_models_failure is not None and call.is_models_failure(answer):
            permit.tell(Verdict.PART_FAILED)
            raise UpstreamRejected(answer)
        if answer.status >= 500:
            permit.tell(Verdict.FAILED)
        raise failures.of_status(self.service, answer)


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_refusal(answer: Answer, call: Call) -> bool:
    """Whether the service works and refuses this call."""
    if 400 <= answer.status < 500 or answer.status in NO_FAILURE:
        return True
    return answer.status >= 500 and call.is_refusal is not None and call.is_refusal(answer)


def _loop_time(deadline: float) -> float:
    """A ``time.monotonic`` deadline on the loop's own clock."""
    return asyncio.get_running_loop().time() + (deadline - time.monotonic())


def _outcome(error: GatewayError) -> str:
    match error:
        case UpstreamTimeout():
            return "timeout"
        case UpstreamUnavailable():
            return "unavailable"
        case _:
            return "error"
