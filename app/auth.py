"""Sign-in with bearer tokens: checks a token's algorithm, type and signature. ``app.claims`` checks the claims.

Supabase signs tokens with HS256 and the project's secret. The ``kid`` of a token's header is ignored (Supabase
contract).
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import jwt
from jwt.types import Options

from app.claims import invalid, principal_of
from clients.bounded import Lru
from clients.codes import Reason
from clients.errors import Unauthenticated
from resolvers.principal import Principal

LEEWAY_SECONDS = 5
"""How long a token is accepted after its expiry, in seconds."""

MAX_TOKEN_CHARS = 8192
_CACHE_SIZE = 10_000
_OPTIONS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
}
"""PyJWT accepts claims of wrong types, such as a time as text. ``app.claims`` checks all claims instead."""


class Authenticator:
    """Verifies one issuer's tokens. A verified token is cached by digest until the token expires."""

    def __init__(self, *, secret: str, issuer: str) -> None:
        self._secret = secret
        self._issuer = issuer
        self._cache: Lru[bytes, Principal] = Lru(_CACHE_SIZE)

    def principal(self, authorization: str | None) -> Principal:
        """Return the user who is authenticated by an ``Authorization`` header.

        Raises:
            Unauthenticated: the token is missing, expired or invalid.
            Forbidden: the user is anonymous and has not signed up.
        """
        token = bearer(authorization)
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        cached = self._cache.get(digest)
        principal = cached or self._verified(token)
        if principal.expires_at + LEEWAY_SECONDS <= time.time():
            raise _expired()
        if cached is None:
            self._cache.put(digest, principal)
        return principal

    def _verified(self, token: str) -> Principal:
        try:
            read = jwt.decode_complete(token, self._secret, algorithms=["HS256"], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise invalid() from error  # a malformed token must not cause a 500
        if not _is_jwt(read["header"]):
            raise invalid("its header's typ is not JWT")
        return principal_of(read["payload"], self._issuer)


def _is_jwt(header: dict[str, Any]) -> bool:
    """Return whether a token's type is JWT: a token of another type is no access token (RFC 8725, 3.11)."""
    kind = header.get("typ", "JWT")
    return isinstance(kind, str) and kind.upper() == "JWT"


def bearer(authorization: str | None) -> str:
    """Return the token of an ``Authorization`` header. Raise Unauthenticated if the token is missing or malformed."""
    if not authorization:
        raise token_missing()
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise invalid()
    return token


def token_missing() -> Unauthenticated:
    """Return the error for a request that needs a token and has none."""
    return Unauthenticated("The request has no bearer token. Sign in, and send a token.", reason=Reason.TOKEN_MISSING)


def _expired() -> Unauthenticated:
    return Unauthenticated("The token has expired. Sign in again.", reason=Reason.TOKEN_EXPIRED)
