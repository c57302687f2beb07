"""Sign-in: a bearer token becomes a principal, or nothing does.

Supabase signs with HS256 and the project's secret; whatever ``kid`` stands in the header is no obstacle (Supabase
contract). Everything is checked: algorithm, signature, ``exp``, ``aud``, ``iss``, ``sub`` and ``role``.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

import jwt

from clients.errors import Forbidden, Unauthenticated
from resolvers.principal import Principal, Role

AUDIENCE = "authenticated"
LEEWAY_SECONDS = 5
"""How long after its expiry a token is still taken."""

SKEW_SECONDS = 60
"""How far the clock of whoever signs may be ahead: a fresh token's ``iat`` and ``nbf`` may lie in the future."""

_END_OF_TIME = 253_402_300_799.0
"""The end of the year 9999: a token that expires later cannot be given to a timer."""

MAX_TOKEN_CHARS = 8192
_CACHE_SIZE = 10_000


class Authenticator:
    """Verifies tokens of one issuer. A verified token is remembered, by its digest, until it expires."""

    def __init__(self, *, secret: str, issuer: str) -> None:
        self._secret = secret
        self._issuer = issuer
        self._known: dict[bytes, Principal] = {}

    def principal(self, authorization: str | None) -> Principal:
        """The principal of an ``Authorization`` value.

        Raises:
            Unauthenticated: reason ``TOKEN_MISSING``, ``TOKEN_EXPIRED`` or ``TOKEN_INVALID``.
            Forbidden: reason ``ANONYMOUS``, for a user who has not signed up.
        """
        token = bearer(authorization)
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._verified(token)
            if len(self._known) >= _CACHE_SIZE:
                self._known.pop(next(iter(self._known)))
            self._known[digest] = known
        if known.expires_at + LEEWAY_SECONDS <= time.time():
            raise _expired()
        return known

    def _verified(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=SKEW_SECONDS,  # of ``exp`` as well: ``principal`` checks that again, with its own
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise _expired() from error
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise _invalid() from error  # whatever a token is, it is no reason for a 500
        return _principal(claims)


def _principal(claims: dict[str, Any]) -> Principal:
    """``user_metadata`` is set by the user and never authorizes; ``app_metadata`` is set by the server."""
    if claims.get("role") != "authenticated":
        raise _invalid()
    if claims.get("is_anonymous") not in (None, False):
        raise Forbidden("Anonymous users have no access: sign up first.", reason="ANONYMOUS")
    try:
        user_id = str(uuid.UUID(claims["sub"]))
        expires_at = min(float(claims["exp"]), _END_OF_TIME)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _invalid() from error
    metadata = claims.get("app_metadata")
    admin = isinstance(metadata, dict) and metadata.get("role") == "admin"
    email = claims.get("email")
    return Principal(
        user_id=user_id,
        role=Role.ADMIN if admin else Role.USER,
        expires_at=expires_at,
        email=email if isinstance(email, str) else None,
    )


def bearer(authorization: str | None) -> str:
    """The token of an ``Authorization`` value. Raises Unauthenticated (``TOKEN_MISSING``, ``TOKEN_INVALID``)."""
    if not authorization:
        raise Unauthenticated("Sign in: the request has no bearer token.", reason="TOKEN_MISSING")
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise _invalid()
    return token


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid.", reason="TOKEN_INVALID")


def _expired() -> Unauthenticated:
    return Unauthenticated("The token has expired: sign in again.", reason="TOKEN_EXPIRED")
