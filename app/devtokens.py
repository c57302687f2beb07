"""Creates development tokens, which sign users in without Supabase, and stores development keys.

The keys are files in the user's data folder, so that the commands and a running gateway share them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings
from app.usage import UsageError

if TYPE_CHECKING:
    from app.embedded.supabase.signing import SigningKey

ISSUER = "agentgraph-development"
LIFETIME_SECONDS = 24 * 3600


class DataFolderError(UsageError):
    """The gateway cannot use its data folder."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(f"cannot use the data folder {folder}: {error.strerror}. Set XDG_DATA_HOME to another folder.")


def data_dir() -> Path:
    """Return the folder of the gateway's data (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentgraph"


def store_path() -> Path:
    """Return the path of the embedded platform's data file."""
    return data_dir() / "embedded.sqlite3"


def signing_key() -> SigningKey:
    """Return the key that signs development tokens. Raise DataFolderError if the key cannot be stored."""
    from app.embedded.supabase.signing import SigningKey  # noqa: PLC0415 - cryptography is slow to import

    return SigningKey.from_pem(_stored("dev-signing-key.pem", lambda: SigningKey.generate().pem))


def password() -> str:
    """Return the password of the development users. Raise DataFolderError if the password cannot be stored."""
    return _stored("dev-password", lambda: secrets.token_urlsafe(9))


def master_key(settings: Settings) -> str | None:
    """Return the key from which agent secrets are derived. ``None`` disables agent secrets.

    A setting contains the key. If the setting is empty and development tokens are accepted, a key is generated. Raise
    DataFolderError if the generated key cannot be stored.
    """
    if settings.agent_secret_master_key is not None:
        return settings.agent_secret_master_key.get_secret_value()
    return _stored("dev-master-key", lambda: secrets.token_urlsafe(48)) if settings.development_tokens else None


def _stored(name: str, generate: Callable[[], str]) -> str:
    """Return a stored secret. If the secret does not exist yet, generate and store it.

    If several processes generate the secret at the same time, all of them return the same secret.
    """
    path = data_dir() / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, generate())
        return path.read_text()
    except OSError as error:
        raise DataFolderError(path.parent, error) from error


def _publish(path: Path, text: str) -> None:
    """Create a file with its text atomically, so that no process reads an empty file. Keep an existing file."""
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()


def make_token(
    key: SigningKey,
    *,
    user_id: str,
    email: str | None,
    issuer: str = ISSUER,
    lifetime_seconds: float = LIFETIME_SECONDS,
    admin: bool = False,
) -> str:
    """Return a token with the same claims as Supabase's tokens."""
    from app.embedded.supabase.signing import claims_of  # noqa: PLC0415

    claims = claims_of(issuer=issuer, user_id=user_id, email=email, lifetime_seconds=lifetime_seconds, admin=admin)
    return key.sign(claims)
