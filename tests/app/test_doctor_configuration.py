"""The check of ENVIRONMENT, with services of other machines, which these tests do not call."""

from __future__ import annotations

import asyncio
from typing import Any

from app.doctor.configuration import CHECKS
from app.doctor.findings import Finding, Status
from app.doctor.installation import Installation, Options
from tests.support.settings import settings_of

REMOTE = {
    "ams_base_url": "https://project.supabase.co/functions/v1/ams",
    "supabase_service_key": "key",
    "letta_base_url": "https://letta.example",
    "letta_api_key": "key",
    "litellm_base_url": "https://litellm.example",
    "supabase_url": "https://project.supabase.co",
}


def found(**given: Any) -> list[Finding]:
    """Return what the check of ENVIRONMENT finds."""

    async def run() -> list[Finding]:
        installation = Installation(settings_of(**given), Options(), {})
        try:
            [check] = [one for one in CHECKS if one.name == "settings.environment"]
            findings = await check.run(installation)
        finally:
            await installation.aclose()
        return findings if isinstance(findings, list) else [findings]

    return asyncio.run(run())


def test_a_development_gateway_with_remote_services_is_a_warning() -> None:
    [finding] = found(**REMOTE)
    assert finding.status is Status.WARNING
    assert "ENVIRONMENT is development although all services have URLs of other machines" in finding.found


def test_staging_and_local_services_are_no_warning() -> None:
    for given in (
        {**REMOTE, "environment": "staging"},
        {**REMOTE, "letta_base_url": "http://127.0.0.1:8283"},
        {**REMOTE, "environment": "production", "metrics_token": "t" * 20},
        {},
    ):
        assert [one.status for one in found(**given)] == [Status.OK], given
