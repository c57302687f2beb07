"""The secrets that the proxy accepts: a user's agent secret, and Letta's own key.

For embeddings, and for chat through its base provider, Letta 0.16.8 cannot send the agent secret. Letta then sends a
server-wide key (Supabase contract). Other endpoints accept neither secret.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Sequence

from app.signin.token import bearer
from clients.codes import Reason
from clients.errors import Unauthenticated
from resolvers.principal import Principal, Role


def agent_secret(master_key: str, user_id: str) -> str:
    """Derive a user's agent secret from the master key. Nobody can compute another user's secret from the result."""
    digest = hmac.new(master_key.encode(), f"agent-secret:v1:{user_id}".encode(), hashlib.sha256).hexdigest()
    return f"ag-{user_id}-{digest}"


def is_user_id(text: str) -> bool:
    """Return whether a text is a user id (a UUID in canonical form)."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def refused() -> Unauthenticated:
    """Return the error for an invalid secret. The error does not show whether the user exists."""
    message = "The agent secret is not valid. Update the agent secret of the user's provider in Letta."
    return Unauthenticated(message, reason=Reason.TOKEN_INVALID)


class ProxySecrets:
    """Verifies the secrets in requests to the proxy.

    Args:
        master_keys: the keys from which valid agent secrets are derived. During a rotation, there are two keys.
        letta_key: Letta's own key. If it is ``None``, Letta's key is not valid.
    """

    def __init__(self, *, master_keys: Sequence[str], letta_key: str | None) -> None:
        self._master_keys = tuple(master_keys)
        self._letta_key = letta_key

    def principal(self, authorization: str | None, user_id: str) -> Principal:
        """Verify the secret of a request to the proxy, and return the user.

        The user need not exist in AMS. Raise Unauthenticated if the secret is missing or wrong.
        """
        secret = bearer(authorization).encode()
        if not is_user_id(user_id) or not (self._is_agents(secret, user_id) | self._is_lettas(secret)):
            raise refused()
        return Principal(user_id=user_id, role=Role.USER, expires_at=float("inf"))

    def _is_agents(self, secret: bytes, user_id: str) -> bool:
        is_valid = False
        for key in self._master_keys:  # compares with every key, so that the time does not show which one is right
            is_valid |= hmac.compare_digest(secret, agent_secret(key, user_id).encode())
        return is_valid

    def _is_lettas(self, secret: bytes) -> bool:
        return self._letta_key is not None and hmac.compare_digest(secret, self._letta_key.encode())
