"""Formats the settings as ``env.example`` and as the table of ``docs/configuration.md``."""

from __future__ import annotations

import textwrap
import types
from enum import Enum
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

_INTRODUCTION = """# Configuration

Set each setting as an environment variable, or as a line of `.env` in the gateway's working directory. The environment
takes precedence. An empty value counts as unset. If a setting is invalid or missing, the gateway does not start and
prints one line per problem, with the variable's name and without secrets. [`env.example`](../env.example) lists all
settings.

| variable | default | description |
|---|---|---|
"""


def env_example() -> str:
    """Return the text of ``env.example``, with a comment and an assignment for each setting."""
    return "".join(
        f"{_comment(_meaning(field))}\n{name.upper()}={_default(field)}\n"
        for name, field in Settings.model_fields.items()
    )


def table() -> str:
    """Return the text of ``docs/configuration.md``, a page with a table of all settings."""
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
