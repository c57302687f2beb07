"""The errors of the gateway, each with its code and HTTP status.

::

    GatewayError
     ├─ Unauthenticated          the user is not known              401
     ├─ Forbidden                the user has no permission         403
     ├─ NotFound                 missing, or another user's         404
     ├─ BadUserInput             the request must be changed        400
     │   ├─ Invalid                … with a list of problems        400
     │   ├─ BodyTimeout            … or sent faster                 408
     │   └─ UnsupportedEncoding    … or sent in another coding      415
     ├─ Conflict                 the present state does not allow it  409
     ├─ RateLimited              a limit of the user is reached     429
     ├─ BudgetExceeded           the user's budget is spent         402
     ├─ PayloadTooLarge          the body must be smaller           413
     ├─ QueryTooComplex          the operation must be smaller      400
     ├─ Overloaded               the gateway has no capacity        503
     │   └─ Interrupted            … or stopped during the request  503
     └─ UpstreamFailure          an upstream call failed:
         ├─ UpstreamUnavailable    … it was not sent                503
         ├─ UpstreamTimeout        … it was not answered in time    504
         └─ UpstreamError          … the answer cannot be used      502

GraphQL's ``extensions``, the REST body, the OpenAI envelope, the metric label and the log field come from these
classes; which reasons occur with which code is in ``clients.codes``. Any other exception is ``INTERNAL_ERROR`` with the
request id and nothing else. Messages contain no upstream text, no secret and no other user's ids.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, TypedDict, Unpack

from clients.codes import ErrorCode, Reason


class Service(StrEnum):
    """The services behind the gateway, as ``extensions.service`` and metric labels name them."""

    AMS = "ams"
    LETTA = "letta"
    LITELLM = "litellm"
    SUPABASE = "supabase"
    REDIS = "redis"


class _Facts(TypedDict, total=False):
    reason: Reason | None
    service: Service | None
    retry_after_seconds: float | None
    details: dict[str, str] | None
    can_retry: bool | None


class GatewayError(Exception):
    """Root of the tree: an error that a client can see.

    Attributes:
        code: what kind of error, from the closed set.
        http_status: the status of an HTTP answer that carries nothing but this error.
        message: a sentence that is safe to show.
        reason: the cause within the code, or ``None``.
        service: the upstream concerned, or ``None``.
        retry_after_seconds: how long to wait before a retry, where that is known.
        retryable: whether sending the same request again can help; ``can_retry`` of the class unless told otherwise.
        details: further safe facts for ``extensions`` (``{"runId": …}``).
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500
    can_retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        service: Service | None = None,
        retry_after_seconds: float | None = None,
        details: dict[str, str] | None = None,
        can_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.service = service
        self.retry_after_seconds = retry_after_seconds
        self.retryable = type(self).can_retry if can_retry is None else can_retry
        self.details = details or {}


class Unauthenticated(GatewayError):
    """The request has no valid token."""

    code = ErrorCode.UNAUTHENTICATED
    http_status = 401


class Forbidden(GatewayError):
    """The user is signed in and has no permission."""

    code = ErrorCode.FORBIDDEN
    http_status = 403


class NotFound(GatewayError):
    """The object does not exist or belongs to another user; the error is the same for both."""

    code = ErrorCode.NOT_FOUND
    http_status = 404


class BadUserInput(GatewayError):
    """The request is not valid."""

    code = ErrorCode.BAD_USER_INPUT
    http_status = 400


class Invalid(BadUserInput):
    """AMS found the input not valid. ``problems`` lists why, one line each, in terms of the input alone."""

    def __init__(self, message: str, problems: list[str], *, reason: Reason) -> None:
        super().__init__(message, reason=reason)
        self.problems = problems


class BodyTimeout(BadUserInput):
    """The request's body did not arrive in time."""

    http_status = 408
    can_retry = True


class UnsupportedEncoding(BadUserInput):
    """The request's body has a content coding that the gateway does not support."""

    http_status = 415


class Conflict(GatewayError):
    """The present state does not allow the request."""

    code = ErrorCode.CONFLICT
    http_status = 409


class RateLimited(GatewayError):
    """A rate limit or quota of the user is reached; ``retry_after_seconds`` says when to retry."""

    code = ErrorCode.RATE_LIMITED
    http_status = 429
    can_retry = True


class BudgetExceeded(GatewayError):
    """The user's model budget is spent. 402, so that SDKs do not retry it."""

    code = ErrorCode.BUDGET_EXCEEDED
    http_status = 402


class PayloadTooLarge(GatewayError):
    """The body is over the limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE
    http_status = 413


class QueryTooComplex(GatewayError):
    """The operation, its document or its response is too large."""

    code = ErrorCode.QUERY_TOO_COMPLEX
    http_status = 400


class Overloaded(GatewayError):
    """The gateway has no capacity for the request, or is stopping."""

    code = ErrorCode.OVERLOADED
    http_status = 503
    can_retry = True


class Interrupted(Overloaded):
    """The gateway stopped during the request, which may have been carried out: it is not retryable."""

    can_retry = False


class UpstreamFailure(GatewayError):
    """An upstream call failed; ``service`` says to which service.

    Attributes:
        unconfirmed: whether the service may have carried out the call: it was sent, and no answer confirms the outcome.
            By default, the class and the reason decide.
    """

    can_retry = True

    def __init__(self, message: str, *, unconfirmed: bool | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.unconfirmed = self._may_be_done() if unconfirmed is None else unconfirmed

    def _may_be_done(self) -> bool:
        return False


class UpstreamUnavailable(UpstreamFailure):
    """The call was not sent."""

    code = ErrorCode.UPSTREAM_UNAVAILABLE
    http_status = 503


class UpstreamTimeout(UpstreamFailure):
    """The call was sent and not answered in time."""

    code = ErrorCode.UPSTREAM_TIMEOUT
    http_status = 504

    def _may_be_done(self) -> bool:
        return True


class UpstreamError(UpstreamFailure):
    """The service's answer cannot be used.

    ``CUT``, ``DECODE`` and a ``STATUS`` that can be retried leave the outcome unknown; other reasons do not.
    """

    code = ErrorCode.UPSTREAM_ERROR
    http_status = 502

    def _may_be_done(self) -> bool:
        return self.reason in {Reason.CUT, Reason.DECODE} or (self.reason == Reason.STATUS and self.retryable)


def _family(kind: type[GatewayError]) -> list[type[GatewayError]]:
    """A class and all below it, itself last, so that its own status wins for a code they share."""
    return [*(one for child in kind.__subclasses__() for one in _family(child)), kind]


_KINDS = {kind.code: kind for kind in _family(GatewayError)}


def error_of(
    code: ErrorCode,
    message: str,
    *,
    reason: Reason | None,
    service: Service | None,
    retryable: bool,
    retry_after_seconds: float | None = None,
    details: dict[str, str] | None = None,
) -> GatewayError:
    """Make an error from the fields that were kept of one."""
    return _KINDS.get(code, GatewayError)(
        message,
        reason=reason,
        service=service,
        retry_after_seconds=retry_after_seconds,
        details=details,
        can_retry=retryable,
    )


HTTP_STATUS = {kind.code: kind.http_status for kind in _family(GatewayError)}
"""The status of each code that has a class."""
