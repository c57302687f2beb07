"""Development tokens: a signed-in user without Supabase, on one's own machine only.

The secret lies in the user's data folder, so that ``agentgraph token`` and a running gateway agree on it.
"""

from __future__ import annotations

import os
import secrets
import time
import uuid
from pathlib import Path

import jwt

ISSUER = "agentgraph-development"
LIFETIME_SECONDS = 24 * 3600


def data_dir() -> Path:
    """Where the gateway keeps a user's things (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "agentgraph"


def dev_secret() -> str:
    """The secret that development tokens are signed with, made at first use and readable by its owner alone."""
    path = data_dir() / "dev-secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(handle, "w") as file:
        secret = secrets.token_urlsafe(48)
        file.write(secret)
    return secret


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
