"""Reads a request's bearer token, and the token's header before its signature is verified."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple, NewType

import jwt
import msgspec

from app.signin.errors import invalid, token_missing

MAX_TOKEN_CHARS = 8192
MAX_KEY_ID_CHARS = 256

Token = NewType("Token", str)
"""A bearer token whose signature has not been verified."""

_API_KEYS = ("sb_publishable_", "sb_secret_")
"""The prefixes of Supabase's API keys. API keys identify an application, not a user."""

READ_ERRORS = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
"""The exceptions that PyJWT raises if it cannot read or verify a token."""


class Header(NamedTuple):
    """The fields of a token's header that select the verifying key.

    Attributes:
        algorithm: the ``alg``. The key must belong to this algorithm.
        key_id: the ``kid``; empty if there is none.
    """

    algorithm: str
    key_id: str


def bearer(authorization: str | None) -> Token:
    """Return the bearer token from an ``Authorization`` header. Raise Unauthenticated if it has none."""
    if not authorization:
        raise token_missing()
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise invalid()
    return Token(token)


def header_of(token: Token) -> Header:
    """Read a token's header without verifying the token. Raise Unauthenticated if the header is invalid."""
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


class _SessionClaim(msgspec.Struct):
    session_id: str = ""


_SESSION_CLAIM = msgspec.json.Decoder(_SessionClaim)  # skips other claims, so that a refusal costs less than json.loads


def claimed_session(token: Token) -> str:
    """Return the ``session_id`` that a token claims, before its signature is verified; empty if there is none."""
    try:
        payload = token.split(".")[1]
        return _SESSION_CLAIM.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).session_id
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError):
        return ""


def _is_jwt(header: dict[str, Any]) -> bool:
    """Return whether a token's type is JWT. Tokens of other types are not access tokens (RFC 8725, 3.11)."""
    kind = header.get("typ", "JWT")
    return isinstance(kind, str) and kind.upper() == "JWT"
