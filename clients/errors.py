"""Everything that can go wrong, once.

::

    GatewayError
     ├─ Unauthenticated        who are you?                      401  sign in again
     ├─ Forbidden              not for your role                 403
     ├─ NotFound               does not exist, or is not yours   404
     ├─ BadUserInput           change what you sent              400
     │   ├─ Invalid            … and it says what, line by line  400
     │   ├─ BodyTimeout        send it faster                    408
     │   └─ UnsupportedEncoding  send it in another coding       415
     ├─ Conflict               right request, wrong moment       409  RUN_BUSY, KEY_REUSED, OUTCOME_UNKNOWN, …
     ├─ RateLimited            wait ``retry_after_seconds``      429
     ├─ BudgetExceeded         the user's budget is spent        402
     ├─ PayloadTooLarge        send less                         413
     ├─ QueryTooComplex        ask for less at once              400  COST, UPSTREAM_CALLS, ANSWER_SIZE, ERRORS
     ├─ Overloaded             this gateway is full              503  retry
     │   └─ Interrupted        … or stopped in the middle of it  503  DRAINING: it may have been carried out
     └─ UpstreamFailure        a service behind the gateway …
         ├─ UpstreamUnavailable   … could not be asked           503  CONNECT, BREAKER_OPEN, MODEL, BULKHEAD_FULL
         ├─ UpstreamTimeout       … did not answer in time       504  CONNECT, FIRST_TOKEN, IDLE, TOTAL, DEADLINE
         └─ UpstreamError         … answered badly               502  STATUS, DECODE, CUT, CREDENTIAL, MODEL

GraphQL's ``extensions``, the REST body, the OpenAI envelope, the metric label and the log field are all read off
these classes. Anything that is not a ``GatewayError`` is ``INTERNAL_ERROR`` with the request id and not a word more.
Messages are safe to show: they never carry an upstream's own text, a secret, or another user's ids.
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
    """Root of the tree: an error the caller may be told about.

    Attributes:
        code: what kind of error, from the closed set.
        http_status: the status of an HTTP answer that carries nothing but this error.
        message: a sentence that is safe to show.
        reason: the fine cause (``BREAKER_OPEN``, ``RUN_BUSY``, …), or ``None``.
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
    """No token, or one that proves nothing."""

    code = ErrorCode.UNAUTHENTICATED
    http_status = 401


class Forbidden(GatewayError):
    """Signed in, but the role does not allow it."""

    code = ErrorCode.FORBIDDEN
    http_status = 403


class NotFound(GatewayError):
    """It does not exist, or belongs to somebody else: the caller cannot tell which."""

    code = ErrorCode.NOT_FOUND
    http_status = 404


class BadUserInput(GatewayError):
    """The request is understood and cannot be right."""

    code = ErrorCode.BAD_USER_INPUT
    http_status = 400


class Invalid(BadUserInput):
    """It was checked and found wrong. ``problems`` says what, a line each, and speaks of what was sent alone."""

    def __init__(self, message: str, problems: list[str], *, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.problems = problems


class BodyTimeout(BadUserInput):
    """The request's body did not come in time."""

    http_status = 408
    can_retry = True


class UnsupportedEncoding(BadUserInput):
    """The request's body has a content coding that is not decoded here."""

    http_status = 415


class Conflict(GatewayError):
    """The request collides with the present state (``RUN_BUSY``, ``KEY_REUSED``, ``OUTCOME_UNKNOWN``)."""

    code = ErrorCode.CONFLICT
    http_status = 409


class RateLimited(GatewayError):
    """Too many requests in a time, or too much under way; ``retry_after_seconds`` says when to try again."""

    code = ErrorCode.RATE_LIMITED
    http_status = 429
    can_retry = True


class BudgetExceeded(GatewayError):
    """The caller's model budget is spent. 402, so that SDKs do not retry it."""

    code = ErrorCode.BUDGET_EXCEEDED
    http_status = 402


class PayloadTooLarge(GatewayError):
    """The body is over the limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE
    http_status = 413


class QueryTooComplex(GatewayError):
    """The operation asks for more than one may: COST, UPSTREAM_CALLS, ANSWER_SIZE, ERRORS."""

    code = ErrorCode.QUERY_TOO_COMPLEX
    http_status = 400


class Overloaded(GatewayError):
    """This gateway has no room for the request right now, or is stopping (``DRAINING``)."""

    code = ErrorCode.OVERLOADED
    http_status = 503
    can_retry = True


class Interrupted(Overloaded):
    """This gateway stopped in the middle of the request. Not retryable as it stands: it may have been carried out."""

    can_retry = False


class UpstreamFailure(GatewayError):
    """A service behind the gateway failed; ``service`` says which.

    Attributes:
        unconfirmed: whether the service may have done what was asked: the request was sent, and no answer tells.
            Unless it is given, the class and the reason say so.
    """

    can_retry = True

    def __init__(self, message: str, *, unconfirmed: bool | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.unconfirmed = self._may_be_done() if unconfirmed is None else unconfirmed

    def _may_be_done(self) -> bool:
        return False


class UpstreamUnavailable(UpstreamFailure):
    """The service could not be asked: nothing was sent. Reasons: CONNECT, BREAKER_OPEN, MODEL, BULKHEAD_FULL.

    ``MODEL`` is an open breaker of one model, ``BREAKER_OPEN`` that of another kind of call or of the whole service.
    """

    code = ErrorCode.UPSTREAM_UNAVAILABLE
    http_status = 503


class UpstreamTimeout(UpstreamFailure):
    """The service was asked and did not answer in time. Reasons: CONNECT, FIRST_TOKEN, IDLE, TOTAL, DEADLINE."""

    code = ErrorCode.UPSTREAM_TIMEOUT
    http_status = 504

    def _may_be_done(self) -> bool:
        return True


class UpstreamError(UpstreamFailure):
    """The service answered, and the answer is no use. Reasons: STATUS, DECODE, CUT, CREDENTIAL, MODEL.

    A cut, an answer that cannot be read, and a status that can be retried do not confirm what was done; the other
    reasons do.
    """

    code = ErrorCode.UPSTREAM_ERROR
    http_status = 502

    def _may_be_done(self) -> bool:
        return self.reason in {"CUT", "DECODE"} or (self.reason == "STATUS" and self.retryable)


def _family(kind: type[GatewayError]) -> list[type[GatewayError]]:
    """A class and all below it, itself last, so that its own status wins for a code they share."""
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
    """An error again from what was kept of it."""
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
