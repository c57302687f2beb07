"""``agentgraph doctor``: each planted misconfiguration is found, with its cure, and a healthy platform has none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme

from app.cli import main
from app.doctor.findings import Finding
from app.doctor.installation import Installation
from app.doctor.registry import CHECKS
from app.embedded.people import ADA
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.logs import make_logger
from app.main import create_app
from app.telemetry import Telemetry
from clients.letta.app_server import CURE
from clients.supabase import JWKS_PATH
from tests.support.app_server import app_server
from tests.support.doctored import (
    AGENTS,
    DISCOVERY,
    HEALTH,
    MASTER_KEY,
    MODELS,
    NO_CONVERSATION,
    Diagnosis,
    Services,
    Setter,
    Told,
    deployments,
    details,
    diagnose,
    router,
    services,
    setter,
    told,
)
from tests.support.forks import ROOT
from tests.support.oddserver import Scripted, odd_server
from tests.support.process import running
from tests.support.redis_server import redis_server
from tests.support.seeded import SeededStore
from tests.support.serving import free_port, served
from tests.support.settings import settings_of
from tests.support.supabase import key_pair
from tests.support.tcp import listening
from tests.support.tls import over_tls

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Services]:
    async with services() as running:
        yield running


@pytest.fixture
def platform(shared: Services) -> Services:
    """Healthy services."""
    shared.reset()
    return shared


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Setter:
    """Set environment variables, in a folder without ``.env``."""
    return setter(monkeypatch, tmp_path)


def jwt_of(role: str) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"role": role, "iss": "supabase"}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "s1gnature"])


WARNING, PROBLEM = "warning", "problem"
ANON = jwt_of("anon")
OCT = {"kty": "oct", "kid": "1", "alg": "HS256", "k": "c2VjcmV0"}
PAGE = told(b"<html>Sign in</html>", 200, **{"content-type": "text/html"})
FREE = {"model_group": "gpt-4o-mini", "input_cost_per_token": None, "output_cost_per_token": None, "mode": "chat"}
FAILED = {"status": "degraded", "checks": {"database": "ok", "letta_api_key": "error"}}
BLOCKED = {"message": "Key is blocked.", "type": "auth_error", "param": None, "code": "401"}


@dataclass
class Planted:
    """A misconfiguration.

    Attributes:
        check, status: the only check that finds it, and the finding's status.
        found, cure: parts of the finding's texts.
        ams, letta, litellm, supabase: the answers of the services, by path.
        key: facts of LITELLM_API_KEY.
        given: environment variables.
        also: further checks that find something.
    """

    check: str
    status: str
    found: str
    cure: str
    ams: dict[str, Told] = field(default_factory=dict)
    letta: dict[str, Told] = field(default_factory=dict)
    litellm: dict[str, Told] = field(default_factory=dict)
    supabase: dict[str, Told] = field(default_factory=dict)
    key: dict[str, Any] = field(default_factory=dict)
    given: dict[str, str | None] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    also: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.check}: {self.found[:40]}"

    def confirm(self, diagnosis: Diagnosis) -> None:
        """Check that the doctor has found the misconfiguration, and nothing else."""
        assert diagnosis.bad() == {self.check: self.status, **self.also}
        [finding] = diagnosis.at(self.check)
        assert self.found in finding["found"]
        assert self.cure in finding["cure"]
        assert diagnosis.status == (1 if PROBLEM in diagnosis.bad().values() else 0)


LIVE, READY = "/health/liveliness", "/health/readiness"
EMBEDDED_ROUTES = "Add llm_api_routes, /key/info, /user/daily/activity to the key's `allowed_routes`"

PLANTED = [
    # settings
    Planted("settings.names", WARNING, "RATE_LIMIT_LMM", "Correct or remove", given={"RATE_LIMIT_LMM": "3"}),
    Planted(
        "settings.environment", WARNING, "/metrics and the details", "Set METRICS_TOKEN", given={"METRICS_TOKEN": None}
    ),
    Planted(
        "settings.audit_log",
        PROBLEM,
        "AUDIT_LOG=/nowhere/audit.log",
        "folder /nowhere",
        given={"AUDIT_LOG": "/nowhere/audit.log"},
    ),
    # AMS
    Planted("ams.key", PROBLEM, "status 401", "Set SUPABASE_SERVICE_KEY", given={"SUPABASE_SERVICE_KEY": "wr0ng-key"}),
    Planted(
        "ams.secret",
        PROBLEM,
        "the role anon",
        "secret key or service_role key",
        given={"SUPABASE_SERVICE_KEY": ANON},
        also={"ams.key": PROBLEM},
    ),
    Planted(
        "ams.secret",
        PROBLEM,
        "the role anon",
        "secret key",
        given={"SUPABASE_SERVICE_KEY": "sb_publishable_x"},
        also={"ams.key": PROBLEM},
    ),
    Planted(
        "ams.health",
        WARNING,
        "failed health checks: key for Letta",
        "AMS's configuration",
        ams={"/health": told(FAILED)},
    ),
    Planted("ams.key", PROBLEM, "not with a profile", "the function's path", ams={"/me": told({"x": 1}, 404)}),
    Planted("ams.server", PROBLEM, "status 503", "AMS's log", ams={"/health": told({"error": "boot"}, 503)}),
    # Letta
    Planted(
        "letta.version",
        WARNING,
        "version is 0.11.7",
        "letta/letta:0.16.8",
        letta={HEALTH: told({"version": "0.11.7", "status": "ok"})},
    ),
    Planted(
        "letta.key",
        PROBLEM,
        "refuses LETTA_API_KEY with status 401",
        "LETTA_SERVER_PASSWORD",
        given={"LETTA_API_KEY": "wr0ng-key"},
    ),
    Planted(
        "letta.key", PROBLEM, "/v1/agents/ with status 500", "database", letta={AGENTS: told({"detail": "x"}, 500)}
    ),
    Planted("letta.password", WARNING, "without a password", "LETTA_SERVER_SECURE=true", letta={AGENTS: told([])}),
    Planted(
        "letta.redis",
        WARNING,
        "no Redis",
        "LETTA_REDIS_HOST",
        letta={
            NO_CONVERSATION: told(
                {"detail": "INTERNAL_SERVER_ERROR: Background streaming requires Redis to be running."}, 503
            )
        },
    ),
    Planted(
        "letta.models",
        PROBLEM,
        "no model of your LiteLLM",
        "OPENAI_BASE_URL",
        letta={MODELS: told([{"handle": "letta/letta-free"}])},
    ),
    Planted(
        "letta.models",
        WARNING,
        "api.openai.com",
        "OPENAI_BASE_URL=<LITELLM_BASE_URL>/v1",
        letta={MODELS: told([{"handle": "openai/gpt-4o", "model_endpoint": "https://api.openai.com/v1"}])},
    ),
    Planted(
        "letta.server",
        PROBLEM,
        "answers /v1/health/ with status 502",
        "Check Letta's log",
        letta={HEALTH: told({}, 502)},
    ),
    # LiteLLM
    Planted(
        "litellm.version",
        WARNING,
        "1.106.2. Releases before 1.106.12",
        "Install 1.106.12",
        litellm={"/health/readiness/details": details("1.106.2")},
    ),
    Planted(
        "litellm.version", WARNING, "1.109.3", "1.110.2", litellm={"/health/readiness/details": details("1.109.3")}
    ),
    Planted(
        "litellm.version",
        WARNING,
        "1.120.0. The gateway is tested",
        "make test-real",
        litellm={"/health/readiness/details": details("1.120.0")},
    ),
    Planted(
        "litellm.version",
        WARNING,
        "1.61.7",
        "Install",
        litellm={READY: told({"db": "connected", "litellm_version": "1.61.7"})},
    ),
    Planted(
        "litellm.database",
        WARNING,
        "no database",
        "DATABASE_URL",
        litellm={READY: told({"status": "healthy", "db": "Not connected"})},
    ),
    Planted(
        "litellm.database",
        PROBLEM,
        "cannot reach its database (status 503",
        "DATABASE_URL",
        litellm={READY: told({"db": "disconnected"}, 503)},
    ),
    Planted("litellm.password", PROBLEM, "without a key", "master_key", litellm={"/v1/models": told({"data": []})}),
    Planted(
        "litellm.key",
        PROBLEM,
        "refuses LITELLM_API_KEY with status 401",
        "a virtual key",
        given={"LITELLM_API_KEY": "sk-wr0ng"},
    ),
    Planted(
        "litellm.key",
        WARNING,
        "master key",
        "Generate a virtual key",
        litellm={"/health/readiness/details": told({"litellm_version": "1.110.2"})},
    ),
    Planted(
        "litellm.key",
        PROBLEM,
        "budget of LITELLM_API_KEY is spent",
        "max_budget",
        litellm={"/v1/models": lambda key: (422, {"error": {"type": "budget_exceeded"}}, {}) if key else (401, {}, {})},
    ),
    Planted(
        "litellm.routes",
        PROBLEM,
        "lack /key/info, /user/daily/activity",
        EMBEDDED_ROUTES,
        key={"allowed_routes": ["llm_api_routes"]},
    ),
    Planted(
        "litellm.routes",
        PROBLEM,
        "refuses /key/info",
        EMBEDDED_ROUTES,
        litellm={"/key/info": told({"error": BLOCKED}, 403)},
    ),
    Planted("litellm.user", WARNING, "no LiteLLM user", "`user_id`", key={"user_id": None}),
    Planted("litellm.budget", PROBLEM, "5.5 of 5.0 US dollars", "max_budget", key={"spend": 5.5}),
    Planted(
        "litellm.budget",
        WARNING,
        "expires at",
        "Extend the key",
        key={"expires": (datetime.now(UTC) + timedelta(days=2)).isoformat()},
    ),
    Planted(
        "litellm.prices",
        WARNING,
        "no price of 1 of 1 models: gpt-4o-mini",
        "input_cost_per_token",
        litellm={"/model_group/info": told({"data": [FREE]})},
    ),
    Planted(
        "litellm.prices",
        PROBLEM,
        "no chat or embedding model",
        "Add models",
        litellm={"/model_group/info": told({"data": []})},
    ),
    Planted(
        "litellm.timeouts",
        WARNING,
        "1 of 1 deployments than the gateway: gpt-4o-mini",
        "stream_timeout below 120 s",
        litellm={"/model/info": deployments(timeout=None, stream_timeout=None)},
    ),
    Planted(
        "litellm.timeouts",
        WARNING,
        "gpt-4o-mini",
        "a timeout below 10 s (LLM_TIMEOUT_SECONDS)",
        given={"LLM_TIMEOUT_SECONDS": "10"},
    ),
    Planted(
        "litellm.timeouts",
        WARNING,
        "(if router_settings and litellm_settings set none either)",
        "stream_timeout",
        litellm={"/model/info": deployments(timeout=None, stream_timeout=None)},
        given={"LITELLM_MASTER_KEY": None},
    ),
    Planted(
        "litellm.limits",
        WARNING,
        "LiteLLM 1.110.2 does not enforce the rpm and tpm of gpt-4o-mini",
        'optional_pre_call_checks: ["enforce_model_rate_limits"]',
        litellm={"/model/info": deployments(rpm=10), "/router/settings": router(enable_pre_call_checks=True)},
    ),
    Planted(
        "litellm.limits",
        WARNING,
        "LiteLLM 1.106.12 does not enforce",
        "enable_pre_call_checks: true",
        litellm={"/model/info": deployments(tpm=10), "/health/readiness/details": details("1.106.12")},
    ),
    Planted(
        "litellm.retries",
        WARNING,
        "20 retries, which can take 1260 s",
        "num_retries",
        litellm={"/router/settings": router(num_retries=20)},
    ),
    Planted(
        "litellm.server",
        PROBLEM,
        "not LiteLLM: it answers /health/liveliness with status 200 with a web page",
        "login page",
        litellm={LIVE: PAGE},
    ),
    Planted(
        "litellm.server",
        PROBLEM,
        "redirects to https://new.example/x. The gateway",
        "final address",
        litellm={LIVE: told(b"", 301, location="https://u:p4ss@new.example/x?token=s3cret")},
    ),
    # Supabase
    Planted(
        "supabase.jwks",
        PROBLEM,
        "JWKS is empty",
        "Create an asymmetric signing key",
        supabase={JWKS_PATH: told({"keys": []})},
    ),
    Planted(
        "supabase.jwks",
        PROBLEM,
        "cannot use: oct HS256",
        "SUPABASE_JWT_SECRET",
        supabase={JWKS_PATH: told({"keys": [OCT]})},
    ),
    Planted(
        "supabase.issuer",
        PROBLEM,
        "the issuer https://auth.example/auth/v1",
        "Set SUPABASE_JWT_ISSUER=https://auth.example/auth/v1",
        supabase={DISCOVERY: told({"issuer": "https://auth.example/auth/v1"})},
    ),
    Planted(
        "supabase.secret",
        WARNING,
        "although the project has asymmetric keys",
        "unset SUPABASE_JWT_SECRET",
        given={"SUPABASE_JWT_SECRET": "s" * 40},
    ),
    Planted(
        "supabase.server", PROBLEM, "status 404", "Set SUPABASE_URL", supabase={JWKS_PATH: told({"msg": "no"}, 404)}
    ),
    # Browsers
    Planted(
        "browser.origin",
        PROBLEM,
        "ALLOWED_ORIGINS allows http://app.example.com. The scheme and the port",
        "Add https://app.example.com",
        given={"ALLOWED_ORIGINS": "http://app.example.com"},
        arguments=("--origin", "https://app.example.com/"),
    ),
    Planted(
        "browser.origin",
        PROBLEM,
        "allows only hosts below example.com",
        "Add https://example.com",
        given={"ALLOWED_ORIGINS": "https://*.example.com"},
        arguments=("--origin", "https://example.com"),
    ),
    Planted(
        "browser.origin",
        PROBLEM,
        "* stands for exactly one label",
        "Add https://a.b.example.com",
        given={"ALLOWED_ORIGINS": "https://*.example.com"},
        arguments=("--origin", "https://a.b.example.com"),
    ),
    Planted(
        "browser.origin",
        PROBLEM,
        "ALLOWED_ORIGINS allows no origin.",
        "ALLOWED_ORIGINS",
        arguments=("--origin", "http://localhost:3000"),
    ),
    # Letta's calls to the gateway
    Planted(
        "callback.address",
        PROBLEM,
        "on Letta's machine leads to Letta's machine",
        "that Letta reaches",
        given={
            "PUBLIC_URL": "http://127.0.0.1:9",
            "LETTA_BASE_URL": "http://letta.invalid",
            "AGENT_SECRET_MASTER_KEY": MASTER_KEY,
            "LETTA_PROXY_KEY": "k" * 32,
        },
        also={"letta.dns": PROBLEM},
    ),
    Planted(
        "callback.embeddings",
        WARNING,
        "LETTA_PROXY_KEY is not set",
        "OPENAI_API_KEY",
        given={"PUBLIC_URL": "http://127.0.0.1:9", "AGENT_SECRET_MASTER_KEY": MASTER_KEY},
        also={"callback.gateway": WARNING},
    ),
    Planted(
        "callback.secret",
        PROBLEM,
        "AGENT_SECRET_MASTER_KEY is not set",
        "the same random value of at least 32 bytes",
        given={"PUBLIC_URL": "http://127.0.0.1:9", "LETTA_PROXY_KEY": "k" * 32},
        also={"callback.gateway": WARNING},
    ),
    # names
    Planted(
        "letta.dns",
        PROBLEM,
        "letta.invalid of LETTA_BASE_URL cannot be resolved",
        "Correct the host in LETTA_BASE_URL",
        given={"LETTA_BASE_URL": "http://letta.invalid:8283"},
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.id)
async def test_a_planted_misconfiguration_is_found(planted: Planted, platform: Services, environment: Setter) -> None:
    for name in ("ams", "letta", "litellm", "supabase"):
        platform.sites[name].answers.update(getattr(planted, name))
    platform.key(**planted.key)
    planted.confirm(await diagnose(environment, *planted.arguments, **{**platform.settings, **planted.given}))


async def test_a_healthy_platform_has_neither_problems_nor_warnings(
    platform: Services, environment: Setter, redis_url: str
) -> None:
    given = {**platform.settings, "REDIS_URL": redis_url, "ALLOWED_ORIGINS": "https://*.example.com"}
    found = await diagnose(environment, "--origin", "https://app.example.com", **given)
    assert (found.status, found.report["status"], found.bad()) == (0, "ok", {})
    checked = {one["check"] for one in found.report["findings"] if one["status"] == "ok"}
    not_checked = {check.name for check in CHECKS} - checked
    callbacks = {name for name in not_checked if name.startswith("callback.")}
    assert not_checked - callbacks == {
        "settings.data",
        "settings.port",
        "settings.operations_port",
        "browser.preflight",
    }


async def test_the_embedded_platform_has_neither_problems_nor_warnings(environment: Setter) -> None:
    found = await diagnose(environment, PORT=str(free_port()))
    assert (found.status, found.report["status"], found.bad()) == (0, "ok", {})
    assert "the port is free" in found.at("settings.port")[0]["found"]


# --- what answers at a URL -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guarded", "named"), [(False, "is Letta's App Server"), (True, "is probably Letta's App Server")]
)
async def test_an_app_server_is_named_with_the_cure(
    platform: Services, environment: Setter, guarded: bool, named: str
) -> None:
    async with app_server(guarded=guarded) as server:
        found = await diagnose(environment, **{**platform.settings, "LETTA_BASE_URL": server.url})
    Planted("letta.server", PROBLEM, f"The server at LETTA_BASE_URL {named}", CURE).confirm(found)
    assert {one["found"] for one in found.at("letta.key")} == {"letta.server must succeed first."}


async def test_swapped_urls_are_named(platform: Services, environment: Setter) -> None:
    settings = platform.settings
    swapped = {"LETTA_BASE_URL": settings["LITELLM_BASE_URL"], "LITELLM_BASE_URL": settings["LETTA_BASE_URL"]}
    found = await diagnose(environment, **{**settings, **swapped})
    assert found.bad() == {"letta.server": PROBLEM, "litellm.server": PROBLEM}
    [letta], [litellm] = found.at("letta.server"), found.at("litellm.server")
    assert letta["found"].endswith("is LiteLLM, not Letta.")
    assert letta["cure"].endswith("LITELLM_BASE_URL may have the URL of Letta.")
    assert litellm["found"].endswith("is Letta, not LiteLLM.")


@pytest.mark.parametrize(
    ("variable", "at", "program"),
    [
        ("LITELLM_BASE_URL", "ams", "AMS"),
        ("LETTA_BASE_URL", "supabase", "Supabase"),
        ("SUPABASE_URL", "letta", "Letta"),
        ("AMS_BASE_URL", "litellm", "LiteLLM"),
    ],
)
async def test_a_url_of_another_service_is_named(
    platform: Services, environment: Setter, variable: str, at: str, program: str
) -> None:
    found = await diagnose(environment, **{**platform.settings, variable: platform.urls[at]})
    check = f"{variable.partition('_')[0].lower()}.server"
    Planted(check, PROBLEM, f"is {program}, not ", f"Set {variable}").confirm(found)


async def test_a_superfluous_path_is_named(platform: Services, environment: Setter) -> None:
    url = platform.urls["letta"]
    found = await diagnose(environment, **{**platform.settings, "LETTA_BASE_URL": f"{url}/letta"})
    Planted("letta.server", PROBLEM, "not at the path /letta", f"Write LETTA_BASE_URL={url}.").confirm(found)


@pytest.mark.parametrize(
    ("answers", "program"),
    [
        ({"/": Scripted(pieces=[b"Ollama is running"])}, "Ollama"),
        ({"/v1/models": Scripted(pieces=[b'{"object":"list","data":[]}'])}, "an OpenAI-compatible server"),
    ],
)
async def test_other_model_servers_are_named(
    platform: Services, environment: Setter, answers: dict[str, Scripted], program: str
) -> None:
    absent = Scripted(status=404, headers={})
    async with odd_server(lambda _, path, __: answers.get(path, absent)) as url:
        found = await diagnose(environment, **{**platform.settings, "LITELLM_BASE_URL": url})
    Planted("litellm.server", PROBLEM, f"is {program}", "Set LITELLM_BASE_URL to LiteLLM's URL.").confirm(found)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_service_that_does_not_run_is_named(platform: Services, environment: Setter, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    found = await diagnose(environment, **{**platform.settings, "AMS_BASE_URL": url})
    Planted("ams.server", PROBLEM, f"AMS at {url} cannot be reached: connection refused.", "Start AMS").confirm(found)


async def test_a_service_that_hangs_is_named_in_time(platform: Services, environment: Setter) -> None:
    async with odd_server(lambda *_: Scripted(pieces=[60.0])) as url:
        found = await diagnose(environment, "--timeout", "3", **{**platform.settings, "LETTA_BASE_URL": url})
    Planted("letta.server", PROBLEM, "does not answer: no answer within 3 s.", "firewalls").confirm(found)


async def test_the_embedded_platform_is_a_problem_only_in_production(platform: Services, environment: Setter) -> None:
    running = EmbeddedPlatform(EmbeddedOptions(), SeededStore())
    await running.start()
    try:
        given: dict[str, str | None] = {f"{name.upper()}_BASE_URL": url for name, url in running.urls.items()}
        given |= {"SUPABASE_SERVICE_KEY": running.options.ams_key, "LETTA_API_KEY": running.options.letta_key}
        given |= {"LITELLM_API_KEY": next(iter(running.state.keys)), "LITELLM_MASTER_KEY": None}
        developing = await diagnose(environment, **given)
        assert (developing.bad(), developing.status) == ({}, 0)
        assert "The embedded Letta of `agentgraph embedded` answers" in developing.at("letta.server")[0]["found"]
        producing = await diagnose(environment, **{**platform.settings, **given})
    finally:
        await running.stop()
    assert producing.bad() == {f"{name}.server": PROBLEM for name in ("ams", "letta", "litellm")}


@pytest.mark.parametrize(
    ("service", "seconds", "status", "says"),
    [("letta", 120, WARNING, "ahead of"), ("litellm", -120, WARNING, "behind"), ("supabase", -3600, PROBLEM, "behind")],
)
async def test_a_clock_that_differs_is_found(
    platform: Services, environment: Setter, service: str, seconds: int, status: str, says: str
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    bodies = {HEALTH: b'{"version":"0.16.8","status":"ok"}', "/health/liveliness": b'"I\'m alive!"'}
    bodies[JWKS_PATH] = json.dumps({"keys": [key_pair("ES256").jwk]}).encode()

    def answer(_: str, path: str, __: bytes) -> Scripted:
        known = path in bodies
        return Scripted(200 if known else 404, {"date": date}, [bodies.get(path, b"{}")])

    variable = "SUPABASE_URL" if service == "supabase" else f"{service.upper()}_BASE_URL"
    async with odd_server(answer) as url:
        found = await diagnose(environment, **{**platform.settings, variable: url})
    [finding] = found.at(f"{service}.clock")
    assert finding["status"] == status
    assert f"{abs(seconds)} s {says}" in finding["found"] or f"{abs(seconds) - 1} s {says}" in finding["found"]
    assert "NTP" in finding["cure"]


# --- TLS -------------------------------------------------------------------------------------------------------------

NOW = datetime.now(UTC)
OLD = {"not_before": NOW - timedelta(days=30), "not_after": NOW - timedelta(days=1)}
NEW = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=30)}
SOON = {"not_after": NOW + timedelta(days=5)}


@pytest.mark.parametrize(
    ("bundle", "name", "dates", "planted"),
    [
        (False, "localhost", {}, Planted("litellm.tls", PROBLEM, "not trusted: unable to get", "UPSTREAM_CA_BUNDLE")),
        (
            True,
            "other.example",
            {},
            Planted("litellm.tls", PROBLEM, "is for other.example.", "certificate for localhost"),
        ),
        (True, "localhost", OLD, Planted("litellm.tls", PROBLEM, "certificate has expired", "Renew the certificate")),
        (True, "localhost", NEW, Planted("litellm.tls", PROBLEM, "not yet valid", "this machine's clock")),
        (True, "localhost", SOON, Planted("litellm.tls", WARNING, "expires in 5 days", "Renew the certificate")),
    ],
    ids=lambda one: one.found if isinstance(one, Planted) else "",
)
async def test_a_certificate_is_checked(
    platform: Services,
    environment: Setter,
    tmp_path: Path,
    bundle: bool,
    name: str,
    dates: dict[str, Any],
    planted: Planted,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with over_tls(platform.urls["litellm"], authority, name, **dates) as url:
        given = {"LITELLM_BASE_URL": url, "UPSTREAM_CA_BUNDLE": str(tmp_path / "ca.pem") if bundle else None}
        planted.confirm(await diagnose(environment, **{**platform.settings, **given}))


async def test_an_address_that_is_not_in_the_certificate_is_found(
    platform: Services, environment: Setter, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with over_tls(platform.urls["letta"], authority, "letta.internal") as url:
        given = {"LETTA_BASE_URL": url.replace("localhost", "127.0.0.1")}
        given["UPSTREAM_CA_BUNDLE"] = str(tmp_path / "ca.pem")
        found = await diagnose(environment, **{**platform.settings, **given})
    Planted("letta.tls", PROBLEM, "is for letta.internal.", "Write a host name of the certificate").confirm(found)


async def test_a_trusted_certificate_is_no_problem(platform: Services, environment: Setter, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with over_tls(platform.urls["litellm"], authority, "localhost") as url:
        given = {"LITELLM_BASE_URL": url, "UPSTREAM_CA_BUNDLE": str(tmp_path / "ca.pem")}
        found = await diagnose(environment, **{**platform.settings, **given})
    assert found.bad() == {}


async def test_https_for_a_server_without_tls_is_found(platform: Services, environment: Setter) -> None:
    url = platform.urls["litellm"].replace("http://", "https://")
    found = await diagnose(environment, **{**platform.settings, "LITELLM_BASE_URL": url})
    Planted("litellm.tls", PROBLEM, "does not speak TLS", "write http:// in LITELLM_BASE_URL").confirm(found)


async def test_http_for_a_server_with_tls_is_found(platform: Services, environment: Setter) -> None:
    async with over_tls(platform.urls["litellm"], trustme.CA(), "localhost") as url:
        given = {"LITELLM_BASE_URL": url.replace("https://", "http://")}
        found = await diagnose(environment, **{**platform.settings, **given})
    Planted("litellm.server", PROBLEM, "speaks TLS, but LITELLM_BASE_URL is an http:// URL", "Write https://").confirm(
        found
    )


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.needs_redis
@pytest.mark.parametrize(
    ("options", "commands", "planted"),
    [
        (
            (),
            ["CONFIG", "SET", "requirepass", "right"],
            Planted("redis.server", PROBLEM, "password in REDIS_PASSWORD or REDIS_URL was refused", "REDIS_PASSWORD"),
        ),
        (
            ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"),
            [],
            Planted("redis.eviction", PROBLEM, "maxmemory-policy is allkeys-lru", "maxmemory-policy noeviction"),
        ),
        (
            ("--maxmemory-policy", "volatile-ttl"),
            [],
            Planted("redis.eviction", WARNING, "maxmemory is not set", "maxmemory-policy noeviction"),
        ),
        (
            (),
            ["CONFIG", "SET", "maxmemory", "1000kb"],
            Planted("redis.memory", WARNING, "of its maxmemory", "Raise", also={"redis.commands": PROBLEM}),
        ),
        (
            (),
            ["REPLICAOF", "127.0.0.1", "9"],
            Planted("redis.role", PROBLEM, "replica of 127.0.0.1:9", "the primary", also={"redis.commands": PROBLEM}),
        ),
        (
            (),
            ["ACL", "SETUSER", "default", "resetchannels"],
            Planted("redis.commands", PROBLEM, "refuses a command that the gateway uses", "&agentgraph:*"),
        ),
    ],
    ids=lambda one: one.check if isinstance(one, Planted) else "",
)
async def test_a_redis_that_the_gateway_cannot_use_well_is_found(
    platform: Services, environment: Setter, options: tuple[str, ...], commands: list[str], planted: Planted
) -> None:
    with redis_server(*options, is_started=False) as server:
        server.start()
        if commands:
            assert server.run(*commands) == b"+OK"
        password = ":wr0ng@" if "requirepass" in commands else ""
        given = {"REDIS_URL": f"redis://{password}127.0.0.1:{server.port}/0"}
        planted.confirm(await diagnose(environment, **{**platform.settings, **given}))


@pytest.mark.needs_redis
async def test_the_documented_user_of_redis_is_no_problem(platform: Services, environment: Setter) -> None:
    """The user may not use ``INFO``, which is a dangerous command."""
    with redis_server() as server:
        rights = ("~agentgraph:*", "&agentgraph:*", "+@all", "-@dangerous")
        assert server.run("ACL", "SETUSER", "gateway", "on", ">pa55word", *rights) == b"+OK"
        given = {"REDIS_URL": f"redis://gateway:pa55word@127.0.0.1:{server.port}/0"}
        found = await diagnose(environment, **{**platform.settings, **given})
    assert found.bad() == {}
    assert [one["status"] for one in found.at("redis.commands")] == ["ok"]
    assert "INFO" in found.at("redis.eviction")[0]["found"]
    assert "pa55word" not in found.printed


async def test_a_redis_that_does_not_run_is_found(platform: Services, environment: Setter) -> None:
    given = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    found = await diagnose(environment, **{**platform.settings, **given})
    Planted("redis.server", PROBLEM, "connection refused", "REDIS_URL").confirm(found)


async def test_an_old_redis_with_another_clock_is_found(platform: Services, environment: Setter) -> None:
    info = b"redis_version:6.2.14\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n"
    replies = {b"INFO": b"$%d\r\n%b\r\n" % (len(info), info), b"TIME": b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            arguments = [(await reader.readline(), await reader.readline())[1].strip() for _ in range(int(line[1:]))]
            writer.write(replies.get(arguments[0].upper(), b"+OK\r\n"))

    async with listening(serve) as port:
        found = await diagnose(environment, **{**platform.settings, "REDIS_URL": f"redis://127.0.0.1:{port}/0"})
    also = {"redis.clock": WARNING}
    Planted("redis.version", PROBLEM, "The server is Redis 6.2.14.", "Upgrade Redis", also=also).confirm(found)
    assert "behind this machine's clock" in found.at("redis.clock")[0]["found"]


# --- the gateway itself ----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(platform: Services) -> AsyncIterator[str]:
    """The URL of a running gateway in production, with the healthy services."""
    given = {name.lower(): value for name, value in platform.settings.items() if name != "LITELLM_MASTER_KEY"}
    own = {"agent_secret_master_key": MASTER_KEY, "allowed_origins": "https://app.example.com", "port": 8000}
    settings = settings_of(**{**given, **own})
    async with served(create_app(settings, Telemetry(make_logger("ERROR", io.StringIO()))), settings) as url:
        yield url


def of_gateway(platform: Services, url: str) -> dict[str, str | None]:
    return {
        **platform.settings,
        "HOST": "127.0.0.1",
        "PORT": url.rpartition(":")[2],
        "PUBLIC_URL": url,
        "AGENT_SECRET_MASTER_KEY": MASTER_KEY,
        "LETTA_PROXY_KEY": "k" * 32,
        "ALLOWED_ORIGINS": "https://app.example.com, https://new.example.com",
    }


async def test_a_running_gateway_is_healthy(platform: Services, environment: Setter, gateway: str) -> None:
    found = await diagnose(environment, "--origin", "https://app.example.com", **of_gateway(platform, gateway))
    assert (found.bad(), found.status) == ({}, 0), found.printed
    assert found.at("settings.port")[0]["found"] == f"A gateway runs at {gateway}."
    for check in ("callback.gateway", "callback.secret", "browser.preflight"):
        assert [one["status"] for one in found.at(check)] == ["ok"], check


async def test_a_gateway_with_other_settings_is_found(platform: Services, environment: Setter, gateway: str) -> None:
    found = await diagnose(environment, "--origin", "https://new.example.com", **of_gateway(platform, gateway))
    says = "refuses the preflight request of https://new.example.com"
    Planted("browser.preflight", PROBLEM, says, "Restart the gateway").confirm(found)


async def test_agents_that_call_another_address_are_found(
    platform: Services, environment: Setter, gateway: str
) -> None:
    endpoints = [f"{gateway}/api/v1/agents/{ADA}/proxy", "http://old:8000/api/v1/agents/x/proxy", "http://litellm/v1"]
    agents = [{"id": "agent-1", "llm_config": {"model_endpoint": one}} for one in endpoints]
    platform.sites["letta"].answers[AGENTS] = lambda key: (200, agents, {}) if key else (401, {}, {})
    found = await diagnose(environment, **of_gateway(platform, gateway))
    says = f"Of the 3 newest agents, 1 make their model calls at http://old:8000, and not at PUBLIC_URL={gateway}."
    Planted("callback.agents", WARNING, says, "llm_config.model_endpoint").confirm(found)


async def test_the_gateway_s_own_url_is_no_service(platform: Services, environment: Setter, gateway: str) -> None:
    found = await diagnose(environment, **{**platform.settings, "LITELLM_BASE_URL": gateway})
    Planted("litellm.server", PROBLEM, "is this gateway, not LiteLLM", "Set LITELLM_BASE_URL").confirm(found)


async def test_another_program_at_the_gateway_s_addresses_is_found(platform: Services, environment: Setter) -> None:
    url = platform.urls["letta"]
    found = await diagnose(environment, **of_gateway(platform, url))
    also = {"callback.gateway": PROBLEM}
    Planted("settings.port", PROBLEM, f"Another program listens on {url}.", "set PORT", also=also).confirm(found)
    assert "is no gateway" in found.at("callback.gateway")[0]["found"]


async def test_a_data_folder_that_is_a_file_is_found(environment: Setter, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = await diagnose(environment, XDG_DATA_HOME=str(tmp_path / "file"), PORT="0")
    Planted("settings.data", PROBLEM, "cannot write to its data folder", "XDG_DATA_HOME").confirm(found)


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"LETTA_BASE_URL": "http://letta:8283/v1"}, "LETTA_BASE_URL: must be the base URL, without /v1"),
        ({"LETTA_BASE_URL": "ws://127.0.0.1:4500"}, CURE),
        ({"LETTA_BASE_URL": "http://letta:8283"}, "LETTA_API_KEY: required, because LETTA_BASE_URL is set"),
        ({"ALLOWED_ORIGINS": "app.example.com"}, "ALLOWED_ORIGINS: 'app.example.com' has no scheme"),
        ({"ENVIRONMENT": "production"}, "SUPABASE_URL: required if ENVIRONMENT is production"),
    ],
)
async def test_invalid_settings_end_with_2_and_block_all_other_checks(
    environment: Setter, given: dict[str, str], found: str
) -> None:
    diagnosis = await diagnose(environment, **given, RATE_LIMIT_LMM="3")
    assert diagnosis.status == 2
    assert diagnosis.bad() == {"settings.valid": PROBLEM, "settings.names": WARNING}
    assert any(found in one["found"] for one in diagnosis.at("settings.valid"))
    assert {one["check"] for one in diagnosis.report["findings"]} == {check.name for check in CHECKS}
    assert {one["found"] for one in diagnosis.report["findings"] if one["status"] == "skipped"} == {
        "settings.valid must succeed first."
    }


@pytest.mark.parametrize(
    "arguments", [["--timeout", "0"], ["--timeout", "soon"], ["--origin", "app.example.com"], ["--origin", "*"]]
)
async def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["doctor", *arguments])
    except SystemExit as left:
        status = int(str(left.code))
    assert status == 2
    assert arguments[0] in capsys.readouterr().err


async def test_the_report_is_json_of_the_documented_form(platform: Services, environment: Setter) -> None:
    report = (await diagnose(environment, **platform.settings)).report
    assert list(report) == ["version", "status", "counts", "findings"]
    assert list(report["counts"]) == ["ok", "warning", "problem", "skipped"]
    assert sum(report["counts"].values()) == len(report["findings"])
    assert all(list(one) == ["check", "status", "found", "cure"] for one in report["findings"])
    assert list(dict.fromkeys(one["check"] for one in report["findings"])) == [check.name for check in CHECKS]


async def test_no_output_contains_a_secret(platform: Services, environment: Setter) -> None:
    """Servers repeat the secrets that they have received, and the settings contain secrets of each kind."""
    secrets = {
        "SUPABASE_SERVICE_KEY": "s3cret-of-ams",
        "LETTA_API_KEY": "s3cret-of-letta",
        "LITELLM_API_KEY": "sk-s3cret-of-litellm",
        "SUPABASE_JWT_SECRET": "s3cret-jwt-" + "j" * 32,
        "AGENT_SECRET_MASTER_KEY": "s3cret-master-" + "m" * 32,
        "LETTA_PROXY_KEY": "s3cret-proxy-" + "p" * 32,
        "METRICS_TOKEN": "s3cret-of-metrics",
        "LITELLM_MASTER_KEY": "sk-s3cret-of-master",
    }

    def echo(key: str) -> tuple[int, Any, dict[str, str]]:
        return 302, {"detail": key}, {"location": f"http://u:{secrets['LETTA_API_KEY']}@new.example/{key}"}

    def version(_: str) -> tuple[int, Any, dict[str, str]]:
        return 200, {"version": f"0.1\x1b[31m {secrets['LETTA_API_KEY']}\n", "status": "ok"}, {}

    platform.sites["letta"].answers = {HEALTH: version, AGENTS: echo, MODELS: echo}
    platform.sites["litellm"].answers |= {"/v1/models": echo, "/key/info": echo, READY: echo}
    platform.sites["ams"].answers = {"/me": echo, "/health": echo}
    platform.sites["supabase"].answers |= {DISCOVERY: told({"issuer": secrets["SUPABASE_JWT_SECRET"]})}
    given = {**platform.settings, **secrets, "REDIS_URL": f"redis://u:s3cret-redis@127.0.0.1:{free_port()}/0"}
    found = await diagnose(environment, **given)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        await asyncio.to_thread(main, ["doctor"])
    assert found.at("letta.version")[0]["found"].startswith("Letta's version is 0.1 [31m (hidden) .")
    for printed in (found.printed, text.getvalue()):
        assert "s3cret" not in printed
        assert "\x1b" not in printed


@pytest.fixture
def broken_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(_: Installation) -> Finding:
        raise KeyError("s3cret")

    async def hangs(_: Installation) -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    changed = {"letta.version": breaks, "letta.redis": hangs}
    checks = tuple(replace(one, run=changed.get(one.name, one.run)) for one in CHECKS)
    monkeypatch.setattr("app.doctor.checking.CHECKS", checks)
    monkeypatch.setattr("app.doctor.running.CALLS_PER_CHECK", 1)


@pytest.mark.usefixtures("broken_check")
async def test_a_check_that_breaks_or_hangs_hides_no_other(platform: Services, environment: Setter) -> None:
    found = await diagnose(environment, "--timeout", "3", **platform.settings)
    assert found.bad() == {"letta.version": PROBLEM, "letta.redis": PROBLEM}
    assert found.at("letta.version")[0]["found"] == "The check is broken: KeyError."
    assert found.at("letta.redis")[0]["found"] == "The check took longer than 3 s."
    assert "s3cret" not in found.printed


async def test_the_command_prints_a_report_for_people(platform: Services, tmp_path: Path) -> None:
    """Runs a new interpreter. Its output is no terminal, so it has no colours."""
    environment = {
        **os.environ,
        **platform.settings,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "LETTA_API_KEY": "wr0ng",
    }
    async with running("doctor", folder=tmp_path, environment=environment, forks=False) as process:
        printed = (await process.communicate())[0].decode()
    assert process.returncode == 1
    lines = printed.splitlines()
    assert lines[0].startswith("agentgraph doctor 0.")
    at = lines.index("  problem  letta.key       Letta refuses LETTA_API_KEY with status 401.")
    assert lines[at + 1] == "                           Cure: Set LETTA_API_KEY to Letta's LETTA_SERVER_PASSWORD."
    assert "  skipped  letta.redis, letta.models: letta.key must succeed first." in lines
    assert any(line.startswith("  skipped  all 9 checks: REDIS_URL is not set") for line in lines)
    assert re.fullmatch(r"1 problem, 0 warnings, \d+ ok, \d+ skipped", lines[-1])
    assert max(map(len, lines)) <= 100


async def test_models_that_the_gateway_does_not_call_and_embeddings_need_less(
    platform: Services, environment: Setter
) -> None:
    """An image model needs no price, and an embedding model no timeout for streams."""
    image = {**FREE, "model_group": "dall-e", "mode": "image_generation"}
    embedding = {
        "model_group": "embed",
        "input_cost_per_token": 2e-8,
        "output_cost_per_token": None,
        "mode": "embedding",
    }
    slow = {"model_name": "embed", "litellm_params": {"timeout": 300}, "model_info": {"mode": "embedding"}}
    platform.sites["litellm"].answers |= {
        "/model_group/info": told({"data": [image, embedding]}),
        "/model/info": told({"data": [slow]}),
    }
    found = await diagnose(environment, **platform.settings)
    assert found.bad() == {}


async def test_a_wrong_key_of_litellm_s_administrator_is_named(platform: Services, environment: Setter) -> None:
    found = await diagnose(environment, **{**platform.settings, "LITELLM_MASTER_KEY": "sk-wr0ng"})
    assert found.bad() == {}
    [finding] = found.at("litellm.version")
    assert (finding["status"], "is no administrator's key" in finding["found"]) == ("skipped", True)
