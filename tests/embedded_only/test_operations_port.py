"""The operations port, as probes and clients see it from the start to the end of the process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from app.embedded import http_client
from tests.support.forks import ROOT
from tests.support.process import Gateway, running, serving

LONG = {
    "model": "gpt-4o-mini",
    "stream": True,
    "messages": [{"role": "user", "content": "[[tokens=5000 delay=0.02]]"}],
}
TOKEN = "m" * 20


def at(url: str) -> httpx.AsyncClient:
    return http_client.client(base_url=url, timeout=20)


def operations_url(gateway: Gateway) -> str:
    """Return the address that the command prints."""
    found = re.search(r"Health +(http://127\.0\.0\.1:\d+)/health", gateway.banner)
    assert found
    return found[1]


async def answers(client: httpx.AsyncClient) -> int:
    """Return how often ``/metrics`` was answered, before this request."""
    found = re.search(r'agentgraph_requests_total{.*route="/metrics".*} (\d+)', (await client.get("/metrics")).text)
    return int(found[1]) if found else 0


async def test_details_and_metrics_are_at_the_operations_port_until_the_end(tmp_path: Path) -> None:
    settings = {"OPERATIONS_PORT": "0", "SHUTDOWN_GRACE_SECONDS": "1"}
    async with serving(tmp_path, settings) as gateway:
        async with at(gateway.url) as public, at(operations_url(gateway)) as operations:
            assert (await public.get("/health")).json() == {"status": "ok"}
            assert (await public.get("/ping")).status_code == 200
            hidden = await public.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert hidden.status_code == 404
            assert "/metrics" not in (await public.get("/")).text
            assert "/metrics" not in (await public.get("/openapi.json")).json()["paths"]
            shown = await operations.get("/health")
            assert set(shown.json()["services"]) >= {"ams", "letta", "litellm"}
            assert "agentgraph_requests_total" in (await operations.get("/metrics")).text
            assert (await operations.head("/ping")).status_code == 200
            assert shown.headers["x-content-type-options"] == "nosniff"
            headers = {"authorization": f"Bearer {gateway.token}", "origin": "http://localhost:5173"}
            for path in ("/", "/graphql", "/v1/models", "/docs", "/auth/v1/user", "/demo/"):
                assert (await operations.get(path, headers=headers)).status_code == 404
            assert "access-control-allow-origin" not in (await operations.get("/health", headers=headers)).headers

            async with public.stream("POST", "/v1/chat/completions", json=LONG, headers=headers) as answer:
                lines = answer.aiter_lines()
                assert (await anext(lines)).startswith("data: ")
                gateway.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(10):
                    while (await operations.get("/health")).status_code == 200:
                        await asyncio.sleep(0.01)
                draining = await operations.get("/health")
                assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
                assert (await operations.get("/metrics")).status_code == 200
                assert (await operations.get("/ping")).status_code == 200
        async with asyncio.timeout(10):
            await gateway.process.communicate()


async def test_a_client_that_reads_no_metrics_does_not_delay_the_exit(tmp_path: Path) -> None:
    async with serving(tmp_path, {"OPERATIONS_PORT": "0"}) as gateway:
        operations = operations_url(gateway)
        address = urlsplit(operations)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((address.hostname, address.port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 400)
            async with at(operations) as another:
                before = -2
                while (now := await answers(another)) > before + 1:  # until the buffers of both sockets are full
                    before = now
                    await asyncio.sleep(0.3)
            gateway.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                await gateway.process.communicate()


async def test_the_operations_port_requires_the_token_if_one_is_set(tmp_path: Path) -> None:
    insider = {"authorization": f"Bearer {TOKEN}"}
    async with (
        serving(tmp_path, {"OPERATIONS_PORT": "0", "METRICS_TOKEN": TOKEN}) as gateway,
        at(operations_url(gateway)) as operations,
        at(gateway.url) as public,
    ):
        assert (await operations.get("/metrics")).status_code == 401
        assert (await operations.get("/metrics", headers=insider)).status_code == 200
        assert (await operations.get("/health")).json() == {"status": "ok"}
        assert "services" in (await operations.get("/health", headers=insider)).json()
        assert (await public.get("/health", headers=insider)).json() == {"status": "ok"}


async def test_an_operations_port_in_use_stops_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"PORT": "0", "OPERATIONS_PORT": str(port)}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **ports}
        async with running("serve", "--memory", folder=tmp_path, environment=environment) as process:
            out, _ = await process.communicate()
    assert process.returncode == 1
    problem = f"cannot listen on 127.0.0.1:{port}: Address already in use. Set OPERATIONS_PORT or OPERATIONS_HOST."
    assert problem in out.decode()


async def test_production_needs_no_token_at_the_operations_port(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    names = ("AMS_BASE_URL", "LETTA_BASE_URL", "LITELLM_BASE_URL", "SUPABASE_URL")
    keys = dict.fromkeys(("SUPABASE_SERVICE_KEY", "LETTA_API_KEY", "LITELLM_API_KEY"), "k")
    settings = {"ENVIRONMENT": "production", "HOST": "127.0.0.1", "PORT": "0", "OPERATIONS_PORT": "0"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings, **dict.fromkeys(names, url), **keys}
    async with running("serve", folder=tmp_path, environment=environment) as process:
        assert process.stdout is not None
        started = json.loads(await process.stdout.readline())
        async with at(f"http://127.0.0.1:{started['operations_port']}") as operations:
            assert set((await operations.get("/health")).json()["services"]) == {"ams", "letta", "litellm", "supabase"}
            assert (await operations.get("/metrics")).status_code == 200
        async with at(f"http://127.0.0.1:{started['port']}") as public:
            assert (await public.get("/health")).json() == {"status": "degraded"}
            assert (await public.get("/metrics")).status_code == 404
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
    assert "METRICS_TOKEN" not in out.decode()
