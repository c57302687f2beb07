"""Warnings about the settings at the start: unknown names, and routes that stay closed without a setting."""

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
"""How alike a variable of the environment must be to a setting, by difflib's ratio; others' are there too."""

_LIKE = 0.75
"""How alike a key of ``.env`` must be for its neighbour to be named."""

_SHORTEST = 8
"""Names shorter than this are alike by chance."""


def announce_warnings(settings: Settings, telemetry: Telemetry) -> None:
    """Say what may be wrong with the settings of this process, although they can be used."""
    warnings = unread_names(os.environ, Path(ENV_FILE))
    if settings.is_production and settings.metrics_token is None:
        warnings.append("METRICS_TOKEN is not set: /metrics is closed, and /health shows no details.")
    for warning in warnings:
        telemetry.announce("settings", warning, level="warning")


def unread_names(environment: Mapping[str, str], path: Path) -> list[str]:
    """A sentence for each name that looks like a setting and is none.

    Args:
        environment: the process's environment.
        path: the ``.env`` that the settings were read from, if there is one.
    """
    if path.is_dir():
        return [f"{path} is a folder, not a file: no setting is read from it."]
    known = [name.upper() for name in Settings.model_fields]
    kept, unreadable = _read(path)
    given = {name.upper() for name in (*environment, *kept)}
    return [*unreadable, *_unknown_keys(path, kept, known), *_near_misses(environment, known, given)]


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _read(path: Path) -> tuple[Mapping[str, str | None], list[str]]:
    """The file's keys and values (a key without ``=`` has none), and a sentence for each line that cannot be read."""
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


def _unknown_keys(path: Path, kept: Mapping[str, str | None], known: list[str]) -> Iterator[str]:
    for key, value in kept.items():
        if value is None:
            yield f"{path}: {key.upper()!r} has no value. Write NAME=value."
        elif key.upper() not in known:
            yield f"{path}: {key.upper()} is not a setting of the gateway.{_did_you_mean(key, known)}"


def _did_you_mean(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.upper(), known, 1, _LIKE)
    return f" Did you mean {near[0]}?" if near else ""


def _near_misses(environment: Mapping[str, str], known: list[str], given: set[str]) -> Iterator[str]:
    """Variables that differ in a letter or two from a setting which is not given."""
    for name in environment:
        if len(name) < _SHORTEST or "_" not in name or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, 1, _NEAR)
        if near and near[0] not in given:
            yield f"{name} is set in the environment and is not a setting of the gateway. Did you mean {near[0]}?"
