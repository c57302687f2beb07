"""Refuses requests that a web page of any origin can send without a CORS preflight (Fetch, 2.2.2).

The gateway has no cookies, so such a request never has a user: the header ``Authorization`` makes browsers send a
preflight. This module covers the requests that need no user.
"""

from __future__ import annotations

from starlette.types import Scope

from app.asgi import header
from app.graphql.errors import request_error
from clients.codes import ErrorCode, Reason

PREFLIGHT_HEADERS = ("graphql-require-preflight", "apollo-require-preflight", "x-apollo-operation-name")
"""Request headers that pages of other origins cannot send without a preflight. Apollo's clients know the last two."""

_SIMPLE_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""})
"""The values of ``Content-Type`` that need no preflight (Fetch, 2.2.2)."""


def check_preflighted(scope: Scope) -> None:
    """Raise RequestError (``PREFLIGHT``) if a browser sends the request without a preflight."""
    content_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if content_type in _SIMPLE_TYPES and not any(header(scope, name.encode()) for name in PREFLIGHT_HEADERS):
        message = (
            "The request has no token and no header that makes browsers send a CORS preflight. Send the header "
            "GraphQL-Require-Preflight: 1, or use the method POST."
        )
        raise request_error(ErrorCode.BAD_USER_INPUT, message, 400, reason=Reason.PREFLIGHT)
