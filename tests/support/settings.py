"""Settings that do not depend on a file ``.env``."""

from __future__ import annotations

from typing import Any

from app.settings import Settings


def settings_of(**values: Any) -> Settings:
    """Return the default settings with some values."""
    return Settings(**{"_env_file": None, **values})
