"""Checks the claims of a token whose signature is valid."""

from __future__ import annotations

import math
import time
import uuid

from app.signin.errors import anonymous, invalid
from app.signin.keys import SignedClaims
from resolvers.checks import MAX_SESSION_ID
from resolvers.principal import Principal, Role

AUDIENCE = "authenticated"

SKEW_SECONDS = 60
"""How many seconds ``iat`` and ``nbf`` may lie in the future, because the issuer's clock may be ahead."""

MAX_EMAIL = 320
"""Maximum length of an email address, in characters (RFC 5321, 4.5.3.1). Longer or unprintable addresses are ignored.
"""

_END_OF_TIME = 253_402_300_799.0
"""The latest expiry of a token: the end of the year 9999 in Unix time. Timers cannot represent later times."""


def principal_of(claims: SignedClaims, issuer: str, key_id: str = "") -> Principal:
    """Check a token's claims except its expiry, and return the token's user.

    The server sets ``app_metadata``. The user sets ``user_metadata``, which grants no permission.

    Raises:
        Unauthenticated: a claim is invalid. The message names the claim.
        Forbidden: the user is anonymous and has not signed up.
    """
    expires_at = min(_numeric_date(claims, "exp", needed=True), _END_OF_TIME)
    latest = time.time() + SKEW_SECONDS
    for name in ("iat", "nbf"):
        _check(name, "must not be in the future", _numeric_date(claims, name) <= latest)
    _check("iss", "does not name this Supabase project", claims.get("iss") == issuer)
    _check("aud", f"must be {AUDIENCE!r}", _is_audience(claims.get("aud")))
    _check("role", f"must be {AUDIENCE!r}", claims.get("role") == AUDIENCE)
    user_id = claims.get("sub")
    _check("sub", "must be a UUID in lower case, with hyphens", _is_uuid(user_id))
    if claims.get("is_anonymous") not in (None, False):
        raise anonymous()
    metadata = claims.get("app_metadata")
    admin = isinstance(metadata, dict) and metadata.get("role") == "admin"
    return Principal(
        user_id=str(user_id),
        role=Role.ADMIN if admin else Role.USER,
        expires_at=expires_at,
        email=_email(claims.get("email")),
        session_id=_session_id(claims.get("session_id")),
        key_id=key_id,
    )


def _check(name: str, rule: str, holds: bool) -> None:
    if not holds:
        raise invalid(f"its claim {name} {rule}")


def _numeric_date(claims: SignedClaims, name: str, *, needed: bool = False) -> float:
    """Return a NumericDate claim in seconds since 1970 (RFC 7519, 2), or 0 if the claim is missing."""
    value = claims.get(name)
    if value is None and not needed:
        return 0.0
    try:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    except OverflowError:  # an integer of more than 308 digits
        seconds = math.inf
    _check(name, "must be a number of seconds since 1970", math.isfinite(seconds) and seconds >= 0)
    return seconds


def _is_audience(audience: object) -> bool:
    if isinstance(audience, list):
        return AUDIENCE in audience and all(isinstance(one, str) for one in audience)
    return audience == AUDIENCE


def _is_uuid(value: object) -> bool:
    if not isinstance(value, str) or len(value) != len(str(uuid.NAMESPACE_DNS)):
        return False
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _session_id(value: object) -> str:
    if value is None:
        return ""
    is_id = isinstance(value, str) and 0 < len(value) <= MAX_SESSION_ID
    _check("session_id", f"must be a text of 1 to {MAX_SESSION_ID} characters", is_id)
    return str(value).lower()


def _email(value: object) -> str | None:
    is_shown = isinstance(value, str) and 0 < len(value) <= MAX_EMAIL and value.isprintable()
    return str(value) if is_shown else None
