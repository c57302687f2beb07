"""GraphQL errors as clients see them: ``message``, ``locations``, ``path``, ``extensions``."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError

INTERNAL_MESSAGE = "The gateway had an internal error. Report the request id."


class RequestError(Exception):
    """A request that no operation came of. ``errors`` are ready to be sent; ``status`` is HTTP's.

    ``well_formed`` requests failed as GraphQL, not as HTTP: plain ``application/json`` answers those with 200
    (GraphQL over HTTP, 6.4.1).
    """

    def __init__(
        self,
        errors: list[dict[str, Any]],
        status: int,
        *,
        well_formed: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(errors[0]["message"])
        self.errors = errors
        self.status = status
        self.well_formed = well_formed
        self.headers = headers or {}


def request_error(
    code: ErrorCode, message: str, status: int, *, well_formed: bool = False, reason: Reason | None = None
) -> RequestError:
    """A request error of one message."""
    return RequestError([shaped(message, extensions(code, reason=reason))], status, well_formed=well_formed)


def shaped(message: str, extensions_: dict[str, Any]) -> dict[str, Any]:
    """An error without a place."""
    return {"message": message, "extensions": extensions_}


def extensions(code: ErrorCode, *, reason: Reason | None = None, request_id: str | None = None) -> dict[str, Any]:
    """The extensions of an error that is none of the tree's."""
    facts = {"code": code.value, "reason": reason, "requestId": request_id, "retryable": False}
    return {name: value for name, value in facts.items() if value is not None}


def gateway_extensions(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The extensions of an error of the tree."""
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


def told(error: GatewayError | RequestError, request_id: str) -> list[dict[str, Any]]:
    """The errors of a request that no operation came of, as they are sent."""
    if isinstance(error, GatewayError):
        return [shaped(error.message, gateway_extensions(error, request_id))]
    return [{**one, "extensions": {**one["extensions"], "requestId": request_id}} for one in error.errors]


def format_error(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """One error of an execution, as it is sent. What is not meant for the caller is INTERNAL_ERROR."""
    original = error.original_error
    if isinstance(original, GatewayError):
        message, facts = original.message, gateway_extensions(original, request_id)
    elif is_internal(error):
        message, facts = INTERNAL_MESSAGE, extensions(ErrorCode.INTERNAL_ERROR, request_id=request_id)
    else:
        message, facts = error.message, extensions(ErrorCode.BAD_USER_INPUT, request_id=request_id)
    shape: dict[str, Any] = {"message": message}
    if error.locations:
        shape["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path is not None:
        shape["path"] = error.path
    return {**shape, "extensions": facts}


def is_internal(error: GraphQLError) -> bool:
    """Whether the gateway, not the caller, is at fault: an exception of ours, or a record that breaks the schema."""
    original = error.original_error
    if isinstance(original, GatewayError):
        return False
    if original is not None and not isinstance(original, GraphQLError):
        return True
    return error.path is not None and not error.message.startswith(("Argument ", "Variable "))
