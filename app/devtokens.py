"""Development tokens, which sign users in without Supabase, and generated development keys.

The keys are files in the user's data folder, so that the commands and a running gateway share them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
import uuid
from pathlib import Path

import jwt

from app.settings import Settings
from app.usage import UsageError

ISSUER = "agentgraph-development"
LIFETIME_SECONDS = 24 * 3600


class DataFolderError(UsageError):
    """The gateway cannot use its data folder."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {folder}: {error.strerror}. Set XDG_DATA_HOME to another folder.")


def data_dir() -> Path:
    """Return the folder of the gateway's data (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentgraph"


def dev_secret() -> str:
    """Return the secret that signs development tokens. Raise DataFolderError if the secret cannot be stored."""
    return _stored_secret("dev-secret")


def master_key(settings: Settings) -> str | None:
    """Return the key from which agent secrets are derived: the setting, or a generated key in development.

    Raise DataFolderError if the generated key cannot be stored.
    """
    if settings.agent_secret_master_key is not None:
        return settings.agent_secret_master_key.get_secret_value()
    return _stored_secret("dev-master-key") if settings.development_tokens else None


def _stored_secret(name: str) -> str:
    """Return a stored secret, generated at first use. Concurrent first uses in several processes return one secret."""
    path = data_dir() / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, secrets.token_urlsafe(48))
        return path.read_text()
    except OSError as error:
        raise DataFolderError(path.parent, error) from error


def _publish(path: Path, text: str) -> None:
    """Create a complete file atomically, so that no process reads it empty. Keep an existing file."""
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()


def make_token(
    secret: str,
    *,
    user_id: str,
    email: str | None,
    issuer: str = ISSUER,
    lifetime_seconds: float = LIFETIME_SECONDS,
    admin: bool = False,
) -> str:
    """Return a token with Supabase's claims, signed with HS256."""
    now = time.time()
    claims = {
        "sub": user_id,
        "email": email,
        "role": "authenticated",
        "aud": "authenticated",
        "iss": issuer,
        "iat": int(now),
        "exp": now + lifetime_seconds,
        "session_id": str(uuid.uuid4()),
        "app_metadata": {"role": "admin"} if admin else {},
    }
    return jwt.encode(claims, secret, algorithm="HS256")
