"""Checks of addresses on other machines, which these tests do not call."""

from __future__ import annotations

import asyncio

import pytest

from app.doctor.findings import Finding, Status
from app.doctor.installation import Installation, Options, is_loopback
from app.doctor.network import checks_of
from clients.errors import Service
from tests.support.settings import settings_of


def tls_of(service: Service, **given: str) -> Finding:
    """Return what the check of a service's TLS finds."""

    async def found() -> Finding:
        installation = Installation(settings_of(**given), Options(), {})
        try:
            finding = await checks_of(service)[1].run(installation)
        finally:
            await installation.aclose()
        assert isinstance(finding, Finding)
        return finding

    return asyncio.run(found())


@pytest.mark.parametrize(
    ("service", "given"),
    [
        (Service.LETTA, {"letta_base_url": "http://letta:8283", "letta_api_key": "k"}),
        (Service.LITELLM, {"litellm_base_url": "http://192.0.2.1:4000", "litellm_api_key": "sk-k"}),
        (Service.REDIS, {"redis_url": "redis://redis:6379/0"}),
    ],
)
def test_a_connection_to_another_machine_without_tls_is_a_warning(service: Service, given: dict[str, str]) -> None:
    finding = tls_of(service, **given)
    assert finding.status is Status.WARNING
    assert "are sent in clear" in finding.found
    assert (finding.cure or "").startswith(f"Use {'rediss' if service is Service.REDIS else 'https'}://")


def test_a_connection_within_the_machine_needs_no_tls() -> None:
    assert tls_of(Service.LETTA, letta_base_url="http://localhost:8283", letta_api_key="k").status is Status.OK
    assert tls_of(Service.REDIS, redis_url="redis://127.0.0.1:6379/0").status is Status.OK


def test_loopback_hosts_are_recognised() -> None:
    assert [one for one in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1") if not is_loopback(one)] == []
    assert [one for one in ("10.0.0.1", "localhost.example.com", "0.0.0.0", "::", "letta") if is_loopback(one)] == []
