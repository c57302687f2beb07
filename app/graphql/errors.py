"""Formats GraphQL errors with ``message``, ``locations``, ``path`` and ``extensions``."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError

INTERNAL_MESSAGE = "The gateway had an internal error. Report the request id to the operator."


class RequestError(Exception):
    """The error for a request whose operation cannot be executed.

    Attributes:
        code: the code of all errors.
        errors: the errors as they are sent, without the request id.
        http_status: the response's status, unless the response's media type is ``application/json``.
        well_formed: whether the request is well-formed, so that an ``application/json`` response has status 200
            (GraphQL over HTTP, 6.4.1).
        headers: additional headers of the response.
    """

    def __init__(
        self,
        code: ErrorCode,
        errors: list[dict[str, Any]],
        http_status: int,
        *,
        well_formed: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(errors[0]["message"])
        self.code = code
        self.errors = errors
        self.http_status = http_status
        self.well_formed = well_formed
        self.headers = headers or {}


def request_error(
    code: ErrorCode, message: str, status: int, *, well_formed: bool = False, reason: Reason | None = None
) -> RequestError:
    """Return a ``RequestError`` that contains one error."""
    return RequestError(code, [shaped(message, extensions(code, reason=reason))], status, well_formed=well_formed)


def shaped(message: str, extensions_: dict[str, Any]) -> dict[str, Any]:
    """Return a GraphQL error with ``message`` and ``extensions``."""
    return {"message": message, "extensions": extensions_}


def extensions(code: ErrorCode, *, reason: Reason | None = None, request_id: str | None = None) -> dict[str, Any]:
    """Return the ``extensions`` of an error that is not a ``GatewayError``."""
    facts = {"code": code.value, "reason": reason, "requestId": request_id, "retryable": False}
    return {name: value for name, value in facts.items() if value is not None}


def gateway_extensions(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return the ``extensions`` of a ``GatewayError``."""
    facts = {
        "code": error.code.value,
        "reason": error.reason,
        "requestId": request_id,
        "service": error.service.value if error.service else None,
        "retryable": error.retryable,
        "retryAfterSeconds": error.retry_after_seconds,
        **error.details,
    }
    return {name: value for name, value in facts.items() if value is not None}


def format_error(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """Format an execution error for the client. An internal error's message is replaced by ``INTERNAL_MESSAGE``."""
    original = error.original_error
    if isinstance(original, GatewayError):
        message, facts = original.message, gateway_extensions(original, request_id)
    elif is_internal(error):
        message, facts = INTERNAL_MESSAGE, extensions(ErrorCode.INTERNAL_ERROR, request_id=request_id)
    else:
        message, facts = error.message, extensions(ErrorCode.BAD_USER_INPUT, request_id=request_id)
    shape: dict[str, Any] = {"message": message}
    if error.locations:
        shape["locations"] = [{"line": one.line, "column": one.column} for one in error.locations]
    if error.path is not None:
        shape["path"] = error.path
    return {**shape, "extensions": facts}


def is_internal(error: GraphQLError) -> bool:
    """Return whether a fault in the gateway caused an error.

    Such faults are unexpected exceptions and resolver results that violate the schema.
    """
    original = error.original_error
    if isinstance(original, GatewayError):
        return False
    if original is not None and not isinstance(original, GraphQLError):
        return True
    return error.path is not None and not error.message.startswith(("Argument ", "Variable "))
