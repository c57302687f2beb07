"""A platform in production for ``agentgraph doctor``, in which tests plant misconfigurations."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.cli import main
from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform, LoopbackServer
from clients.supabase import JWKS_PATH
from tests.support.seeded import SeededStore
from tests.support.supabase import key_pair

Told = Callable[[str], tuple[int, Any, dict[str, str]]]
"""Returns an answer's status, body and headers for a bearer token."""

KEY, ADMIN_KEY, MASTER_KEY = "sk-doctors-virtual-key", "sk-doctors-admin-key", "m" * 40
HEALTH, MODELS, AGENTS = "/v1/health/", "/v1/models/", "/v1/agents/"
NO_CONVERSATION = "/v1/conversations/conv-00000000-0000-4000-8000-000000000000/stream"
DISCOVERY = "/auth/v1/.well-known/openid-configuration"


def told(body: Any, status: int = 200, **headers: str) -> Told:
    """Answer every request in the same way."""
    return lambda _: (status, body, headers)


def told_admin(body: Any) -> Told:
    """Answer only the administrator of LiteLLM, as LiteLLM 1.106 and 1.110 do."""
    refused = {
        "error": {"message": "Authentication Error, Only proxy admin can …", "type": "auth_error", "code": "401"}
    }
    return lambda key: (200, body, {}) if key == ADMIN_KEY else (401, refused, {})


def details(version: str) -> Told:
    return told_admin({"status": "healthy", "db": "connected", "litellm_version": version})


def router(**values: Any) -> Told:
    return told_admin({"fields": [], "current_values": {"num_retries": 0, "timeout": 6000.0, **values}})


def deployments(**params: Any) -> Told:
    """Answer with one deployment, which has suitable timeouts unless ``params`` change them."""
    params = {"model": "openai/gpt-4o-mini", "timeout": 60.0, "stream_timeout": 30.0, **params}
    return told({"data": [{"model_name": "gpt-4o-mini", "litellm_params": params, "model_info": {}}]})


class Changed:
    """An application, some of whose paths answer as a test tells them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answers: dict[str, Told] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.answers.get(scope["path"])
        if answer is None:
            await self._app(scope, receive, send)
            return
        bearer = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        status, body, headers = answer(bearer)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        await Response(content, status, {"content-type": "application/json", **headers})(scope, receive, send)


@dataclass
class Services:
    """Four services that look like real ones, and the settings of a gateway that uses them."""

    platform: EmbeddedPlatform
    sites: dict[str, Changed]
    urls: dict[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Let all services answer as healthy ones."""
        project = self.urls["supabase"]
        self.sites["ams"].answers = {}
        no_run = told({"detail": "INVALID_ARGUMENT: No active runs found for this conversation."}, 400)
        self.sites["letta"].answers = {NO_CONVERSATION: no_run}
        self.sites["litellm"].answers = {
            "/health/readiness": told({"status": "healthy", "db": "connected"}),
            "/health/readiness/details": details("1.110.2"),
            "/router/settings": router(),
            "/model/info": deployments(),
        }
        self.sites["supabase"].answers = {
            JWKS_PATH: told({"keys": [key_pair("ES256").jwk]}),
            DISCOVERY: told({"issuer": f"{project}/auth/v1"}),
        }
        self.key()

    def key(self, **facts: Any) -> None:
        """Make LITELLM_API_KEY a virtual key with these facts."""
        make_key(self.platform.state, KEY, **{"user_id": ADA, "max_budget": 5.0, **facts})

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of a healthy gateway."""
        options = self.platform.options
        return {
            "ENVIRONMENT": "production",
            "AMS_BASE_URL": self.urls["ams"],
            "SUPABASE_SERVICE_KEY": options.ams_key,
            "LETTA_BASE_URL": self.urls["letta"],
            "LETTA_API_KEY": options.letta_key,
            "LITELLM_BASE_URL": self.urls["litellm"],
            "LITELLM_API_KEY": KEY,
            "LITELLM_MASTER_KEY": ADMIN_KEY,
            "SUPABASE_URL": self.urls["supabase"],
            "METRICS_TOKEN": "t" * 20,
            "PORT": "0",
        }


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    """Serve the four services on loopback."""
    platform = EmbeddedPlatform(EmbeddedOptions(words_per_second=2000), SeededStore())
    sites = {name: Changed(platform.service(name)) for name in ("ams", "letta", "litellm")}
    running = Services(platform, {**sites, "supabase": Changed(Starlette())})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(platform.stop_runs)
        for name, site in running.sites.items():
            server = LoopbackServer(site)
            await server.start()
            stack.push_async_callback(server.stop)
            running.urls[name] = server.url
        platform.reach_letta(running.urls["letta"], platform.options.letta_key)
        running.reset()
        yield running


@dataclass
class Diagnosis:
    """What the doctor has printed with ``--json``, and its exit status."""

    status: int
    report: Any
    printed: str

    def at(self, check: str) -> list[dict[str, Any]]:
        """Return the findings of a check."""
        return [one for one in self.report["findings"] if one["check"] == check]

    def bad(self) -> dict[str, str]:
        """Return the checks with a warning or a problem, with their statuses."""
        return {
            one["check"]: one["status"] for one in self.report["findings"] if one["status"] in {"warning", "problem"}
        }


Setter = Callable[[Mapping[str, str | None]], None]
"""Sets environment variables, and unsets those with the value ``None``."""


def setter(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Setter:
    """Return a setter of environment variables, and change to a folder without ``.env``."""
    monkeypatch.chdir(folder)

    def given(variables: Mapping[str, str | None]) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return given


async def diagnose(environment: Setter, *arguments: str, **given: Any) -> Diagnosis:
    """Run ``agentgraph doctor --json`` with the environment variables ``given``, in a thread with its own loop."""
    environment(given)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = await asyncio.to_thread(main, ["doctor", "--json", *arguments])
    return Diagnosis(status, json.loads(printed.getvalue()), printed.getvalue())
