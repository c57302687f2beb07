"""The signed-in user of a request."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """A user's role. Admins have additional permissions."""

    USER = "user"
    ADMIN = "admin"


class Scope(StrEnum):
    """A permission that a field can require (``@requiresScopes``)."""

    ADMIN = "admin"


_SCOPES = {Role.USER: frozenset[str](), Role.ADMIN: frozenset[str]({Scope.ADMIN})}
"""The scopes of each role."""


def scopes_of(role: Role) -> frozenset[str]:
    """Return the scopes that a role has."""
    return _SCOPES[role]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user.

    Only ``app.signin`` and ``app.rest.secrets`` create instances, from a verified token or secret, and
    ``principal_of_stream``.

    ``user_id`` is the token's ``sub``, and ``expires_at`` its ``exp`` in seconds since the epoch. Secrets never expire.
    ``session_id`` identifies the sign-in session, and ``key_id`` the public key that verified the token. Both can be
    empty.
    """

    user_id: str
    role: Role
    expires_at: float
    email: str | None = None
    session_id: str = ""
    key_id: str = ""


def principal_of_stream(user_id: str) -> Principal:
    """Return the user of a stream that another process has begun.

    The user was signed in when the stream began. A stream continues after the user's token has expired, so the result
    never expires. It has no additional permissions.
    """
    return Principal(user_id=user_id, role=Role.USER, expires_at=float("inf"))
