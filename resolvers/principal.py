"""The signed-in user of a request."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """The permissions of a user beyond those on the user's own objects."""

    USER = "user"
    ADMIN = "admin"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user. Only ``app.auth``, from a verified token, and ``app.rest.secrets``, from a secret, make one.

    ``user_id`` is the token's ``sub``, ``expires_at`` its ``exp`` in seconds since the epoch. A secret never expires.
    """

    user_id: str
    role: Role
    expires_at: float
    email: str | None = None
