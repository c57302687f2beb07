"""Warnings in the log at the start: services that are down, refused keys, and closed endpoints."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded import http_client
from app.embedded.faults import Fault
from app.embedded.people import ADA
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.logs import make_logger
from app.main import create_app
from app.settings import Settings
from app.telemetry import Telemetry
from tests.support.app_server import app_server
from tests.support.forks import ROOT
from tests.support.oddserver import Scripted, odd_server
from tests.support.process import running, serving
from tests.support.serving import free_port, served
from tests.support.settings import settings_of
from tests.support.stack import until
from tests.support.supabase import supabase_project
from tests.support.tcp import listening

SIGN_IN = {"supabase_url": "https://project.example", "supabase_jwt_secret": "s" * 32}
UNRESOLVED = "the host name cannot be resolved"
FALL_BACK = ", or unset the variable to use the embedded service."


@asynccontextmanager
async def platform_running() -> AsyncIterator[EmbeddedPlatform]:
    platform = EmbeddedPlatform()
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


def settings_with(platform: EmbeddedPlatform, **changes: Any) -> Settings:
    keys = {"supabase_service_key": platform.options.ams_key, "letta_api_key": platform.options.letta_key}
    urls = {f"{name}_base_url": url for name, url in platform.urls.items()}
    return settings_of(**{**urls, **keys, **changes})


async def warnings_of(settings: Settings, number: int) -> list[str]:
    """Start the gateway, and return its warnings when there are ``number`` of them."""
    log = io.StringIO()
    app = create_app(settings, Telemetry(make_logger("INFO", log)), announces=True)

    def found() -> list[str]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        others = {"breaker", "shared state"}
        return [line["message"] for line in lines if line["level"] == "warning" and line["event"] not in others]

    async with served(app, settings):
        await until(lambda: len(found()) >= number, 10)
    return found()


@pytest.mark.parametrize(
    ("variable", "name"), [("ams_base_url", "AMS"), ("letta_base_url", "Letta"), ("litellm_base_url", "LiteLLM")]
)
async def test_a_service_that_is_down_is_logged(variable: str, name: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/at"
    async with platform_running() as platform:
        logged = await warnings_of(settings_with(platform, **{variable: url}), 1)
    assert logged == [
        f"The gateway cannot connect to {name} at {url}: connection refused. Check {variable.upper()}{FALL_BACK}"
    ]


async def test_a_redis_that_is_down_is_logged_without_its_password() -> None:
    port = free_port()
    async with platform_running() as platform:
        logged = await warnings_of(settings_with(platform, redis_url=f"redis://ada:s3cret@127.0.0.1:{port}/0"), 1)
    assert logged == [
        f"The gateway cannot connect to Redis at redis://127.0.0.1:{port}/0: connection refused. Check REDIS_URL."
    ]


async def test_a_redis_that_refuses_the_password_is_logged() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")

    async with listening(refuse) as port, platform_running() as platform:
        [logged] = await warnings_of(settings_with(platform, redis_url=f"redis://:s3cret@127.0.0.1:{port}/0"), 1)
    assert "was refused" in logged
    assert "s3cret" not in logged


async def test_every_service_that_is_down_is_logged() -> None:
    nowhere = "http://letta.invalid:8283"
    async with platform_running() as platform:
        dead = f"http://127.0.0.1:{free_port()}"
        logged = await warnings_of(settings_with(platform, letta_base_url=nowhere, ams_base_url=dead), 2)
    assert sorted(logged) == [
        f"The gateway cannot connect to AMS at {dead}: connection refused. Check AMS_BASE_URL{FALL_BACK}",
        f"The gateway cannot connect to Letta at {nowhere}: {UNRESOLVED}. Check LETTA_BASE_URL{FALL_BACK}",
    ]


async def test_in_production_a_missing_metrics_token_is_logged() -> None:
    async with platform_running() as platform, supabase_project() as project:
        url = f"http://127.0.0.1:{free_port()}"
        changes = {"supabase_url": project.url, "litellm_base_url": url}
        logged = await warnings_of(settings_with(platform, environment="production", **changes), 2)
    assert logged == [
        "Neither METRICS_TOKEN nor OPERATIONS_PORT is set, so /metrics and the details of /health are disabled.",
        f"The gateway cannot connect to LiteLLM at {url}: connection refused. Check LITELLM_BASE_URL.",
    ]


async def test_a_supabase_without_keys_is_logged() -> None:
    async with platform_running() as platform:
        url = platform.urls["ams"]
        [logged] = await warnings_of(settings_with(platform, supabase_url=url), 1)
    assert logged.startswith(f"The server at {url} is not Supabase, or Supabase fails. ")
    assert logged.endswith("Check SUPABASE_URL.")


@pytest.mark.parametrize(("variable", "name"), [("letta_api_key", "Letta"), ("litellm_api_key", "LiteLLM")])
async def test_a_refused_key_is_logged_without_the_key(variable: str, name: str) -> None:
    async with platform_running() as platform:
        logged = await warnings_of(settings_with(platform, **{variable: "sk-s3cret"}), 1)
        url = platform.urls[name.lower()]
    assert logged == [f"{name} at {url} refuses the gateway's key. Check {variable.upper()}."]


async def test_the_url_of_another_service_is_logged() -> None:
    async with platform_running() as platform:
        url = platform.urls["ams"]
        [logged] = await warnings_of(settings_with(platform, letta_base_url=url), 1)
    assert logged.startswith(f"The server at {url} is not Letta, or Letta fails. ")
    assert logged.endswith(f" Check LETTA_BASE_URL{FALL_BACK}")


async def test_a_service_that_hangs_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.probes.PROBE_SECONDS", 0.3)
    async with platform_running() as platform:
        platform.faults["letta"] = Fault(hang=True)
        logged = await warnings_of(settings_with(platform), 1)
        url = platform.urls["letta"]
    assert logged == [f"Letta does not answer at {url} within 0.3 s. Check LETTA_BASE_URL{FALL_BACK}"]


async def test_nothing_is_logged_if_all_services_answer() -> None:
    async with platform_running() as platform:
        log = io.StringIO()
        settings = settings_with(platform)
        async with served(create_app(settings, Telemetry(make_logger("INFO", log)), announces=True), settings):
            await until(lambda: any(call["path"].startswith("/v1/agents/") for call in platform.state.calls))
    assert "warning" not in log.getvalue()


async def test_the_command_prints_unknown_settings_and_warnings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"LITTELLM_BASE_URL=http://x\nREDIS_URL=redis://127.0.0.1:{free_port()}\n")
    async with serving(tmp_path, {"RATE_LIMIT_LMM": "3"}) as gateway:
        assert gateway.process.stdout is not None
        logged = ""
        while not all(one in logged for one in ("LITELLM_BASE_URL?", "RATE_LIMIT_LLM?", "cannot connect to Redis")):
            logged += (await gateway.process.stdout.readline()).decode()
    assert "Did you mean LITELLM_BASE_URL?" in logged


async def test_production_without_a_metrics_token_closes_metrics_and_health() -> None:
    async with platform_running() as platform:
        for token, status in ((None, 401), ("m" * 20, 200)):
            settings = settings_with(platform, environment="production", **SIGN_IN, metrics_token=token)
            app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
            headers = {"authorization": f"Bearer {token or 'None'}"}
            async with served(app, settings) as url, http_client.client(base_url=url) as client:
                metrics = await client.get("/metrics", headers=headers)
                health = await client.get("/health", headers=headers)
            assert metrics.status_code == status
            assert health.status_code == 200
            assert ("services" in health.json()) == (token is not None)
            if token is None:
                assert metrics.text == "METRICS_TOKEN is not set, so /metrics is disabled.\n"


ROUTES = {
    # the status by path, outside production and in production
    "/": (200, 200),
    "/ping": (200, 200),
    "/readyz": (200, 200),
    "/health": (200, 200),
    "/metrics": (200, 401),
    "/docs": (200, 404),
    "/docs/oauth2-redirect": (404, 404),
    "/redoc": (200, 404),
    "/openapi.json": (200, 404),
    "/demo": (307, 404),
    "/demo/": (200, 404),
    "/graphql": (200, 401),
    "/v1/models": (401, 401),
    "/_embedded/": (404, 404),
}


@pytest.mark.parametrize("production", [False, True])
async def test_the_status_of_every_route_without_authentication(production: bool) -> None:
    async with platform_running() as platform:
        settings = settings_with(platform, environment="production" if production else "development", **SIGN_IN)
        app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
        async with served(app, settings) as url, http_client.client(base_url=url) as client:
            headers = {"accept": "text/html, application/json;q=0.9"}
            found = {path: (await client.get(path, headers=headers)).status_code for path in ROUTES}
    assert found == {path: statuses[production] for path, statuses in ROUTES.items()}


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(down=True), Fault(status=500)], ids=["hang", "down", "500"])
async def test_the_embedded_ams_adopts_agents_when_letta_answers(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.server.ADOPT_SECONDS", 0.2)
    async with platform_running() as letta:
        letta.faults["letta"] = fault
        url, key = letta.urls["letta"], letta.options.letta_key
        ams = EmbeddedPlatform(EmbeddedOptions(services=frozenset({"ams"}), letta_url=url, letta_api_key=key))
        async with asyncio.timeout(5):
            await ams.start()
        try:
            assert not ams.state.users[ADA].rows
            if fault.hang:
                return  # the timeout of a call that hangs is 30 seconds

            letta.faults.clear()
            await until(lambda: ams.state.users[ADA].rows)
        finally:
            await ams.stop()


async def test_an_app_server_at_the_url_of_letta_is_logged_with_the_cure() -> None:
    async with app_server() as server:
        [logged] = await warnings_of(settings_of(letta_base_url=server.url, letta_api_key="s3cret"), 1)
    assert logged.startswith(f"The gateway cannot use {server.url} as Letta. ")
    assert "The server at LETTA_BASE_URL is Letta's App Server, which `pip install letta` installs" in logged
    assert "Run Letta 0.16.8 (the image letta/letta:0.16.8" in logged
    assert logged.endswith(f" Check LETTA_BASE_URL{FALL_BACK}")
    assert "s3cret" not in logged


async def test_a_guarded_app_server_at_the_url_of_letta_is_logged_as_probable() -> None:
    async with app_server(guarded=True) as server:
        [logged] = await warnings_of(settings_of(letta_base_url=server.url, letta_api_key="s3cret"), 1)
    assert logged.startswith(f"The server at {server.url} is not Letta, or Letta fails. ")
    assert "it is probably Letta's App Server" in logged
    assert "Run Letta 0.16.8 (the image letta/letta:0.16.8" in logged
    assert "s3cret" not in logged


async def test_the_command_starts_with_an_app_server_and_logs_the_cure(tmp_path: Path) -> None:
    async with app_server() as server:
        settings = {"LETTA_BASE_URL": server.url, "LETTA_API_KEY": "s3cret"}
        async with serving(tmp_path, settings) as gateway, http_client.client(base_url=gateway.url) as client:
            assert gateway.process.stdout is not None
            line = b""
            while b"Run Letta 0.16.8" not in line:
                line = await gateway.process.stdout.readline()
                assert line
            entry = json.loads(line)
            assert (entry["event"], entry["level"], entry["service"]) == ("service", "warning", "letta")
            health = (await client.get("/health")).json()
            assert (health["status"], health["services"]["letta"]["status"]) == ("degraded", "down")


async def test_an_html_page_at_the_url_of_letta_is_logged() -> None:
    page = Scripted(headers={"content-type": "text/html"}, pieces=[b"<html>"])
    async with odd_server(lambda *_: page) as url:
        logged = await warnings_of(settings_of(letta_base_url=url, letta_api_key="k"), 1)
    assert ["Letta" in text and "Check LETTA_BASE_URL" in text for text in logged] == [True]


async def test_a_starting_gateway_answers_probes_and_keeps_other_requests(tmp_path: Path) -> None:
    ports = [str(free_port()), str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": ports[0], "OPERATIONS_PORT": ports[1]}
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with (
        running("serve", "--memory", folder=tmp_path, environment=environment, forks=False),
        http_client.client(timeout=30) as client,
    ):
        answers = []
        for url in urls:
            answers.append(await first_answer(client, f"{url}/readyz"))
            answers.append(await client.get(f"{url}/ping"))
        assert [(one.status_code, one.json()["status"]) for one in answers] == [(503, "starting"), (200, "ok")] * 2
        health, page = await asyncio.gather(client.get(f"{urls[1]}/health"), client.get(f"{urls[0]}/"))
        assert (health.status_code, page.status_code) == (200, 200)
        ready = [(await client.get(f"{url}/readyz")).json() for url in urls]
        assert ready == [{"status": "ready"}] * 2


async def first_answer(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """Connect until the port is open."""
    while True:
        try:
            return await client.get(url)
        except httpx.ConnectError:
            await asyncio.sleep(0.005)
