"""Reads problems from AMS's health report. AMS can report a problem even with HTTP status 200."""

from typing import Any

import msgspec

from clients.decode import UNREADABLE

HEALTH_PATH = "/health"
"""The path of AMS's health report, which needs no key (AMS contract)."""

_PARTS = {"database": "database", "proxy_service": "proxy", "letta_api_key": "key for Letta"}
"""The health checks that AMS reports, with the names that operators see."""


class _Health(msgspec.Struct):
    status: Any
    checks: dict[str, Any] = {}


_HEALTH = msgspec.json.Decoder(_Health)


def reported_problem(body: bytes) -> str | None:
    """Describe the problems that AMS reports. Returns ``None`` if AMS reports no problem."""
    try:
        health = _HEALTH.decode(body)
    except UNREADABLE:
        return "The gateway cannot decode AMS's health report."
    wrong = ", ".join(part for name, part in _PARTS.items() if health.checks.get(name, "ok") != "ok")
    if wrong:
        return f"AMS reports failed health checks: {wrong}."
    return None if health.status == "ok" else "AMS's health report has a status other than `ok`."
