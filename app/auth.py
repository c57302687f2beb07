"""Sign-in: a bearer token becomes a principal.

Supabase signs with HS256 and the project's secret; the ``kid`` of the header is ignored (Supabase contract). The
algorithm, the type and the signature are checked here, the claims in ``app.claims``.
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
"""PyJWT accepts claims of other types than the standard's, such as times as text. ``app.claims`` checks them."""


class Authenticator:
    """Verifies tokens of one issuer. A verified token is cached by its digest until it expires."""

    def __init__(self, *, secret: str, issuer: str) -> None:
        self._secret = secret
        self._issuer = issuer
        self._known: Lru[bytes, Principal] = Lru(_CACHE_SIZE)

    def principal(self, authorization: str | None) -> Principal:
        """Return the principal of an ``Authorization`` value.

        Raises:
            Unauthenticated: reason ``TOKEN_MISSING``, ``TOKEN_EXPIRED`` or ``TOKEN_INVALID``.
            Forbidden: reason ``ANONYMOUS``, for a user who has not signed up.
        """
        token = bearer(authorization)
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        principal = known or self._verified(token)
        if principal.expires_at + LEEWAY_SECONDS <= time.time():
            raise _expired()
        if known is None:
            self._known.put(digest, principal)
        return principal

    def _verified(self, token: str) -> Principal:
        try:
            read = jwt.decode_complete(token, self._secret, algorithms=["HS256"], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise invalid() from error  # no token causes a 500
        if not _is_jwt(read["header"]):
            raise invalid("the typ of its header must be JWT")
        return principal_of(read["payload"], self._issuer)


def _is_jwt(header: dict[str, Any]) -> bool:
    """Whether a token has the type of an access token: other types have other meanings (RFC 8725, 3.11)."""
    kind = header.get("typ", "JWT")
    return isinstance(kind, str) and kind.upper() == "JWT"


def bearer(authorization: str | None) -> str:
    """Return the token of an ``Authorization`` value. Raises Unauthenticated (``TOKEN_MISSING``, ``TOKEN_INVALID``)."""
    if not authorization:
        raise token_missing()
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise invalid()
    return token


def token_missing() -> Unauthenticated:
    """Return the error for a request without a token that needs one."""
    return Unauthenticated("The request has no bearer token. Sign in.", reason=Reason.TOKEN_MISSING)


def _expired() -> Unauthenticated:
    return Unauthenticated("The token has expired. Sign in again.", reason=Reason.TOKEN_EXPIRED)
