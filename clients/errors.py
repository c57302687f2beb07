"""The errors of the gateway, each with its code and HTTP status.

GraphQL's ``extensions``, the REST body, the OpenAI envelope, the metric label and the log field come from these
classes; ``clients.codes`` has the reasons of each code. Any other exception is ``INTERNAL_ERROR`` with the request id
and nothing else. Messages contain no upstream text, no secret and no other user's ids.
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


class GatewayError(Exception):
    """An error that a client can see. A class has its code, its HTTP status, and whether a retry can help.

    Attributes:
        http_status: the status of an HTTP answer that carries nothing but this error.
        reason: the cause within the code.
        retryable: whether the same request can succeed later; by default the class decides.
        details: further safe facts for ``extensions`` (``{"runId": …}``).
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500
    can_retry: ClassVar[bool] = False

    def __init_subclass__(
        cls, *, code: ErrorCode | None = None, http_status: int | None = None, can_retry: bool | None = None
    ) -> None:
        """Set the attributes that differ from the parent's."""
        cls.code = code or cls.code
        cls.http_status = http_status or cls.http_status
        cls.can_retry = cls.can_retry if can_retry is None else can_retry

    def __init__(self, message: str, *, can_retry: bool | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message)
        self.message = message
        self.reason = facts.get("reason")
        self.service = facts.get("service")
        self.retry_after_seconds = facts.get("retry_after_seconds")
        self.retryable = type(self).can_retry if can_retry is None else can_retry
        self.details = facts.get("details") or {}


class Unauthenticated(GatewayError, code=ErrorCode.UNAUTHENTICATED, http_status=401):
    """The request has no valid token."""


class Forbidden(GatewayError, code=ErrorCode.FORBIDDEN, http_status=403):
    """The user is signed in and has no permission."""


class NotFound(GatewayError, code=ErrorCode.NOT_FOUND, http_status=404):
    """The object does not exist or belongs to another user; the error is the same for both."""


class BadUserInput(GatewayError, code=ErrorCode.BAD_USER_INPUT, http_status=400):
    """The request is not valid."""


class Invalid(BadUserInput):
    """AMS found the input not valid. ``problems`` lists why, one line each, in terms of the input alone."""

    def __init__(self, message: str, problems: list[str], *, reason: Reason) -> None:
        super().__init__(message, reason=reason)
        self.problems = problems


class BodyTimeout(BadUserInput, http_status=408, can_retry=True):
    """The request's body did not arrive in time."""


class UnsupportedEncoding(BadUserInput, http_status=415):
    """The request's body has a content coding that the gateway does not support."""


class Conflict(GatewayError, code=ErrorCode.CONFLICT, http_status=409):
    """The current state does not allow the request."""


class RateLimited(GatewayError, code=ErrorCode.RATE_LIMITED, http_status=429, can_retry=True):
    """A rate limit or quota of the user is reached."""


class BudgetExceeded(GatewayError, code=ErrorCode.BUDGET_EXCEEDED, http_status=402):
    """The user's model budget is spent. 402, so that SDKs do not retry it."""


class PayloadTooLarge(GatewayError, code=ErrorCode.PAYLOAD_TOO_LARGE, http_status=413):
    """The body is over the limit."""


class QueryTooComplex(GatewayError, code=ErrorCode.QUERY_TOO_COMPLEX, http_status=400):
    """The operation, its document or its response is too large."""


class Overloaded(GatewayError, code=ErrorCode.OVERLOADED, http_status=503, can_retry=True):
    """The gateway has no capacity for the request, or is stopping."""


class Interrupted(Overloaded, can_retry=False):
    """The gateway stopped during the request, which may have been carried out: it is not retryable."""


class UpstreamFailure(GatewayError, can_retry=True):
    """An upstream call failed.

    ``unconfirmed``: the service may have carried out the call, since it was sent and no answer confirms the outcome. By
    default, the class and the reason decide.
    """

    def __init__(
        self, message: str, *, unconfirmed: bool | None = None, can_retry: bool | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, can_retry=can_retry, **facts)
        self.unconfirmed = self._may_be_done() if unconfirmed is None else unconfirmed

    def _may_be_done(self) -> bool:
        return False


class UpstreamUnavailable(UpstreamFailure, code=ErrorCode.UPSTREAM_UNAVAILABLE, http_status=503):
    """The call was not sent."""


class UpstreamTimeout(UpstreamFailure, code=ErrorCode.UPSTREAM_TIMEOUT, http_status=504):
    """The call was sent and not answered in time."""

    def _may_be_done(self) -> bool:
        return True


class UpstreamError(UpstreamFailure, code=ErrorCode.UPSTREAM_ERROR, http_status=502):
    """The service's answer cannot be used.

    ``CUT``, ``DECODE`` and a ``STATUS`` that can be retried leave the outcome unknown; other reasons do not.
    """

    def _may_be_done(self) -> bool:
        return self.reason in {Reason.CUT, Reason.DECODE} or (self.reason == Reason.STATUS and self.retryable)


def _family(kind: type[GatewayError]) -> list[type[GatewayError]]:
    """A class and all below it, itself last, so that its own status wins for a code they share."""
    return [*(one for child in kind.__subclasses__() for one in _family(child)), kind]


_KINDS = {kind.code: kind for kind in _family(GatewayError)}
HTTP_STATUS = {code: kind.http_status for code, kind in _KINDS.items()}
"""The status of each code that has a class."""


def error_of(code: ErrorCode, message: str, *, retryable: bool, **facts: Unpack[_Facts]) -> GatewayError:
    """Make an error from the fields that were kept of one."""
    return _KINDS.get(code, GatewayError)(message, can_retry=retryable, **facts)
