"""The secrets that a user's proxy accepts: the one of the user's agents, and Letta's own key.

Letta 0.16.8 cannot send the agent's secret everywhere: with embeddings, and with chat through its base provider, it
sends one server-wide key of its own (Supabase contract). Other endpoints accept neither.
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
    """Return the secret of a user's agents. It does not reveal any other user's."""
    digest = hmac.new(master_key.encode(), f"agent-secret:v1:{user_id}".encode(), hashlib.sha256).hexdigest()
    return f"ag-{user_id}-{digest}"


def is_user_id(text: str) -> bool:
    """Whether a text is a user id as in tokens and AMS: a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def refused() -> Unauthenticated:
    """Return the error for a wrong secret, another user's secret, and a user who does not exist."""
    return Unauthenticated("The secret is not valid.", reason=Reason.TOKEN_INVALID)


class ProxySecrets:
    """Verifies secrets. Without a ``master_key``, no agent's is valid; without a ``letta_key``, Letta's is not."""

    def __init__(self, *, master_key: str | None, letta_key: str | None) -> None:
        self._master_key = master_key
        self._letta_key = letta_key

    def principal(self, authorization: str | None, user_id: str) -> Principal:
        """Return the user of the proxy. AMS has still to confirm that the user exists.

        Raises:
            Unauthenticated: reason ``TOKEN_MISSING`` or ``TOKEN_INVALID``.
        """
        given = bearer(authorization).encode()
        if not is_user_id(user_id) or not (self._is_agents(given, user_id) | self._is_lettas(given)):
            raise refused()
        return Principal(user_id=user_id, role=Role.USER, expires_at=float("inf"))

    def _is_agents(self, given: bytes, user_id: str) -> bool:
        if self._master_key is None:
            return False
        return hmac.compare_digest(given, agent_secret(self._master_key, user_id).encode())

    def _is_lettas(self, given: bytes) -> bool:
        return self._letta_key is not None and hmac.compare_digest(given, self._letta_key.encode())
