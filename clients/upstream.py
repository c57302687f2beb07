"""The one guard on every upstream call: deadline → bulkhead → breaker → one attempt → observer.

No client can be built without it. A call that is cancelled is neutral: it neither counts nor keeps a slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import httpx
import msgspec

from clients.breaker import Breaker, BreakerOpen, BreakerState, Permit
from clients.bulkhead import Bulkhead
from clients.calls import Answer, Call, CallScope, UpstreamLimits, UpstreamObserver, UpstreamRejected
from clients.decode import display_name
from clients.errors import GatewayError, Service, UpstreamError, UpstreamTimeout, UpstreamUnavailable

NO_FAILURE = frozenset({408, 429, 501})
"""Statuses of 4xx and 5xx that say nothing bad of the service's health."""

_REFUSAL_SECONDS = 5.0
"""How long the body of a refusal may take, where an answer was to be streamed."""

_PLAIN = {"accept-encoding": "identity", "user-agent": "agentgraph", "accept": "*/*"}
"""The transport does not decompress: ask for nothing compressed."""


class _Report:
    """What is told to the observer when a call is over."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.outcome = "cancelled"
        self.status: int | None = None


class StreamedAnswer:
    """An answer whose body is still coming."""

    def __init__(self, guard: Upstream, response: httpx.Response, report: _Report) -> None:
        self.status = response.status_code
        self.headers = _headers(response)
        self._guard = guard
        self._response = response
        self._report = report

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes as they come, for as long as it takes: the reader keeps the clocks. Raises UpstreamError (CUT)."""
        try:
            async for chunk in self._response.stream:  # type: ignore[union-attr]
                yield chunk
        except httpx.TransportError as error:
            failure = self._guard.failure(error)
            self._guard.count_failure()
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
        self._client = httpx.AsyncClient(base_url=base_url, headers={**_PLAIN, **headers}, transport=transport)
        self._transport = transport
        self._limits = limits
        self._timeout = httpx.Timeout(None, connect=limits.connect, write=limits.write, pool=limits.queue)
        self._observer = observer
        self._calls = Bulkhead(limits.max_concurrent, brief=True)
        self._model_calls = Bulkhead(limits.max_model_calls)
        self._returning = Bulkhead(limits.max_returning)
        self._breaker = Breaker(
            service.value,
            failures=limits.breaker_failures,
            reset_seconds=limits.breaker_reset,
            on_change=lambda state: observer.breaker_changed(service, state),
        )

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way or waits."""
        return all(bulkhead.is_idle for bulkhead in (self._calls, self._model_calls, self._returning))

    @property
    def breaker_state(self) -> BreakerState:
        """Where the service's breaker stands."""
        return self._breaker.state

    async def request(self, scope: CallScope, call: Call) -> Answer:
        """One call, its whole answer.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamError: see the error tree.
            UpstreamRejected: where the service refused this call.
        """
        async with self._guarded(scope, call) as (report, permit):
            with self._timed(call, permit, scope.clock):
                async with asyncio.timeout_at(_loop_time(scope.deadline)):
                    answer = await self._whole(scope, call)
            return self._judge(answer, call, report, permit)

    @asynccontextmanager
    async def stream(self, scope: CallScope, call: Call, *, opens_within: float) -> AsyncIterator[StreamedAnswer]:
        """One call whose body is read as it comes. Leaving the context closes the connection at once.

        The service has ``opens_within`` seconds to begin its answer (reason ``FIRST_TOKEN``). The opening is judged
        by the breaker; what is given up later is neutral. Raises as ``request`` does.
        """
        async with self._guarded(scope, call) as (report, permit):
            response = await self._open(scope, call, permit, opens_within)
            try:
                if response.status_code >= 400:
                    with self._timed(call, permit, scope.clock):
                        async with asyncio.timeout_at(min(_loop_time(scope.deadline), _in(_REFUSAL_SECONDS))):
                            body = await response.aread()
                    self._judge(Answer(response.status_code, _headers(response), body), call, report, permit)
                permit.succeeded()
                report.outcome, report.status = "ok", response.status_code
                yield StreamedAnswer(self, response, report)
            finally:
                await response.aclose()

    async def _open(self, scope: CallScope, call: Call, permit: Permit, opens_within: float) -> httpx.Response:
        opening = time.monotonic() + opens_within
        clock = "FIRST_TOKEN" if opening < scope.deadline else scope.clock
        with self._timed(call, permit, clock):
            async with asyncio.timeout_at(_loop_time(min(opening, scope.deadline))):
                return await self._transport.handle_async_request(self._build(scope, call))

    async def ping(self, scope: CallScope, path: str) -> Answer:
        """Ask whether the service is there. Goes past the breaker and tells it nothing. Raises GatewayError."""
        try:
            async with asyncio.timeout_at(_loop_time(scope.deadline)):
                answer = await self._whole(scope, Call(operation="ping", path=path))
        except (TimeoutError, httpx.TransportError) as error:
            raise self.failure(error, scope.clock) from error
        if answer.status >= 400:
            raise self._bad_status(answer.status)
        return answer

    async def aclose(self) -> None:
        """Close the client and its transport."""
        await self._client.aclose()

    def count_failure(self) -> None:
        """A stream that had opened well was cut."""
        try:
            permit = self._breaker.enter()
        except BreakerOpen:
            return
        permit.failed()

    def failure(self, error: Exception, clock: str = "DEADLINE", *, sent: bool = True) -> GatewayError:
        """What an error on the wire means.

        Args:
            error: a time that ran out, or the transport's error.
            clock: the reason where time ran out.
            sent: whether the request may have reached the service by then.
        """
        name, service = display_name(self.service), self.service
        match error:
            case httpx.PoolTimeout():
                return UpstreamUnavailable(f"Too many calls to {name}.", reason="BULKHEAD_FULL", service=service)
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.UnsupportedProtocol():
                return UpstreamUnavailable(f"{name} cannot be reached.", reason="CONNECT", service=service)
            case TimeoutError() | httpx.TimeoutException():
                return UpstreamTimeout(
                    f"{name} did not answer in time.", reason=clock, service=service, unconfirmed=sent
                )
            case _:
                return UpstreamError(f"{name} broke off its answer.", reason="CUT", service=service)

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
            if not call.model_work and time.monotonic() - began >= self._limits.fair:
                permit.failed()
            raise self.failure(error, clock) from error
        except httpx.TransportError as error:
            permit.failed()
            raise self.failure(error, clock) from error

    @asynccontextmanager
    async def _guarded(self, scope: CallScope, call: Call) -> AsyncIterator[tuple[_Report, Permit]]:
        report = _Report()
        bulkhead = self._bulkhead(scope, call)
        try:
            await self._enter(scope, bulkhead)
            try:
                permit = self._permit()
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
            self._observer.call_ended(
                self.service, call.operation, report.outcome, seconds, report.status, scope.request_id
            )

    async def _enter(self, scope: CallScope, bulkhead: Bulkhead) -> None:
        """Through deadline and bulkhead."""
        left = scope.deadline - time.monotonic()
        if left <= 0:
            raise self.failure(TimeoutError(), scope.clock, sent=False)
        try:
            async with asyncio.timeout(left) as deadline:
                await bulkhead.enter(scope.caller, self._limits.queue)
        except TimeoutError as error:
            late = deadline.expired()
            raise self.failure(error if late else httpx.PoolTimeout(""), scope.clock, sent=False) from error

    def _bulkhead(self, scope: CallScope, call: Call) -> Bulkhead:
        if scope.returning:
            return self._returning
        return self._model_calls if call.model_work else self._calls

    def _permit(self) -> Permit:
        try:
            return self._breaker.enter()
        except BreakerOpen as error:
            raise UpstreamUnavailable(
                f"{display_name(self.service)} is failing; it is left alone for a moment.",
                reason="BREAKER_OPEN",
                service=self.service,
                retry_after_seconds=round(error.retry_after_seconds, 3),
            ) from error

    async def _whole(self, scope: CallScope, call: Call) -> Answer:
        response = await self._transport.handle_async_request(self._build(scope, call))
        try:
            body = b"".join([chunk async for chunk in response.stream])  # type: ignore[union-attr]
        finally:
            await response.aclose()
        return Answer(response.status_code, _headers(response), body)

    def _judge(self, answer: Answer, call: Call, report: _Report, permit: Permit) -> Answer:
        """Tell the breaker, and tell an answer from a refusal from a failure."""
        report.status = answer.status
        if answer.status < 400:
            permit.succeeded()
            report.outcome = "ok"
            return answer
        refused = answer.status < 500 or answer.status in NO_FAILURE
        if refused or (call.is_refusal is not None and call.is_refusal(answer)):
            permit.succeeded()
            raise UpstreamRejected(answer)
        permit.failed()
        raise self._bad_status(answer.status)

    def _bad_status(self, status: int) -> UpstreamError:
        return UpstreamError(
            f"{display_name(self.service)} failed with status {status}.",
            reason="STATUS",
            service=self.service,
            unconfirmed=status >= 500,
        )

    def _build(self, scope: CallScope, call: Call) -> httpx.Request:
        sent = {"x-request-id": scope.request_id, **call.headers}
        if scope.traceparent is not None:
            sent["traceparent"] = scope.traceparent
        content = call.content
        if call.json is not None:
            content = msgspec.json.encode(call.json)
            sent["content-type"] = "application/json"
        query = httpx.QueryParams(list(call.params)) if call.params else None
        return self._client.build_request(
            call.method, call.path, params=query, content=content, headers=sent, timeout=self._timeout
        )


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _loop_time(deadline: float) -> float:
    """A ``time.monotonic`` deadline on the loop's own clock."""
    return asyncio.get_running_loop().time() + (deadline - time.monotonic())


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _outcome(error: GatewayError) -> str:
    match error:
        case UpstreamTimeout():
            return "timeout"
        case UpstreamUnavailable():
            return "unavailable"
        case _:
            return "error"
