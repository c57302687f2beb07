"""Logs warnings about unknown settings, and about routes that a missing setting disables."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv.parser import Binding, parse_stream

from app.settings import ENV_FILE, Settings

if TYPE_CHECKING:
    from app.telemetry import Telemetry

_NEAR = 0.9
"""An environment variable is reported as misspelt if it is at least this similar to a setting (difflib's ratio)."""

_LIKE = 0.75
"""A setting is suggested for an unknown key in ``.env`` if the two are at least this similar (difflib's ratio)."""

_SHORTEST = 8
"""Minimum length of an environment variable that is reported as misspelt. Shorter names are similar by chance."""

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_LINE_END = re.compile(r"\r\n|\n|\r")


def announce_warnings(settings: Settings, telemetry: Telemetry) -> None:
    """Log warnings about possible mistakes in valid settings."""
    for warning in (*unread_names(os.environ, Path(ENV_FILE)), *hidden_endpoints(settings)):
        telemetry.announce("settings", warning, level="warning")


def hidden_endpoints(settings: Settings) -> Iterator[str]:
    """Yield a warning about routes that a missing setting disables."""
    if settings.is_production and settings.metrics_token is None and settings.operations_port is None:
        yield "Neither METRICS_TOKEN nor OPERATIONS_PORT is set, so /metrics and the details of /health are disabled."


def unread_names(environment: Mapping[str, str], path: Path) -> list[str]:
    """Return a warning for each unknown or misspelt setting.

    Settings are in ``environment`` and in the file at ``path``. Raises OSError, or UnicodeDecodeError, if the file
    cannot be read.
    """
    if path.is_dir():
        return [f"{path} is a folder, so the gateway reads no settings from it. Replace the folder with a file."]
    names = [name.upper() for name in Settings.model_fields]
    bindings = _read(path)
    present = {name.upper() for name in (*environment, *(one.key for one in bindings if one.key and one.value))}
    return [*dict.fromkeys(_wrong_lines(path, bindings, names)), *_misspelt(environment, names, present)]


def _read(path: Path) -> list[Binding]:
    if not path.is_file():
        return []
    with path.open(encoding=Settings.model_config.get("env_file_encoding")) as file:
        return list(parse_stream(file))


def _wrong_lines(path: Path, bindings: list[Binding], names: list[str]) -> Iterator[str]:
    """Yield a sentence for each line that sets nothing. A name that can be a part of a secret is not repeated.

    For example, a key that is wrapped over two lines is a line without ``=``, or with the ``=`` of base64 at its end.
    """
    for one in bindings:
        name, line = (one.key or "").upper(), f"line {_line(one)}"
        is_setting = name in names
        if one.error:
            yield f"{path}: {line} cannot be read. Write NAME=value."
        elif one.key is not None and one.value is None:
            yield f"{path}: {repr(name) if is_setting else line} has no value. Write NAME=value."
        elif one.value and not is_setting:
            is_name = _NAME.fullmatch(name) and one.value.strip("=")
            yield f"{path}: {name if is_name else line} is not a setting of the gateway.{_did_you_mean(name, names)}"


def _line(binding: Binding) -> int:
    """Return a line's number. The parser counts from the empty lines before it."""
    text = binding.original.string
    before = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(_LINE_END.findall(before))


def _did_you_mean(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, _LIKE)
    return f" Did you mean {near[0]}?" if near else ""


def _misspelt(environment: Mapping[str, str], names: list[str], present: set[str]) -> Iterator[str]:
    for name in environment:
        if len(name) < _SHORTEST or "_" not in name or name.upper() in names:
            continue
        near = difflib.get_close_matches(name.upper(), names, 1, _NEAR)
        if near and near[0] not in present:
            yield f"{name} is set in the environment and is not a setting of the gateway. Did you mean {near[0]}?"
