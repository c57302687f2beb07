"""Counts what a start imports, because a timed test would fail on a busy machine."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from app.embedded import http_client
from tests.support.forks import ROOT
from tests.support.serving import free_port

SERVER = frozenset(
    {"aiohttp", "clients", "graphql", "httpx", "prometheus_client", "resolvers", "schema", "starlette", "strawberry"}
    | {"uvicorn", "websockets"}
)
UNUSED = frozenset({"app.doctor", "fastapi", "opentelemetry", "redis.client", "sqlite3", "yaml", "app.embedded.server"})
"""What a gateway imports only for the documentation of REST, for Redis or for embedded services; and the doctor."""

PRODUCTION = {
    "ENVIRONMENT": "production",
    "AMS_BASE_URL": "http://127.0.0.1:9",
    "LETTA_BASE_URL": "http://127.0.0.1:9",
    "LITELLM_BASE_URL": "http://127.0.0.1:9",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SERVICE_KEY": "key",
    "LETTA_API_KEY": "key",
    "HOST": "127.0.0.1",
}


async def started(*arguments: str, folder: Path, **settings: str) -> asyncio.subprocess.Process:
    """Run ``agentgraph``, which writes each import to the standard error."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "app", *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder), **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def imports_of(process: asyncio.subprocess.Process) -> set[str]:
    """Wait until a process has ended. Return the names of the imported modules and of their packages."""
    _, printed = await process.communicate()
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", printed.decode(), re.MULTILINE)
    return {".".join(parts[:length]) for parts in (name.split(".") for name in names) for length in (1, len(parts))}


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], SERVER | UNUSED | {"asyncio", "cryptography", "pydantic"}),
        (["--version"], SERVER | UNUSED | {"asyncio", "cryptography", "pydantic"}),
        (["token"], SERVER | UNUSED | {"jwt", "cryptography.x509"}),
        (["password"], SERVER | UNUSED | {"cryptography"}),
        (["settings"], SERVER | UNUSED | {"cryptography"}),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
async def test_a_command_imports_no_server(tmp_path: Path, arguments: list[str], unused: frozenset[str]) -> None:
    process = await started(*arguments, folder=tmp_path)
    assert await imports_of(process) & unused == set()
    assert process.returncode == 0


async def imports_of_gateway(folder: Path, settings: Mapping[str, str]) -> set[str]:
    """Start a gateway, and stop the gateway when it is ready. Return the names of the imported modules."""
    port = free_port()
    process = await started("serve", folder=folder, **{**settings, "PORT": str(port)})
    reading = asyncio.create_task(imports_of(process))
    async with http_client.client(base_url=f"http://127.0.0.1:{port}") as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.returncode is None
                await asyncio.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    return await reading


async def test_a_gateway_in_production_imports_neither_embedded_services_nor_redis(tmp_path: Path) -> None:
    imported = await imports_of_gateway(tmp_path, PRODUCTION)
    assert "strawberry" in imported
    assert imported & UNUSED == set()


async def test_an_embedded_platform_is_imported_without_the_documentation(tmp_path: Path) -> None:
    imported = await imports_of_gateway(tmp_path, {})
    assert imported & UNUSED == {"app.embedded.server", "sqlite3", "yaml"}
