"""Warnings about the settings at the start: unknown names, and routes that a missing setting closes."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic_settings import DotEnvSettingsSource

from app.settings import ENV_FILE, Settings
from app.telemetry import Telemetry

_NEAR = 0.9
"""The least similarity (difflib's ratio) of a misspelt variable; the environment has variables of others as well."""

_LIKE = 0.75
"""The least similarity of a misspelt key in ``.env``."""

_SHORTEST = 8
"""The least length of a misspelt variable: shorter names are similar by chance."""


def announce_warnings(settings: Settings, telemetry: Telemetry) -> None:
    """Log possible mistakes in valid settings."""
    warnings = unread_names(os.environ, Path(ENV_FILE))
    if settings.is_production and settings.metrics_token is None:
        warnings.append("METRICS_TOKEN is not set: /metrics is closed, and /health shows no details.")
    for warning in warnings:
        telemetry.announce("settings", warning, level="warning")


def unread_names(environment: Mapping[str, str], path: Path) -> list[str]:
    """Return a sentence for each misspelt name in the environment and in the ``.env`` at ``path``, if it exists."""
    if path.is_dir():
        return [f"{path} is a folder, not a file: no setting is read from it."]
    known = [name.upper() for name in Settings.model_fields]
    keys, unreadable = _read(path)
    present = {name.upper() for name in (*environment, *keys)}
    return [*unreadable, *_unknown_keys(path, keys, known), *_near_misses(environment, known, present)]


class _Records(logging.Handler):
    """Collects log records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _read(path: Path) -> tuple[Mapping[str, str | None], list[str]]:
    """Return the file's keys and values (none without ``=``), and a sentence for each unreadable line."""
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


def _unknown_keys(path: Path, keys: Mapping[str, str | None], known: list[str]) -> Iterator[str]:
    for key, value in keys.items():
        if value is None:
            yield f"{path}: {key.upper()!r} has no value. Write NAME=value."
        elif key.upper() not in known:
            yield f"{path}: {key.upper()} is not a setting of the gateway.{_did_you_mean(key, known)}"


def _did_you_mean(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.upper(), known, 1, _LIKE)
    return f" Did you mean {near[0]}?" if near else ""


def _near_misses(environment: Mapping[str, str], known: list[str], present: set[str]) -> Iterator[str]:
    """Yield a sentence for each variable that is similar to a setting which is not set."""
    for name in environment:
        if len(name) < _SHORTEST or "_" not in name or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, 1, _NEAR)
        if near and near[0] not in present:
            yield f"{name} is set in the environment and is not a setting of the gateway. Did you mean {near[0]}?"
