"""Logs warnings about unknown settings, and about routes that a missing setting disables."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_settings import DotEnvSettingsSource

from app.settings import ENV_FILE, Settings

if TYPE_CHECKING:
    from app.telemetry import Telemetry

_NEAR = 0.9
"""An environment variable is reported as misspelt if it is at least this similar to a setting (difflib's ratio)."""

_LIKE = 0.75
"""A setting is suggested for an unknown key in ``.env`` if the two are at least this similar (difflib's ratio)."""

_SHORTEST = 8
"""Minimum length of an environment variable that is reported as misspelt. Shorter names are similar by chance."""


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

    Settings are in ``environment`` and in the file at ``path``.
    """
    if path.is_dir():
        return [f"{path} is a folder, so the gateway reads no settings from it. Replace the folder with a file."]
    names = [name.upper() for name in Settings.model_fields]
    keys, unreadable = _read(path)
    present = {name.upper() for name in (*environment, *keys)}
    return [*unreadable, *_unknown_keys(path, keys, names), *_misspelt(environment, names, present)]


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _read(path: Path) -> tuple[Mapping[str, str | None], list[str]]:
    """Return the file's keys and values, and a sentence for each unreadable line.

    A key without ``=`` has the value ``None``.
    """
    logger, records = logging.getLogger("dotenv.main"), _Records()
    logger.addHandler(records)
    propagates, logger.propagate = logger.propagate, False
    try:
        values = DotEnvSettingsSource(Settings, env_file=path).env_vars
    finally:
        logger.removeHandler(records)
        logger.propagate = propagates
    lines = [record.args[0] for record in records.records if isinstance(record.args, tuple) and record.args]
    return values, [f"{path}: line {line} cannot be read. Write NAME=value." for line in lines]


def _unknown_keys(path: Path, keys: Mapping[str, str | None], names: list[str]) -> Iterator[str]:
    for key, value in keys.items():
        if value is None:
            yield f"{path}: {key.upper()!r} has no value. Write NAME=value."
        elif key.upper() not in names:
            yield f"{path}: {key.upper()} is not a setting of the gateway.{_did_you_mean(key, names)}"


def _did_you_mean(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key.upper(), names, 1, _LIKE)
    return f" Did you mean {near[0]}?" if near else ""


def _misspelt(environment: Mapping[str, str], names: list[str], present: set[str]) -> Iterator[str]:
    for name in environment:
        if len(name) < _SHORTEST or "_" not in name or name.upper() in names:
            continue
        near = difflib.get_close_matches(name.upper(), names, 1, _NEAR)
        if near and near[0] not in present:
            yield f"{name} is set in the environment and is not a setting of the gateway. Did you mean {near[0]}?"
