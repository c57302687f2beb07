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
    """A signed-in user. Only ``app.signin`` and ``app.rest.secrets`` create instances, from a verified token or secret.

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
