"""Checks of AMS: its key and its own health checks."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from app.doctor.check import Check
from app.doctor.findings import Finding, ok, problem, shown, warning
from app.doctor.identity import body_of
from app.doctor.installation import Installation
from app.doctor.servers import missing, refused
from app.setting_kinds import revealed
from clients.ams.health import HEALTH_PATH, reported_problem
from clients.errors import Service

_NOBODY = "00000000-0000-4000-8000-000000000000"
"""A user id that no user has."""

_PUBLIC_KEY = "sb_publishable_"


async def _accepted(installation: Installation) -> Finding:
    site, key = installation.service(Service.AMS), revealed(installation.settings.supabase_service_key)
    answer = await site.answer("/me", key=key, headers={"x-user-id": _NOBODY})
    if refused(answer):
        return problem(
            f"AMS refuses SUPABASE_SERVICE_KEY with status {answer.status}.",
            "Set SUPABASE_SERVICE_KEY to the key that AMS accepts: for a Supabase function, the project's service key.",
        )
    body = body_of(answer)
    if missing(answer) or answer.status >= 500 or not isinstance(body, dict) or "profile_exists" not in body:
        return problem(
            f"AMS answers /me with status {answer.status}, and not with a profile.",
            "Check AMS_BASE_URL, including the function's path, and AMS's log.",
        )
    return ok("AMS accepts SUPABASE_SERVICE_KEY.")


async def _kind(installation: Installation) -> Finding:
    installation.service(Service.AMS)
    key = revealed(installation.settings.supabase_service_key) or ""
    role = "anon" if key.startswith(_PUBLIC_KEY) else _claims(key).get("role")
    if role is not None and role != "service_role":
        return problem(
            f"SUPABASE_SERVICE_KEY is a key with the role {shown(role)}, which web pages may know.",
            "Set SUPABASE_SERVICE_KEY to the project's secret key or service_role key.",
        )
    return ok("SUPABASE_SERVICE_KEY is not a public key.")


def _claims(key: str) -> dict[str, Any]:
    """Return the claims of a key that is a JWT, without a check of its signature."""
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(f"{parts[1]}=="))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


async def _health(installation: Installation) -> Finding:
    site, key = installation.service(Service.AMS), revealed(installation.settings.supabase_service_key)
    reported = reported_problem((await site.answer(HEALTH_PATH, key=key)).body)
    if reported is not None:
        return warning(reported, "Check AMS's configuration and log: its database, proxy and key for Letta.")
    return ok("AMS reports no problem.")


CHECKS = (
    Check(
        name="ams.secret",
        looks_at="a `SUPABASE_SERVICE_KEY` that is the project's public (anon) key",
        run=_kind,
    ),
    Check(name="ams.key", looks_at="a wrong `SUPABASE_SERVICE_KEY`", run=_accepted, needs=("ams.server",)),
    Check(
        name="ams.health",
        looks_at="failed health checks of AMS: its database, its proxy, its key for Letta",
        run=_health,
        needs=("ams.key",),
    ),
)
"""The checks of AMS, after those of its address and server."""
