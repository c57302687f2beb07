"""The bearer token of a request, and the header of a token before its signature is verified."""

from __future__ import annotations

from typing import Any, NamedTuple, NewType

import jwt

from app.signin.errors import invalid, token_missing

MAX_TOKEN_CHARS = 8192
MAX_KEY_ID_CHARS = 256

Token = NewType("Token", str)
"""A bearer token whose signature has not been verified."""

_API_KEYS = ("sb_publishable_", "sb_secret_")
"""The prefixes of Supabase's API keys. They identify an application, not a user."""

READ_ERRORS = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
"""The errors that PyJWT raises for a token that it cannot read or verify."""


class Header(NamedTuple):
    """The part of a token's header that selects the verifying key.

    Attributes:
        algorithm: the ``alg``, which the key must be bound to.
        key_id: the ``kid``; empty if there is none.
    """

    algorithm: str
    key_id: str


def bearer(authorization: str | None) -> Token:
    """Return the token of an ``Authorization`` value. Raises Unauthenticated (``TOKEN_MISSING``, ``TOKEN_INVALID``)."""
    if not authorization:
        raise token_missing()
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise invalid()
    return Token(token)


def header_of(token: Token) -> Header:
    """Read the header of a token. Raises Unauthenticated (``TOKEN_INVALID``)."""
    if token.startswith(_API_KEYS):
        raise invalid("it is an API key of a Supabase project. Send the access token of a signed-in user")
    try:
        header = jwt.get_unverified_header(token)
    except READ_ERRORS as error:  # no token causes a 500
        raise invalid() from error
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID_CHARS:
        raise invalid()
    if not _is_jwt(header):
        raise invalid("its header's typ is not JWT")
    return Header(algorithm, key_id)


def _is_jwt(header: dict[str, Any]) -> bool:
    """Return whether a token's type is JWT. A token of another type is no access token (RFC 8725, 3.11)."""
    kind = header.get("typ", "JWT")
    return isinstance(kind, str) and kind.upper() == "JWT"
