"""The errors of sign-in."""

from __future__ import annotations

from clients.codes import Reason
from clients.errors import Forbidden, Unauthenticated


def token_missing() -> Unauthenticated:
    """Return the error for a request that needs a token and has none."""
    return Unauthenticated("The request has no bearer token. Sign in, and send a token.", reason=Reason.TOKEN_MISSING)


def token_expired() -> Unauthenticated:
    """Return the error for an expired token."""
    return Unauthenticated("The token has expired. Sign in again.", reason=Reason.TOKEN_EXPIRED)


def token_revoked() -> Unauthenticated:
    """Return the error for a token whose session is revoked."""
    return Unauthenticated("The token's session was revoked. Sign in again.", reason=Reason.TOKEN_REVOKED)


def invalid(why: str = "") -> Unauthenticated:
    """Return the error for an invalid token. ``why`` may quote the token only if the token's signature is valid."""
    return Unauthenticated(f"The token is not valid{why and ': '}{why}. Sign in again.", reason=Reason.TOKEN_INVALID)


def anonymous() -> Forbidden:
    """Return the error for an anonymous user."""
    return Forbidden("Anonymous users have no access. Sign up first.", reason=Reason.ANONYMOUS)
