"""Makes calls to one service, and reports the outcome of each call."""

import itertools
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import NamedTuple

import httpx
from msgspec.structs import replace

from clients import failures
from clients.breakers import Breakers, Verdict
from clients.calls import (
    Answer,
    AnswerSize,
    Call,
    CallScope,
    RetryCause,
    Translation,
    UpstreamLimits,
    UpstreamObserver,
    UpstreamRejected,
)
from clients.codes import Reason
from clients.decode import undecodable
from clients.encoding import EncodingUnreadable, TooLarge
from clients.errors import GatewayError, Service, UpstreamError
from clients.guard import Guard, GuardedCall
from clients.http.messages import RawAnswer, Sender
from clients.retries import Repeatable, Retries
from clients.retry_after import retry_after_seconds
from clients.wire import Wire

_NOT_IMPLEMENTED = 501
"""The only 5xx status that means a refusal, and never a failure of the service."""

_TOO_MANY_REQUESTS = 429

_WIRE_ERRORS = (TimeoutError, httpx.TransportError, EncodingUnreadable)


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

    __slots__ = ("_call", "_guarded", "_opens_within", "_scope", "_upstream", "_wire")

    _guarded: GuardedCall
    _wire: RawAnswer

    def __init__(self, upstream: "Upstream", scope: CallScope, call: Call, opens_within: float) -> None:
        self._upstream = upstream
        self._scope = scope
        self._call = call
        self._opens_within = opens_within

    async def __aenter__(self) -> StreamedAnswer:
        call, opening = self._call, time.monotonic() + self._opens_within
        del self._call  # frees the request's content, because the answer may take minutes
        opened = await self._upstream.opened(self._scope, call, opening)
        answer, self._guarded, self._wire = opened
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
        transport: Sender,
    ) -> None:
        self.service = service
        self._translate = translate
        self._wire = Wire(service, base_url, headers=headers, limits=limits, observer=observer, transport=transport)
        self._limits = limits
        self._guard = Guard(service, limits, observer)
        self._retries = Retries(service, limits, observer, self._guard.breakers)

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

        ``Retries`` decides whether a failed call is repeated. Raises UpstreamFailure, or the error for a refused call.
        """
        self._retries.budget.earn()
        for made in itertools.count():
            guarded = GuardedCall(self._guard, scope, call.operation, is_retry=made > 0)
            try:
                return await self._attempt(guarded, call)
            except Exception:  # `pause` decides by the recorded failure, and other errors are raised again
                failure, deadline = guarded.failure, scope.deadline
                if not await self._retries.pause(scope, call, failure, made=made, deadline=deadline):
                    raise
        raise AssertionError

    async def _attempt(self, guarded: GuardedCall, call: Call) -> Answer:
        scope = guarded.scope
        await guarded.enter(call)
        try:
            request = self._wire.request(scope, call, scope.deadline)
            try:
                answer = await self._wire.whole(scope, call, request)
            except _WIRE_ERRORS as error:
                raise self._failed(error, call, guarded, scope.timeout_reason) from error
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
        return StreamedCall(self, scope, call, opens_within)

    async def opened(
        self, scope: CallScope, call: Call, opening: float
    ) -> tuple[StreamedAnswer, GuardedCall, RawAnswer]:
        """Make a call, and open the answer's stream of events by the time ``opening``.

        The caller must close the third returned value, and then leave the second.
        """
        self._retries.budget.earn()
        for made in itertools.count():
            guarded = GuardedCall(self._guard, scope, call.operation, is_retry=made > 0)
            try:
                answer, wire = await self._opened(guarded, call, opening)
            except Exception:  # `pause` decides by the recorded failure, and other errors are raised again
                failure, deadline = guarded.failure, min(opening, scope.deadline)
                if not await self._retries.pause(scope, call, failure, made=made, deadline=deadline):
                    raise
            else:
                return answer, guarded, wire
        raise AssertionError

    async def _opened(self, guarded: GuardedCall, call: Call, opening: float) -> tuple[StreamedAnswer, RawAnswer]:
        await guarded.enter(call)
        try:
            return await self._stream(guarded, call, opening)
        except UpstreamRejected as rejected:
            guarded.leave(rejected)
            raise self.refusal(call, rejected) from rejected
        except BaseException as error:  # a cancellation also frees the slot
            guarded.leave(error)
            raise

    async def _stream(self, guarded: GuardedCall, call: Call, opening: float) -> tuple[StreamedAnswer, RawAnswer]:
        scope = guarded.scope
        timeout_reason = Reason.FIRST_TOKEN if opening < scope.deadline else scope.timeout_reason
        request = self._wire.request(scope, call, min(opening, scope.deadline))
        try:
            opened = await self._wire.opened(scope, call, request)
        except _WIRE_ERRORS as error:
            raise self._failed(error, call, guarded, timeout_reason) from error
        if isinstance(opened.body, bytes):
            await opened.wire.aclose()
            read = replace(call, check=call.check or self._no_stream)
            self._judge(Answer(opened.status, opened.headers, opened.body), read, guarded)
            raise undecodable(self.service)
        guarded.report(Verdict.OK)
        guarded.outcome, guarded.status = "ok", opened.status
        return StreamedAnswer(opened.headers, opened.body), opened.wire

    async def ping(self, scope: CallScope, path: str) -> Answer:
        """Raise GatewayError if the service is unavailable. The breakers do not count the health check."""
        answer = await self.pinged(scope, path)
        failures.check_ping(self.service, answer)
        return answer

    async def pinged(self, scope: CallScope, path: str) -> Answer:
        """Return the answer to a health check, whatever its status. Raises GatewayError if there is no answer."""
        call = Call("ping", path, size=AnswerSize.RECORD)
        try:
            return await self._wire.whole(scope, call, self._wire.request(scope, call, scope.deadline))
        except (TimeoutError, httpx.TransportError) as error:
            raise failures.of_wire(self.service, error, scope.timeout_reason) from error
        except EncodingUnreadable as error:
            raise failures.of_body(self.service, error) from error

    def _no_stream(self, _: Answer) -> Answer:
        raise undecodable(self.service)

    async def aclose(self) -> None:
        """Close the HTTP client and the transport."""
        await self._wire.aclose()

    def _failed(self, error: Exception, call: Call, guarded: GuardedCall, timeout_reason: Reason) -> GatewayError:
        """Report a timeout or a transport error, and return the error for the client.

        A timeout counts as a failure only if the service had ``UpstreamLimits.fair`` seconds to answer. So a call that
        begins shortly before its deadline does not affect the breakers.
        """
        if isinstance(error, EncodingUnreadable):
            if not isinstance(error, TooLarge):  # large data of one user is not a failure of the service
                guarded.report(Verdict.FAILED)
            return failures.of_body(self.service, error)
        if isinstance(error, httpx.TransportError):
            unsent = failures.nothing_was_sent(error)
            guarded.report(Verdict.UNREACHABLE if unsent else Verdict.FAILED)
            if not isinstance(error, httpx.TimeoutException) or unsent:
                guarded.failure = Repeatable(RetryCause.CONNECT if unsent else RetryCause.CUT)
        elif guarded.seconds >= self._limits.fair:
            guarded.report(Verdict.MODEL_TIMEOUT if call.model_work else Verdict.FAILED)
        return failures.of_wire(self.service, error, timeout_reason)

    def _judge(self, answer: Answer, call: Call, guarded: GuardedCall) -> Answer:
        guarded.status = answer.status
        if _is_success(answer.status) and call.check is not None:
            try:
                answer = call.check(answer)
            except UpstreamError:
                guarded.report(Verdict.FAILED)
                raise
        if _is_success(answer.status):
            is_slow = not call.model_work and guarded.seconds >= self._limits.slow
            guarded.outcome = "ok"
            guarded.report(Verdict.SLOW if is_slow else Verdict.OK)
            return answer
        if _is_refusal(answer, call):
            guarded.report(Verdict.REFUSED)
            if answer.status == _TOO_MANY_REQUESTS:
                guarded.failure = Repeatable(RetryCause.RATE_LIMIT, retry_after_seconds(answer.headers))
            raise UpstreamRejected(answer)
        if answer.status >= 500 and call.is_models_failure is not None and call.is_models_failure(answer):
            guarded.report(Verdict.PART_FAILED)
            raise UpstreamRejected(answer)
        if answer.status >= 500:
            guarded.report(Verdict.FAILED)
            guarded.failure = Repeatable(RetryCause.STATUS, retry_after_seconds(answer.headers))
        raise failures.of_status(self.service, answer)


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_refusal(answer: Answer, call: Call) -> bool:
    if 400 <= answer.status < 500 or answer.status == _NOT_IMPLEMENTED:
        return True
    return answer.status >= 500 and call.is_refusal is not None and call.is_refusal(answer)
