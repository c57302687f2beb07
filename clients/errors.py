"""The errors of the gateway.

::

    GatewayError
     ├─ Unauthenticated        no valid token                    401  sign in again
     ├─ Forbidden              no permission                     403
     ├─ NotFound               missing, or of another user       404
     ├─ BadUserInput           invalid request                   400
     │   ├─ Invalid            … with a list of problems         400
     │   ├─ BodyTimeout        the body came too slowly          408
     │   └─ UnsupportedEncoding  unknown content coding         415
     ├─ Conflict               conflicts with current state      409  RUN_BUSY, KEY_REUSED, OUTCOME_UNKNOWN, …
     ├─ RateLimited            over a rate limit or quota        429
     ├─ BudgetExceeded         the user's budget is spent        402
     ├─ PayloadTooLarge        the body is over the limit        413
     ├─ QueryTooComplex        the operation is over a bound     400  COST, UPSTREAM_CALLS, ANSWER_SIZE, ERRORS
     ├─ Overloaded             the gateway has no room           503  retry
     │   └─ Interrupted        the gateway stopped during it     503  DRAINING: it may have been carried out
     └─ UpstreamFailure        a service …
         ├─ UpstreamUnavailable   … was not called               503  CONNECT, BREAKER_OPEN, MODEL, BULKHEAD_FULL
         ├─ UpstreamTimeout       … did not answer in time       504  CONNECT, FIRST_TOKEN, IDLE, TOTAL, DEADLINE
         └─ UpstreamError         … answered with an error       502  STATUS, DECODE, CUT, CREDENTIAL, MODEL

GraphQL's ``extensions``, REST bodies, OpenAI error bodies, metric labels and log fields are derived from these classes.
Any other exception is an ``INTERNAL_ERROR`` with the request id alone. A message never contains an upstream's own text,
a secret or another user's ids.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, TypedDict, Unpack


class ErrorCode(StrEnum):
    """The closed set of ``extensions.code`` values."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_ERROR = "UPSTREAM_ERROR"
    OVERLOADED = "OVERLOADED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class Service(StrEnum):
    """The services behind the gateway, as ``extensions.service`` and metric labels name them."""

    AMS = "ams"
    LETTA = "letta"
    LITELLM = "litellm"
    SUPABASE = "supabase"
    REDIS = "redis"


class _Facts(TypedDict, total=False):
    reason: str | None
    service: Service | None
    retry_after_seconds: float | None
    details: dict[str, str] | None
    can_retry: bool | None


class GatewayError(Exception):
    """The root of the errors that clients get.

    Attributes:
        code: the class of error, from the closed set.
        http_status: the status of an HTTP answer with this error alone.
        message: a sentence for the client.
        reason: the cause (``BREAKER_OPEN``, ``RUN_BUSY``, …), or ``None``.
        service: the upstream concerned, or ``None``.
        retry_after_seconds: how long to wait before a retry, or ``None``.
        retryable: whether the same request can succeed if it is sent again; by default ``can_retry`` of the class.
        details: further fields of ``extensions`` (``{"runId": …}``).
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500
    can_retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
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
    """The user has no permission."""

    code = ErrorCode.FORBIDDEN
    http_status = 403


class NotFound(GatewayError):
    """The object does not exist, or belongs to another user: the client cannot distinguish them."""

    code = ErrorCode.NOT_FOUND
    http_status = 404


class BadUserInput(GatewayError):
    """The request is invalid."""

    code = ErrorCode.BAD_USER_INPUT
    http_status = 400


class Invalid(BadUserInput):
    """The input is invalid. ``problems`` has a line for each problem, and mentions nothing but the input."""

    def __init__(self, message: str, problems: list[str], *, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.problems = problems


class BodyTimeout(BadUserInput):
    """The body of the request did not come in time."""

    http_status = 408
    can_retry = True


class UnsupportedEncoding(BadUserInput):
    """The body of the request has an unknown content coding."""

    http_status = 415


class Conflict(GatewayError):
    """The request conflicts with the current state (``RUN_BUSY``, ``KEY_REUSED``, ``OUTCOME_UNKNOWN``)."""

    code = ErrorCode.CONFLICT
    http_status = 409


class RateLimited(GatewayError):
    """The user is over a rate limit or quota."""

    code = ErrorCode.RATE_LIMITED
    http_status = 429
    can_retry = True


class BudgetExceeded(GatewayError):
    """The user's model budget is spent. The status is 402 so that SDKs do not retry."""

    code = ErrorCode.BUDGET_EXCEEDED
    http_status = 402


class PayloadTooLarge(GatewayError):
    """The body is over the limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE
    http_status = 413


class QueryTooComplex(GatewayError):
    """The operation is over a bound: COST, UPSTREAM_CALLS, ANSWER_SIZE, ERRORS."""

    code = ErrorCode.QUERY_TOO_COMPLEX
    http_status = 400


class Overloaded(GatewayError):
    """The gateway has no room for the request, or is draining (``DRAINING``)."""

    code = ErrorCode.OVERLOADED
    http_status = 503
    can_retry = True


class Interrupted(Overloaded):
    """The gateway stopped during the request, which may have been carried out, so it must not be repeated unchanged."""

    can_retry = False


class UpstreamFailure(GatewayError):
    """A service failed.

    Attributes:
        unconfirmed: whether the service may have carried out the request: it was sent, and no answer confirms the
            outcome. By default it depends on the class and the reason.
    """

    can_retry = True

    def __init__(self, message: str, *, unconfirmed: bool | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.unconfirmed = self._may_be_done() if unconfirmed is None else unconfirmed

    def _may_be_done(self) -> bool:
        return False


class UpstreamUnavailable(UpstreamFailure):
    """The service was not called: nothing was sent. Reasons: CONNECT, BREAKER_OPEN, MODEL, BULKHEAD_FULL.

    ``MODEL`` is an open breaker of one model, ``BREAKER_OPEN`` that of another kind of call or of the whole service.
    """

    code = ErrorCode.UPSTREAM_UNAVAILABLE
    http_status = 503


class UpstreamTimeout(UpstreamFailure):
    """The service did not answer in time. Reasons: CONNECT, FIRST_TOKEN, IDLE, TOTAL, DEADLINE."""

    code = ErrorCode.UPSTREAM_TIMEOUT
    http_status = 504

    def _may_be_done(self) -> bool:
        return True


class UpstreamError(UpstreamFailure):
    """The service answered with an error or cannot be read. Reasons: STATUS, DECODE, CUT, CREDENTIAL, MODEL.

    After CUT, DECODE and a retryable STATUS the outcome of the request is unknown.
    """

    code = ErrorCode.UPSTREAM_ERROR
    http_status = 502

    def _may_be_done(self) -> bool:
        return self.reason in {"CUT", "DECODE"} or (self.reason == "STATUS" and self.retryable)


def _family(kind: type[GatewayError]) -> list[type[GatewayError]]:
    """A class and its subclasses, itself last, so that its own status is used for a code that they share."""
    return [*(one for child in kind.__subclasses__() for one in _family(child)), kind]


_KINDS = {kind.code: kind for kind in _family(GatewayError)}


def error_of(
    code: ErrorCode,
    message: str,
    *,
    reason: str | None,
    service: Service | None,
    retryable: bool,
    retry_after_seconds: float | None = None,
    details: dict[str, str] | None = None,
) -> GatewayError:
    """Make an error from the stored attributes of an earlier one."""
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
