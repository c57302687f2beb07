"""The results of an operation: GraphQL, 7.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from app.graphql.errors import RequestError, gateway_extensions, shaped
from clients.errors import GatewayError

Error: TypeAlias = dict[str, Any]
"""An error as it is sent: ``message``, ``locations``, ``path``, ``extensions``."""


@dataclass(slots=True)
class Executed:
    """An execution result: ``data`` is sent even if it is null."""

    data: dict[str, Any] | None
    errors: list[Error] | None = None
    extensions: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """Return the response, ready to be encoded as JSON."""
        if self.errors is None and self.extensions is None:
            return {"data": self.data}
        errors = {"errors": self.errors} if self.errors else {}
        return {**errors, "data": self.data, **_extensions(self.extensions)}


@dataclass(slots=True)
class Refused:
    """A request error result: the operation was not executed, or ended before its first event.

    Attributes:
        errors: at least one.
        retry_after_seconds: after which the request may succeed, if that is known.
    """

    errors: list[Error]
    extensions: dict[str, Any] | None = None
    retry_after_seconds: float | None = None

    @classmethod
    def by(cls, error: GatewayError | RequestError, request_id: str) -> Refused:
        """Return the result of a request that is refused with an error."""
        if isinstance(error, GatewayError):
            facts = gateway_extensions(error, request_id)
            return cls([shaped(error.message, facts)], retry_after_seconds=error.retry_after_seconds)
        return cls([{**one, "extensions": {**one["extensions"], "requestId": request_id}} for one in error.errors])

    def body(self) -> dict[str, Any]:
        """Return the response, ready to be encoded as JSON."""
        return {"errors": self.errors, **_extensions(self.extensions)}


Result: TypeAlias = Executed | Refused


def _extensions(extensions: dict[str, Any] | None) -> dict[str, Any]:
    return {} if extensions is None else {"extensions": extensions}
