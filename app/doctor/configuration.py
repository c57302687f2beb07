"""Checks of the settings, and of the files that they name."""

from __future__ import annotations

import os
from pathlib import Path

from app import devtokens
from app.doctor import ports
from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, ok, problem, skipped, warning
from app.doctor.installation import SERVICES, Installation, variable_of
from app.settings import ENV_FILE, Environment
from app.settings_warnings import hidden_endpoints, unread_names

VALID = "settings.valid"
NAMES = "settings.names"


def invalid(problems: list[str]) -> list[Finding]:
    """Return the findings for settings that cannot be loaded."""
    cure = "Correct the value in the environment or in .env. `agentgraph settings` describes each setting."
    return [problem(line, cure) for line in problems]


async def _valid(installation: Installation) -> Finding:
    return ok(f"All settings are valid. ENVIRONMENT is {installation.settings.environment.value}.")


async def _names(_: Installation) -> Finding | list[Finding]:
    return names()


def names() -> Finding | list[Finding]:
    """Return the findings about names of settings, which need no valid settings."""
    try:
        lines = unread_names(os.environ, Path(ENV_FILE))
    except (OSError, UnicodeDecodeError):
        return skipped(f"{ENV_FILE} cannot be read.")
    cure = "Correct or remove the line. `agentgraph settings` lists all settings."
    return [warning(line, cure) for line in lines] or ok(f"No name in the environment or in {ENV_FILE} is misspelt.")


async def _environment(installation: Installation) -> Finding | list[Finding]:
    settings = installation.settings
    found = [
        warning(text, "Set METRICS_TOKEN, or OPERATIONS_PORT, whose port only your network reaches.")
        for text in hidden_endpoints(settings)
    ]
    urls = [getattr(settings, variable_of(service).lower()) for service in SERVICES]
    is_remote = all(urls) and not any(installation.service(service).is_local for service in SERVICES)
    if settings.environment is Environment.DEVELOPMENT and is_remote:
        text = (
            "ENVIRONMENT is development although all services have URLs of other machines: introspection, GraphiQL and "
            "/metrics need no token."
        )
        found.append(warning(text, "Set ENVIRONMENT=production, or ENVIRONMENT=staging if this is intended."))
    return found or ok(f"The settings suit ENVIRONMENT={settings.environment.value}.")


async def _data(installation: Installation) -> Finding:
    settings = installation.settings
    if not settings.embedded_services and not settings.development_tokens:
        raise NotChecked("Nothing is embedded, so the gateway keeps no data on this machine.")
    folder = devtokens.data_dir()
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return problem(
            f"The gateway cannot write to its data folder {folder}, because {existing} is not a writable folder.",
            "Make the folder writable for the user who runs the gateway, or set XDG_DATA_HOME to another folder.",
        )
    return ok(f"The data folder is {folder}.")


async def _audit_log(installation: Installation) -> Finding:
    setting = installation.settings.audit_log
    if setting == "off":
        return ok("The gateway writes no audit log, because AUDIT_LOG is off.")
    path = Path(setting)
    if not path.is_absolute():
        return ok("The gateway writes the audit log to the standard output.")
    if not _is_writable(path):
        return problem(
            f"The gateway cannot write to AUDIT_LOG={path}.",
            f"Create the folder {path.parent}, and make it writable for the user who runs the gateway.",
        )
    return ok(f"The gateway writes the audit log to {path}.")


def _is_writable(path: Path) -> bool:
    where = path if path.exists() else path.parent
    return not path.is_dir() and where.exists() and os.access(where, os.W_OK)


CHECKS = (
    Check(name=VALID, looks_at="invalid settings, and settings that contradict each other", run=_valid),
    Check(
        name=NAMES,
        looks_at="misspelt names in the environment and in `.env`, and lines of `.env` that cannot be read",
        run=_names,
    ),
    Check(
        name="settings.environment",
        looks_at="a development gateway with services of other machines; disabled metrics in production",
        run=_environment,
    ),
    Check(name="settings.data", looks_at="a data folder of the embedded platform that is not writable", run=_data),
    Check(name="settings.audit_log", looks_at="an `AUDIT_LOG` that cannot be written", run=_audit_log),
    *ports.CHECKS,
)
"""The checks of the settings, in the order of the output."""
