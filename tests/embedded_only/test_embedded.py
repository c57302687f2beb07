from __future__ import annotations

from typing import Any

from app.embedded import http_client
from app.embedded.server import EmbeddedOptions, EmbeddedPlatform


async def test_a_port_serves_all_services_with_faults_and_a_log() -> None:
    platform = EmbeddedPlatform(EmbeddedOptions())
    await platform.start()
    base = platform.urls["ams"].removesuffix("/ams")
    page = platform.page_url.removeprefix(base)
    async with http_client.client(base_url=base) as client:
        assert (await client.get("/ams/health")).json()["status"] == "ok"
        assert (await client.get("/letta/v1/health/")).json() == {"version": "0.16.8", "status": "ok"}
        assert (await client.get("/litellm/health/liveliness")).json() == "I'm alive!"
        assert (await client.get("/letta/v1/agents/")).status_code == 401
        assert (await client.put(f"{page}faults", json={"service": "letta", "status": 503})).status_code == 200
        assert (await client.get("/letta/v1/health/")).status_code == 503
        refused: list[Any] = [{}, {"service": "nope"}, {"service": "ams", "nope": 1}, []]
        for wrong in refused:
            assert (await client.put(f"{page}faults", json=wrong)).status_code == 400
        assert (await client.delete(f"{page}faults")).json() == {}
        assert (await client.get("/letta/v1/health/")).status_code == 200
        calls = (await client.get(f"{page}calls")).json()
        assert calls[0] == {"service": "ams", "method": "GET", "path": "/health", "status": 200}
        assert (await client.get(f"{page}stats")).json() == {"inflight": 0, "total": 0, "disconnected": 0}
    await platform.stop()
