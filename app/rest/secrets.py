"""The secrets that a user's proxy accepts: the user's agent secret, and Letta's own key.

For embeddings and for chat through its base provider, Letta 0.16.8 cannot send the agent secret and sends a server-wide
key (Supabase contract). Other endpoints accept neither.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

from app.auth import bearer
from clients.codes import Reason
from clients.errors import Unauthenticated
from resolvers.principal import Principal, Role


def agent_secret(master_key: str, user_id: str) -> str:
    """Return the secret of a user's agents, from which no other user's can be derived."""
    digest = hmac.new(master_key.encode(), f"agent-secret:v1:{user_id}".encode(), hashlib.sha256).hexdigest()
    return f"ag-{user_id}-{digest}"


def is_user_id(text: str) -> bool:
    """Whether a text is a user id: a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def refused() -> Unauthenticated:
    """Return the error for a wrong secret, another user's secret, and a missing user."""
    return Unauthenticated("The secret is not valid.", reason=Reason.TOKEN_INVALID)


class ProxySecrets:
    """Verifies secrets. Without ``master_key``, no agent secret is valid; without ``letta_key``, Letta's is not."""

    def __init__(self, *, master_key: str | None, letta_key: str | None) -> None:
        self._master_key = master_key
        self._letta_key = letta_key

    def principal(self, authorization: str | None, user_id: str) -> Principal:
        """Return the user of the proxy. Whether AMS has the user is not checked.

        Raises:
            Unauthenticated: reason ``TOKEN_MISSING`` or ``TOKEN_INVALID``.
        """
        secret = bearer(authorization).encode()
        if not is_user_id(user_id) or not (self._is_agents(secret, user_id) | self._is_lettas(secret)):
            raise refused()
        return Principal(user_id=user_id, role=Role.USER, expires_at=float("inf"))

    def _is_agents(self, secret: bytes, user_id: str) -> bool:
        if self._master_key is None:
            return False
        return hmac.compare_digest(secret, agent_secret(self._master_key, user_id).encode())

    def _is_lettas(self, secret: bytes) -> bool:
        return self._letta_key is not None and hmac.compare_digest(secret, self._letta_key.encode())
