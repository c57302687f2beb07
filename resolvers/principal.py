"""The signed-in user of a request."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """A user's role. Admins have additional permissions."""

    USER = "user"
    ADMIN = "admin"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user. Only ``app.auth`` and ``app.rest.secrets`` create instances, from a verified token or secret.

    ``user_id`` is the token's ``sub``, and ``expires_at`` its ``exp`` in seconds since the epoch. Secrets never expire.
    """

    user_id: str
    role: Role
    expires_at: float
    email: str | None = None
