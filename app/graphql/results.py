"""The results of executed and refused operations (GraphQL, 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from app.graphql.errors import RequestError, gateway_extensions, shaped
from clients.errors import GatewayError

Error: TypeAlias = dict[str, Any]
"""An error in a response: ``message``, ``locations``, ``path``, ``extensions``."""


@dataclass(slots=True)
class Executed:
    """The result of an operation that was executed. The response contains ``data`` even if ``data`` is null.

    Attributes:
        cursor: the cursor of the event, if the operation is a subscription.
        is_detached: whether the gateway has detached the reader with this event. The stream continues.
    """

    data: dict[str, Any] | None
    errors: list[Error] | None = None
    extensions: dict[str, Any] | None = None
    cursor: str | None = None
    is_detached: bool = False

    def body(self) -> dict[str, Any]:
        """Return the response as a JSON-serializable dict."""
        if self.errors is None and self.extensions is None:
            return {"data": self.data}
        errors = {"errors": self.errors} if self.errors else {}
        return {**errors, "data": self.data, **_extensions(self.extensions)}


@dataclass(slots=True)
class Refused:
    """The result of an operation that was refused. The response has no ``data``.

    A subscription that fails before its first event has this result.

    Attributes:
        errors: at least one error.
        retry_after_seconds: the time until the request may succeed; ``None`` if unknown.
    """

    errors: list[Error]
    extensions: dict[str, Any] | None = None
    retry_after_seconds: float | None = None

    @classmethod
    def by(cls, error: GatewayError | RequestError, request_id: str) -> Refused:
        """Return a result that contains ``error``."""
        if isinstance(error, GatewayError):
            facts = gateway_extensions(error, request_id)
            return cls([shaped(error.message, facts)], retry_after_seconds=error.retry_after_seconds)
        return cls([{**one, "extensions": {**one["extensions"], "requestId": request_id}} for one in error.errors])

    def body(self) -> dict[str, Any]:
        """Return the response as a JSON-serializable dict."""
        return {"errors": self.errors, **_extensions(self.extensions)}


Result: TypeAlias = Executed | Refused


def _extensions(extensions: dict[str, Any] | None) -> dict[str, Any]:
    return {} if extensions is None else {"extensions": extensions}
