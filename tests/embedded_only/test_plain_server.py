"""The application behind a server that is not configured by the gateway, such as ``uvicorn --factory``."""

from __future__ import annotations

import asyncio
import io
import socket

import httpx
import pytest
import uvicorn

from app.logs import make_logger
from app.main import create_app
from app.telemetry import Telemetry
from tests.support.settings import settings_of

pytestmark = pytest.mark.timeout(30)

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens on the port."""


async def test_a_plain_server_serves_the_application() -> None:
    given = {f"{name}_base_url": NOWHERE for name in ("ams", "letta", "litellm")}
    settings = settings_of(**given, supabase_service_key="k", letta_api_key="k", litellm_api_key="k")
    app = create_app(settings, Telemetry(make_logger("INFO", io.StringIO())))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            answer = await client.post("/graphql", json={"query": "{ __typename }"})
            assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})
            assert (await client.get("/ping")).status_code == 200
    finally:
        server.should_exit = True
        await serving
