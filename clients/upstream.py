"""Makes calls to one service, and reports the outcome of each call."""

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
from clients.calls import (
    Answer,
    AnswerSize,
    Call,
    CallScope,
    Translation,
    UpstreamLimits,
    UpstreamObserver,
    UpstreamRejected,
)
from clients.codes import Reason
from clients.decode import undecodable
from clients.encoding import EncodingUnreadable, TooLarge
from clients.errors import Service, UpstreamError
from clients.guard import Guard, GuardedCall
from clients.wire import Wire

_NOT_IMPLEMENTED = 501
"""The only 5xx status that means a refusal, and never a failure of the service."""


class StreamedAnswer(NamedTuple):
    """An HTTP response whose body is a stream.

    The stream has no timeout. ``StreamedCall`` translates errors in the body.
    """

    headers: dict[str, str]
    chunks: AsyncIterator[bytes]


class StreamedCall:
    """A context manager for a call whose answer is a stream of events.

    To save memory, the class has slots and is not a generator.
    """

    __slots__ = ("_call", "_guarded", "_opens_within", "_upstream", "_wire")

    _wire: httpx.AsyncByteStream

    def __init__(self, upstream: "Upstream", guarded: GuardedCall, call: Call, opens_within: float) -> None:
        self._upstream = upstream
        self._guarded = guarded
        self._call = call
        self._opens_within = opens_within

    async def __aenter__(self) -> StreamedAnswer:
        call = self._call
        del self._call  # frees the request's content, because the answer may take minutes
        await self._guarded.enter(call)
        try:
            answer, self._wire = await self._upstream.opened(self._guarded, call, self._opens_within)
        except UpstreamRejected as rejected:
            self._guarded.leave(rejected)
            raise self._upstream.refusal(call, rejected) from rejected
        except BaseException as error:  # a cancellation also frees the slot
            self._guarded.leave(error)
            raise
        return answer

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        failure: BaseException | None = None
        if isinstance(error, httpx.TransportError | EncodingUnreadable):
            failure = failures.of_body(self._upstream.service, error)
            self._guarded.permit.report_cut()
        try:
            await self._wire.aclose()
        finally:
            self._guarded.leave(failure or error)
        try:
            if failure is not None:
                raise failure from error
        finally:
            del failure, error  # avoids a reference cycle, which only the garbage collector would free


class Upstream:
    """Makes calls to one service. Bulkheads and circuit breakers limit the calls.

    ``translate`` makes the error for a refusal, unless the call has a translation. ``Wire`` documents the other
    arguments.
    """

    def __init__(
        self,
        service: Service,
        base_url: str,
        *,
        translate: Translation,
        headers: Mapping[str, str],
        limits: UpstreamLimits,
        observer: UpstreamObserver,
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self.service = service
        self._translate = translate
        self._wire = Wire(service, base_url, headers=headers, limits=limits, observer=observer, transport=transport)
        self._limits = limits
        self._guard = Guard(service, limits, observer)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or queued."""
        return self._guard.is_idle

    @property
    def breakers(self) -> Breakers:
        """The circuit breakers for the service."""
        return self._guard.breakers

    async def request(self, scope: CallScope, call: Call) -> Answer:
        """Make one call to the service, and read the complete answer.

        Raises UpstreamFailure, or the error for a refused call.
        """
        guarded = GuardedCall(self._guard, scope, call.operation)
        await guarded.enter(call)
        try:
            with self._timed(call, guarded, scope.timeout_reason):
                async with asyncio.timeout_at(_loop_time(scope.deadline)):
                    answer = await self._wire.whole(scope, call)
            answer = self._judge(answer, call, guarded)
        except UpstreamRejected as rejected:
            guarded.leave(rejected)
            raise self.refusal(call, rejected) from rejected
        except BaseException as error:  # a cancellation also frees the slot
            guarded.leave(error)
            raise
        guarded.leave(None)
        return answer

    def refusal(self, call: Call, rejected: UpstreamRejected) -> Exception:
        """Return the error for a call that the service refused."""
        return (call.refused or self._translate)(rejected)

    def stream(self, scope: CallScope, call: Call, *, opens_within: float) -> StreamedCall:
        """Make a call whose answer is a stream of events.

        Exiting the context manager closes the connection. The breakers count whether the stream opens and whether it
        breaks off, but not an early close by the gateway. An answer that is not a stream of events is read whole and
        passed to the call's ``check``. ``opens_within`` is the timeout until the answer begins, in seconds (reason
        ``FIRST_TOKEN``).

        Entering the context raises the errors of ``request``. If the answer breaks off later, the context raises
        UpstreamError.
        """
        return StreamedCall(self, GuardedCall(self._guard, scope, call.operation), call, opens_within)

    async def opened(
        self, guarded: GuardedCall, call: Call, opens_within: float
    ) -> tuple[StreamedAnswer, httpx.AsyncByteStream]:
        """Make a call, and open the answer's stream of events. The caller must close the second returned value."""
        scope = guarded.scope
        opening = time.monotonic() + opens_within
        timeout_reason = Reason.FIRST_TOKEN if opening < scope.deadline else scope.timeout_reason
        with self._timed(call, guarded, timeout_reason):
            async with asyncio.timeout_at(_loop_time(min(opening, scope.deadline))):
                opened = await self._wire.opened(scope, call)
        if isinstance(opened.body, bytes):
            await opened.wire.aclose()
            read = replace(call, check=call.check or self._no_stream)
            self._judge(Answer(opened.status, opened.headers, opened.body), read, guarded)
            raise undecodable(self.service)
        guarded.permit.report(Verdict.OK)
        guarded.outcome, guarded.status = "ok", opened.status
        return StreamedAnswer(opened.headers, opened.body), opened.wire

    async def ping(self, scope: CallScope, path: str) -> Answer:
        """Raise GatewayError if the service is unavailable. The breakers do not count the health check."""
        try:
            async with asyncio.timeout_at(_loop_time(scope.deadline)):
                answer = await self._wire.whole(scope, Call("ping", path, size=AnswerSize.RECORD))
        except (TimeoutError, httpx.TransportError) as error:
            raise failures.of_wire(self.service, error, scope.timeout_reason) from error
        except EncodingUnreadable as error:
            raise failures.of_body(self.service, error) from error
        if (wrong := failures.of_ping(self.service, answer)) is not None:
            raise wrong
        return answer

    def _no_stream(self, _: Answer) -> Answer:
        raise undecodable(self.service)

    async def aclose(self) -> None:
        """Close the HTTP client and the transport."""
        await self._wire.aclose()

    @contextmanager
    def _timed(self, call: Call, guarded: GuardedCall, timeout_reason: Reason) -> Iterator[None]:
        """Report and translate timeouts and transport errors.

        A timeout counts as a failure only if the service had ``UpstreamLimits.fair`` seconds to answer. So a call that
        begins shortly before its deadline does not affect the breakers.
        """
        began, permit = time.monotonic(), guarded.permit
        try:
            yield
        except TimeoutError as error:
            if time.monotonic() - began >= self._limits.fair:
                permit.report(Verdict.SLOW if call.model_work else Verdict.FAILED)
            raise failures.of_wire(self.service, error, timeout_reason) from error
        except httpx.TransportError as error:
            permit.report(Verdict.UNREACHABLE if failures.nothing_was_sent(error) else Verdict.FAILED)
            raise failures.of_wire(self.service, error, timeout_reason) from error
        except EncodingUnreadable as error:
            if not isinstance(error, TooLarge):  # large data of one user is not a failure of the service
                permit.report(Verdict.FAILED)
            raise failures.of_body(self.service, error) from error

    def _judge(self, answer: Answer, call: Call, guarded: GuardedCall) -> Answer:
        permit, guarded.status = guarded.permit, answer.status
        if _is_success(answer.status) and call.check is not None:
            try:
                answer = call.check(answer)
            except UpstreamError:
                permit.report(Verdict.FAILED)
                raise
        if _is_success(answer.status):
            guarded.outcome = "ok"
            permit.report(Verdict.OK)
            return answer
        if _is_refusal(answer, call):
            permit.report(Verdict.OK)
            raise UpstreamRejected(answer)
        if answer.status >= 500 and call.is_models_failure is not None and call.is_models_failure(answer):
            permit.report(Verdict.PART_FAILED)
            raise UpstreamRejected(answer)
        if answer.status >= 500:
            permit.report(Verdict.FAILED)
        raise failures.of_status(self.service, answer)


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_refusal(answer: Answer, call: Call) -> bool:
    if 400 <= answer.status < 500 or answer.status == _NOT_IMPLEMENTED:
        return True
    return answer.status >= 500 and call.is_refusal is not None and call.is_refusal(answer)


def _loop_time(deadline: float) -> float:
    return asyncio.get_running_loop().time() + (deadline - time.monotonic())
