"""The gateway's errors, each with its code and HTTP status.

GraphQL's ``extensions``, error bodies, metric labels and log fields come from these classes. For any other exception,
clients get ``INTERNAL_ERROR`` with only the request id. Messages contain no upstream text, no secret and no other
user's ids.
"""

from enum import StrEnum
from typing import ClassVar, Self, TypedDict, Unpack

from clients.codes import ErrorCode, Reason


class Service(StrEnum):
    """The services that the gateway calls. The values appear in ``extensions.service`` and in metric labels."""

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
    """An error that clients can receive. Each subclass sets ``code``, ``http_status`` and ``can_retry``.

    Attributes:
        http_status: the status of an HTTP answer that carries only this error.
        reason: the cause of the error, more specific than the code.
        retryable: whether the same request can succeed later; by default the class decides.
        details: further facts for ``extensions``, such as ``{"runId": …}``.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500
    can_retry: ClassVar[bool] = False

    def __init_subclass__(
        cls, *, code: ErrorCode | None = None, http_status: int | None = None, can_retry: bool | None = None
    ) -> None:
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

    def copy(self) -> Self:
        """Return an equal error without a traceback.

        A stored error must be copied before it is raised: its traceback would refer to all that the frames refer to.
        """
        error = type(self).__new__(type(self), *self.args)
        error.__dict__.update(self.__dict__)
        return error


class Unauthenticated(GatewayError, code=ErrorCode.UNAUTHENTICATED, http_status=401):
    """The request has no valid access token."""


class Forbidden(GatewayError, code=ErrorCode.FORBIDDEN, http_status=403):
    """The user lacks a permission that the request needs."""


class NotFound(GatewayError, code=ErrorCode.NOT_FOUND, http_status=404):
    """The object does not exist, or belongs to another user. In both cases, clients get the same error."""


class BadUserInput(GatewayError, code=ErrorCode.BAD_USER_INPUT, http_status=400):
    """The request is not valid."""


class Invalid(BadUserInput):
    """AMS refused the client's input. Each item of ``problems`` describes one problem, and quotes only the input."""

    def __init__(self, message: str, problems: list[str], *, reason: Reason) -> None:
        super().__init__(message, reason=reason)
        self.problems = problems


class BodyTimeout(BadUserInput, http_status=408, can_retry=True):
    """The request's body did not arrive in time."""


class UnsupportedEncoding(BadUserInput, http_status=415):
    """The request's body has a Content-Encoding that the gateway does not support."""


class Conflict(GatewayError, code=ErrorCode.CONFLICT, http_status=409):
    """The object's current state does not allow the request."""


class RateLimited(GatewayError, code=ErrorCode.RATE_LIMITED, http_status=429, can_retry=True):
    """The user has exceeded a rate limit or a quota."""


class BudgetExceeded(GatewayError, code=ErrorCode.BUDGET_EXCEEDED, http_status=402):
    """The user has spent the budget for model calls. SDKs do not retry a request after a 402."""


class PayloadTooLarge(GatewayError, code=ErrorCode.PAYLOAD_TOO_LARGE, http_status=413):
    """The request's body is too large."""


class QueryTooComplex(GatewayError, code=ErrorCode.QUERY_TOO_COMPLEX, http_status=400):
    """The operation, the document or the response is too large."""


class Overloaded(GatewayError, code=ErrorCode.OVERLOADED, http_status=503, can_retry=True):
    """The gateway has no capacity for the request, or is stopping."""


class Interrupted(Overloaded, can_retry=False):
    """The gateway stopped during the request. The request may have been carried out."""


class UpstreamFailure(GatewayError, can_retry=True):
    """A call to a service failed.

    ``unconfirmed`` is true if the service may have carried out the call. By default, the class and the reason decide.
    """

    def __init__(
        self, message: str, *, unconfirmed: bool | None = None, can_retry: bool | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, can_retry=can_retry, **facts)
        self.unconfirmed = self._may_be_done() if unconfirmed is None else unconfirmed

    def _may_be_done(self) -> bool:
        return False


class UpstreamUnavailable(UpstreamFailure, code=ErrorCode.UPSTREAM_UNAVAILABLE, http_status=503):
    """The gateway could not send a call to a service."""


class UpstreamTimeout(UpstreamFailure, code=ErrorCode.UPSTREAM_TIMEOUT, http_status=504):
    """A service did not answer a call in time."""

    def _may_be_done(self) -> bool:
        return True


class UpstreamError(UpstreamFailure, code=ErrorCode.UPSTREAM_ERROR, http_status=502):
    """A service sent an answer that the gateway cannot use.

    The outcome is unknown for the reasons ``CUT`` and ``DECODE``, and for ``STATUS`` if the error is retryable.
    """

    def _may_be_done(self) -> bool:
        return self.reason in {Reason.CUT, Reason.DECODE} or (self.reason == Reason.STATUS and self.retryable)


class WrongServer(UpstreamError):
    """A different program answers at the service's URL. The message names the program and the cure."""

    def __init__(self, message: str, *, service: Service) -> None:
        super().__init__(message, reason=Reason.STATUS, service=service, can_retry=False)


def _family(kind: type[GatewayError]) -> list[type[GatewayError]]:
    """Return a class's subclasses and then the class.

    If several classes share a code, the last class's HTTP status applies.
    """
    return [*(one for child in kind.__subclasses__() for one in _family(child)), kind]


_KINDS = {kind.code: kind for kind in _family(GatewayError)}
HTTP_STATUS = {code: kind.http_status for code, kind in _KINDS.items()}
"""The HTTP status of each code that has an error class."""


def error_of(code: ErrorCode, message: str, *, retryable: bool, **facts: Unpack[_Facts]) -> GatewayError:
    """Recreate a GatewayError from the error's stored fields."""
    return _KINDS.get(code, GatewayError)(message, can_retry=retryable, **facts)
