"""Development tokens: a signed-in user without Supabase, on one's own machine only; and the secrets of their agents.

What they are made with lies in the user's data folder, so that the commands and a running gateway agree on it.
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
    """The user's data folder cannot be used; the text says which, why, and what to do."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {folder}: {error.strerror}. Set XDG_DATA_HOME.")


def data_dir() -> Path:
    """Where the gateway keeps a user's things (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentgraph"


def dev_secret() -> str:
    """The secret that development tokens are signed with. Raises DataFolderError."""
    return _kept_secret("dev-secret")


def master_key(settings: Settings) -> str | None:
    """The key that agents' secrets are derived from: the one set or, where development tokens sign in, one's own.

    Raises:
        DataFolderError: where that one cannot be kept.
    """
    if settings.agent_secret_master_key is not None:
        return settings.agent_secret_master_key.get_secret_value()
    return _kept_secret("dev-master-key") if settings.development_tokens else None


def _kept_secret(name: str) -> str:
    """A secret made at first use and readable by its owner alone.

    Of several processes that start at once, one makes it and all read it. Raises DataFolderError.
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
    """Give the file its name only once it is whole, so that no reader sees it empty; the first one stays."""
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
    """A token as Supabase would sign it with HS256."""
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
