"""What the log says at the start of services that are down, of keys that are refused, and of what is closed."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.faults import Fault
from app.embedded.people import ADA
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform
from app.main import create_app
from app.settings import Settings
from app.telemetry import Telemetry, make_logger
from tests.support.process import serving
from tests.support.serving import served
from tests.support.settings import settings_of
from tests.support.stack import until

SIGN_IN = {"supabase_url": "https://project.example", "supabase_jwt_secret": "s" * 32}
FALL_BACK = ", or leave it empty for the embedded one."


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
    """The first warnings of a start, once there are so many."""
    log = io.StringIO()
    app = create_app(settings, Telemetry(make_logger("INFO", log)), announces=True)

    def found() -> list[str]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        return [line["message"] for line in lines if line["level"] == "warning" and line["event"] != "breaker"]

    async with served(app, settings):

        async def as_many() -> bool:
            return len(found()) >= number

        await until(as_many, 10)
    return found()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("variable", "name"), [("ams_base_url", "AMS"), ("letta_base_url", "Letta"), ("litellm_base_url", "LiteLLM")]
)
async def test_a_service_that_is_down_is_said_with_its_address_and_the_cure(variable: str, name: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/at"
    async with platform_running() as platform:
        said = await warnings_of(settings_with(platform, **{variable: url}), 1)
    assert said == [f"{name} does not answer at {url}: connection refused. Check {variable.upper()}{FALL_BACK}"]


async def test_a_redis_that_is_down_is_said_without_its_password() -> None:
    port = free_port()
    async with platform_running() as platform:
        said = await warnings_of(settings_with(platform, redis_url=f"redis://ada:s3cret@127.0.0.1:{port}/0"), 1)
    assert said == [f"Redis does not answer at redis://127.0.0.1:{port}/0: connection refused. Check REDIS_URL."]


async def test_a_redis_with_another_password_is_said() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, platform_running() as platform:
        port = server.sockets[0].getsockname()[1]
        [said] = await warnings_of(settings_with(platform, redis_url=f"redis://:s3cret@127.0.0.1:{port}/0"), 1)
    assert "it asks for another password" in said
    assert "s3cret" not in said


async def test_all_that_are_down_are_said_and_an_unknown_host_by_its_cause() -> None:
    nowhere = "http://letta.invalid:8283"
    async with platform_running() as platform:
        dead = f"http://127.0.0.1:{free_port()}"
        said = await warnings_of(settings_with(platform, letta_base_url=nowhere, ams_base_url=dead), 2)
    assert sorted(said) == [
        f"AMS does not answer at {dead}: connection refused. Check AMS_BASE_URL{FALL_BACK}",
        f"Letta does not answer at {nowhere}: its host name cannot be resolved. Check LETTA_BASE_URL{FALL_BACK}",
    ]


async def test_in_production_nothing_is_said_of_embedded_services_and_open_metrics_are_closed() -> None:
    async with platform_running() as platform:
        url = f"http://127.0.0.1:{free_port()}"
        production = settings_with(platform, environment="production", **SIGN_IN, litellm_base_url=url)
        said = await warnings_of(production, 2)
    assert said == [
        "METRICS_TOKEN is not set: /metrics is closed, and /health shows no details.",
        f"LiteLLM does not answer at {url}: connection refused. Check LITELLM_BASE_URL.",
    ]


@pytest.mark.parametrize(("variable", "name"), [("letta_api_key", "Letta"), ("litellm_api_key", "LiteLLM")])
async def test_a_key_that_is_refused_is_said_and_not_shown(variable: str, name: str) -> None:
    async with platform_running() as platform:
        said = await warnings_of(settings_with(platform, **{variable: "sk-s3cret"}), 1)
        url = platform.urls[name.lower()]
    assert said == [f"{name} at {url} refuses the gateway's key. Check {variable.upper()}."]


async def test_an_address_of_another_service_is_said() -> None:
    async with platform_running() as platform:
        url = platform.urls["ams"]
        [said] = await warnings_of(settings_with(platform, letta_base_url=url), 1)
    assert said.startswith(f"What answers at {url} is not Letta, or it is broken: ")
    assert said.endswith(f" Check LETTA_BASE_URL{FALL_BACK}")


async def test_a_service_that_hangs_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.probes.PROBE_SECONDS", 0.3)
    async with platform_running() as platform:
        platform.faults["letta"] = Fault(hang=True)
        said = await warnings_of(settings_with(platform), 1)
        url = platform.urls["letta"]
    assert said == [f"Letta does not answer at {url} within 0.3 s. Check LETTA_BASE_URL{FALL_BACK}"]


async def test_nothing_is_said_where_all_is_well_and_all_is_read() -> None:
    async with platform_running() as platform:
        log = io.StringIO()
        settings = settings_with(platform)
        async with served(create_app(settings, Telemetry(make_logger("INFO", log)), announces=True), settings):

            async def asked() -> bool:
                return any(call["path"].startswith("/v1/agents/") for call in platform.state.calls)

            await until(asked)
    assert "warning" not in log.getvalue()


async def test_the_command_says_it_all(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"LITTELLM_BASE_URL=http://x\nREDIS_URL=redis://127.0.0.1:{free_port()}\n")
    async with serving(tmp_path, {"RATE_LIMIT_LMM": "3"}) as gateway:
        assert gateway.process.stdout is not None
        said = ""
        while not all(one in said for one in ("LITELLM_BASE_URL?", "RATE_LIMIT_LLM?", "Redis does not answer")):
            said += (await gateway.process.stdout.readline()).decode()
    assert "Did you mean LITELLM_BASE_URL?" in said


async def test_metrics_and_the_details_of_health_are_closed_in_production_without_a_token() -> None:
    async with platform_running() as platform:
        for token, status in ((None, 401), ("m" * 20, 200)):
            settings = settings_with(platform, environment="production", **SIGN_IN, metrics_token=token)
            app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
            headers = {"authorization": f"Bearer {token or 'None'}"}
            async with served(app, settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
                metrics = await client.get("/metrics", headers=headers)
                health = await client.get("/health", headers=headers)
            assert metrics.status_code == status
            assert health.status_code == 200
            assert ("services" in health.json()) == (token is not None)
            if token is None:
                assert metrics.text == "METRICS_TOKEN is not set: /metrics is closed\n"


ROUTES = {
    # path: outside production, in production
    "/": (200, 200),
    "/ping": (200, 200),
    "/health": (200, 200),
    "/metrics": (200, 401),
    "/docs": (200, 404),
    "/docs/oauth2-redirect": (200, 404),
    "/redoc": (200, 404),
    "/openapi.json": (200, 404),
    "/demo": (307, 404),
    "/demo/": (200, 404),
    "/graphql": (200, 401),
    "/v1/models": (401, 401),
    "/_embedded/": (404, 404),
}


@pytest.mark.parametrize("production", [False, True])
async def test_which_routes_a_stranger_finds(production: bool) -> None:
    async with platform_running() as platform:
        settings = settings_with(platform, environment="production" if production else "development", **SIGN_IN)
        app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
        async with served(app, settings) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            headers = {"accept": "text/html, application/json;q=0.9"}
            found = {path: (await client.get(path, headers=headers)).status_code for path in ROUTES}
    assert found == {path: statuses[production] for path, statuses in ROUTES.items()}


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(down=True), Fault(status=500)], ids=["hang", "down", "500"])
async def test_an_embedded_ams_starts_without_its_letta_and_learns_of_the_agents_when_it_is_there(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
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
                return  # a call that hangs is given up after half a minute

            async def learned() -> bool:
                return bool(ams.state.users[ADA].rows)

            letta.faults.clear()
            await until(learned)
        finally:
            await ams.stop()


async def test_a_page_where_letta_should_be_does_not_break_the_start() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>"
        )
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        said = await warnings_of(settings_of(letta_base_url=url, letta_api_key="k"), 1)
    assert len(said) == 1
    assert "Letta" in said[0]
    assert "Check LETTA_BASE_URL" in said[0]
