"""Calls to one service, each behind its guard: one attempt, whose result the breakers and the observer get.

The only attempt that is repeated is a read whose idle connection was dropped before an answer began.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

import httpx

from clients import failures
from clients.breakers import Breakers, Verdict
from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamLimits, UpstreamObserver, UpstreamRejected
from clients.codes import Reason
from clients.decode import undecodable
from clients.encoding import EncodingUnreadable, TooLarge
from clients.errors import Service, UpstreamError
from clients.guard import Guard, GuardedCall
from clients.wire import Wire

NO_FAILURE = frozenset({408, 429, 501})
"""Statuses of 4xx and 5xx that say nothing bad of the service's health."""


class StreamedAnswer(NamedTuple):
    """An answer whose body is still coming.

    Attributes:
        headers: names in lower case.
        chunks: the body as it comes, without a timeout. Its errors are for ``StreamedCall`` to translate.
    """

    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


class StreamedCall:
    """A call whose answer is a stream of events, as a context. See ``Upstream.stream``.

    A class with slots instead of a generator: a stream holds one to its end.
    """

    __slots__ = ("_call", "_guarded", "_opens_within", "_upstream", "_wire")

    _wire: httpx.AsyncByteStream

    def __init__(self, upstream: Upstream, guarded: GuardedCall, call: Call, opens_within: float) -> None:
        self._upstream = upstream
        self._guarded = guarded
        self._call = call
        self._opens_within = opens_within

    async def __aenter__(self) -> StreamedAnswer:
        call = self._call
        del self._call  # its content may be large, and the answer may take minutes
        await self._guarded.enter(call)
        try:
            answer, self._wire = await self._upstream.opened(self._guarded, call, self._opens_within)
        except BaseException as error:
            self._guarded.leave(error)
            raise
        return answer

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        failure: BaseException | None = None
        if isinstance(error, httpx.TransportError | EncodingUnreadable):
            failure = failures.of_body(self._upstream.service, error)
            self._guarded.permit.cut()
        try:
            await self._wire.aclose()
        finally:
            self._guarded.leave(failure or error)
        if failure is not None:
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
        self._guard = Guard(service, limits, observer)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or queued."""
        return self._guard.is_idle

    @property
    def breakers(self) -> Breakers:
        """The service's breakers."""
        return self._guard.breakers

    async def request(self, scope: CallScope, call: Call) -> Answer:
        """One call, its whole answer.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamError: see the error tree.
            UpstreamRejected: where the service refused this call.
        """
        guarded = GuardedCall(self._guard, scope, call.operation)
        await guarded.enter(call)
        try:
            with self._timed(call, guarded, scope.clock):
                async with asyncio.timeout_at(_loop_time(scope.deadline)):
                    answer = await self._wire.whole(scope, call)
            answer = self._judge(answer, call, guarded)
        except BaseException as error:
            guarded.leave(error)
            raise
        guarded.leave(None)
        return answer

    def stream(self, scope: CallScope, call: Call, *, opens_within: float) -> StreamedCall:
        """One call whose answer is a stream of events, read as it comes. Leaving the context closes the connection.

        The breakers count how it opens; a stream that is closed before its end does not affect them.

        Args:
            scope: for whom it is made.
            call: an answer that is not a stream of events is read whole and passed to its ``check``.
            opens_within: the time until the answer begins, in seconds (reason ``FIRST_TOKEN``).

        Raises:
            GatewayError: as ``request`` does when the context is entered, or where the answer breaks off within it.
        """
        return StreamedCall(self, GuardedCall(self._guard, scope, call.operation), call, opens_within)

    async def opened(
        self, guarded: GuardedCall, call: Call, opens_within: float
    ) -> tuple[StreamedAnswer, httpx.AsyncByteStream]:
        """Open a stream of events for ``StreamedCall``. Returns the answer, and what closes it."""
        scope = guarded.scope
        opening = time.monotonic() + opens_within
        clock = Reason.FIRST_TOKEN if opening < scope.deadline else scope.clock
        with self._timed(call, guarded, clock):
            async with asyncio.timeout_at(_loop_time(min(opening, scope.deadline))):
                opened = await self._wire.opened(scope, call)
        if isinstance(opened.body, bytes):
            await opened.wire.aclose()
            read = replace(call, check=call.check or self._no_stream)
            self._judge(Answer(opened.status, opened.headers, opened.body), read, guarded)
            raise undecodable(self.service)
        guarded.permit.tell(Verdict.OK)
        guarded.outcome, guarded.status = "ok", opened.status
        return StreamedAnswer(opened.headers, opened.body), opened.wire

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
    def _timed(self, call: Call, guarded: GuardedCall, clock: Reason) -> Iterator[None]:
        """Errors on the wire, counted and translated; ``clock`` is the reason where time ran out.

        Time that runs out counts only where the service had a fair share of it: a caller that comes with a deadline
        as good as past says nothing of the service.
        """
        began, permit = time.monotonic(), guarded.permit
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

    def _judge(self, answer: Answer, call: Call, guarded: GuardedCall) -> Answer:
        """Report to the breakers, and distinguish an answer from a refusal and from a failure."""
        permit, guarded.status = guarded.permit, answer.status
        if _is_success(answer.status) and call.check is not None:
            try:
                answer = call.check(answer)
            except UpstreamError:
                permit.tell(Verdict.FAILED)
                raise
        if _is_success(answer.status):
            guarded.outcome = "ok"
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
