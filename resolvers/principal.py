"""Who is asking, once that has been verified."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a user may do beyond their own things."""

    USER = "user"
    ADMIN = "admin"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user. Only ``app.auth``, from a verified token, and ``app.rest.secrets``, from a secret, make one.

    ``user_id`` is the token's ``sub``; ``expires_at`` its ``exp``, in seconds since the epoch. A secret has no end.
    """

    user_id: str
    role: Role
    expires_at: float
    email: str | None = None
