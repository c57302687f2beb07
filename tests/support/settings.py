"""Settings that depend neither on the environment nor on a file ``.env``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.settings import Settings


class Given(Settings):
    """Settings from arguments alone. To look for sources would take a third of a gateway's start."""

    def __init__(self, **values: Any) -> None:
        BaseModel.__init__(self, **values)


def settings_of(**values: Any) -> Settings:
    """Return the default settings with some values."""
    return Given(**values)
