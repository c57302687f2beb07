from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.process import Gateway, serving


async def shell(gateway: Gateway, script: str) -> dict:
    """What a script prints, as JSON; pasted as it stands but for the port and the place of the command."""
    script = script.replace("http://127.0.0.1:8000", gateway.url)
    script = script.replace(".venv/bin/agentgraph", f"{sys.executable} -m app")
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, stdout=asyncio.subprocess.PIPE, env={**os.environ, "no_proxy": "*"}
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict = json.loads(out)
    return answer


async def test_the_query_that_the_start_prints_answers_when_pasted(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        pasted = [line for line in gateway.banner.splitlines() if re.match("export |curl |  -d ", line)]
        answer = await shell(gateway, "\n".join(pasted))
    assert answer["data"]["viewer"]["email"] == "ada@example.com"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
async def test_a_signal_ends_the_process_within_its_grace_whatever_is_open(tmp_path: Path, how: signal.Signals) -> None:
    async with serving(tmp_path, SHUTDOWN_GRACE_SECONDS="1") as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        asked = {
            "model": "gpt-4o-mini",
            "stream": True,
            "messages": [{"role": "user", "content": "[[tokens=5000 delay=0.05]]"}],
        }
        url = gateway.url.replace("http", "ws") + "/graphql"
        async with (
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client,
            connect(url, subprotocols=["graphql-transport-ws"], proxy=None),
            client.stream("POST", "/v1/chat/completions", json=asked, headers=headers) as answer,
        ):
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            gateway.process.send_signal(how)
            async with asyncio.timeout(10):  # far more than the grace, on a busy machine
                await gateway.process.communicate()
        assert gateway.process.returncode in {-how, 128 + how}
