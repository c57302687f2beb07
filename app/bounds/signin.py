"""Describes the bounds on tokens and on sign-in."""

from app.bounds.bound import Bound, refused
from app.signin import attempts, issuer, keys
from app.signin.token import MAX_TOKEN_CHARS
from clients.codes import ErrorCode, Reason
from resolvers import sessions

_FAILED = f"{refused(ErrorCode.RATE_LIMITED, Reason.RATE_LIMIT_SIGN_IN)}; close code 1013"

SIGN_IN = (
    Bound(
        "token",
        "a bearer token",
        refused(ErrorCode.UNAUTHENTICATED, Reason.TOKEN_INVALID),
        f"{MAX_TOKEN_CHARS:,} characters",
    ),
    Bound(
        "sign-ins-without-token",
        "requests without a token from one IP address, if they need a token",
        _FAILED,
        "{} per minute",
        setting="sign_in_failures_per_minute",
    ),
    Bound(
        "sign-ins-with-invalid-token",
        "requests with an invalid token from one IP address",
        f"{_FAILED}, unless the gateway has verified the token, or an earlier token of the same session",
        "{} per minute",
        setting="sign_in_failures_per_minute",
    ),
    Bound(
        "sign-in-counters",
        "counters of failed sign-ins",
        "the gateway evicts the counter that was used least recently",
        f"{attempts.MAX_COUNTERS:,}",
    ),
    Bound(
        "issuer-keys",
        "keys that are read from the JWKS of the token's issuer",
        "the other keys are ignored",
        str(keys.MAX_KEYS),
    ),
    Bound("revoked-sessions", "revoked sessions", "evicts the least recently used", f"{sessions.MAX_REVOKED:,}"),
    Bound(
        "issuer-waiting",
        "requests whose token has an unknown `kid` and that wait for the JWKS",
        refused(ErrorCode.OVERLOADED, Reason.ISSUER),
        f"{issuer.MAX_WAITING:,}",
    ),
)
