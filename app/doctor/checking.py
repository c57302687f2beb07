"""Loads the settings, makes all checks, and returns the report."""

from __future__ import annotations

from collections.abc import Mapping

from app.doctor import configuration
from app.doctor.findings import Finding
from app.doctor.installation import Installation, Options
from app.doctor.registry import CHECKS
from app.doctor.report import Report
from app.doctor.running import Result, blocked, run_checks
from app.doctor.secrecy import hiding
from app.settings import Settings, SettingsError


async def check_installation(options: Options, environment: Mapping[str, str]) -> Report:
    """Make all checks. If the settings are invalid, check only the settings."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return _without_settings(error)
    installation = Installation(settings, options, environment)
    secrets = installation.secrets()
    try:
        with hiding(secrets):
            results = await run_checks(CHECKS, installation)
    finally:
        await installation.aclose()
    return Report(results, secrets)


def _without_settings(error: SettingsError) -> Report:
    known: dict[str, list[Finding]] = {configuration.VALID: configuration.invalid(error.problems)}
    named = configuration.names()
    known[configuration.NAMES] = named if isinstance(named, list) else [named]
    results = [
        Result(check, tuple(known[check.name])) if check.name in known else blocked(check, configuration.VALID)
        for check in CHECKS
    ]
    return Report(results, has_settings=False)
