"""Development tokens, which sign users in without Supabase, and the generated keys of development.

The keys are files in the user's data folder, so that the commands and a running gateway use the same ones.
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
    """The user's data folder cannot be used."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {folder}: {error.strerror}. Set XDG_DATA_HOME.")


def data_dir() -> Path:
    """Return the user's data folder of the gateway (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentgraph"


def dev_secret() -> str:
    """Return the secret that signs development tokens. Raises DataFolderError."""
    return _kept_secret("dev-secret")


def master_key(settings: Settings) -> str | None:
    """Return the key that agent secrets are derived from: the setting, or a generated one in development.

    Raises:
        DataFolderError: the generated key cannot be stored.
    """
    if settings.agent_secret_master_key is not None:
        return settings.agent_secret_master_key.get_secret_value()
    return _kept_secret("dev-master-key") if settings.development_tokens else None


def _kept_secret(name: str) -> str:
    """Return a stored secret, generated at first use. Raises DataFolderError.

    If several processes start at once, all return the same one.
    """
    path = data_dir() / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, secrets.token_urlsafe(48))
        return path.read_text()
    except OSError as error:
        raise DataFolderError(path.parent, error) from error


def _publish(path: Path, text: str) -> None:
    """Create a complete file atomically, so that no process reads it empty; keep an existing one."""
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
