"""The settings, told: as an ``env.example`` and as a table, both made from the settings themselves."""

from __future__ import annotations

import textwrap
import types
from enum import Enum
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

_INTRODUCTION = """# Configuration

Every setting is an environment variable, or a line of `.env` in the folder that the gateway is started in; the
environment wins. An empty value is an unset one. A wrong or missing setting stops the start with one line per problem,
which names the variable and never prints a secret. [`env.example`](../env.example) has them all, ready to be copied.

| variable | default | meaning |
|---|---|---|
"""


def env_example() -> str:
    """``env.example``: a comment and an assignment per setting, fit for ``docker run --env-file``."""
    return "".join(
        f"{_comment(_meaning(field))}\n{name.upper()}={_default(field)}\n"
        for name, field in Settings.model_fields.items()
    )


def table() -> str:
    """``docs/configuration.md``: a row per setting."""
    rows = [
        f"| `{name.upper()}` | {f'`{default}`' if (default := _default(field)) else ''} | {_meaning(field)} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return _INTRODUCTION + "".join(rows)


def _comment(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="# ", subsequent_indent="# ")


def _meaning(field: FieldInfo) -> str:
    marks = ["Secret."] if SecretStr in _kinds(field.annotation) else []
    return " ".join([" ".join((field.description or "").split()), *marks])


def _kinds(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return ""
    return str(value.value if isinstance(value, Enum) else value)
