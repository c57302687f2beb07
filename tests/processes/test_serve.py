from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from app.embedded import http_client
from app.embedded.people import ADA
from tests.support.process import Gateway, running, serving
from tests.support.serving import free_port
from tests.support.websocket import PROTOCOL


async def shell(gateway: Gateway, script: str) -> dict[str, Any]:
    """Run a printed script with the address and command of the test, and return the JSON that the script prints."""
    script = script.replace("http://127.0.0.1:8000", gateway.url)
    script = script.replace(".venv/bin/agentgraph", f"{sys.executable} -m app")
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, stdout=asyncio.subprocess.PIPE, env={**os.environ, "no_proxy": "*"}
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(out)
    return answer


async def test_the_printed_query_can_be_pasted(tmp_path: Path) -> None:
    async with serving(tmp_path, forks=False) as gateway:
        pasted = [line for line in gateway.banner.splitlines() if re.match("export |curl |  -d ", line)]
        answer = await shell(gateway, "\n".join(pasted))
    assert answer["data"]["viewer"]["email"] == "ada@example.com"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
async def test_a_signal_ends_the_process_within_its_grace(tmp_path: Path, how: signal.Signals) -> None:
    async with serving(tmp_path, {"SHUTDOWN_GRACE_SECONDS": "1"}) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        messages = [{"role": "user", "content": "[[tokens=5000 delay=0.05]]"}]
        asked = {"model": "gpt-4o-mini", "stream": True, "messages": messages}
        url = gateway.url.replace("http", "ws") + "/graphql"
        async with (
            http_client.client(base_url=gateway.url) as client,
            connect(url, subprotocols=[PROTOCOL], proxy=None),
            client.stream("POST", "/v1/chat/completions", json=asked, headers=headers) as answer,
        ):
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            gateway.process.send_signal(how)
            async with asyncio.timeout(10):  # much longer than the grace period, for a busy machine
                await gateway.process.communicate()
        assert gateway.process.returncode in {-how, 128 + how}


async def test_model_calls_of_an_agent_go_through_the_gateway(tmp_path: Path) -> None:
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PUBLIC_URL": public}
    arguments = ("embedded", "--memory", "--port", "0")
    async with running(*arguments, folder=tmp_path, environment=environment, forks=False) as platform:
        assert platform.stdout is not None
        printed = (await platform.stdout.readuntil(b"Page for injecting faults")).decode()
        settings = dict(re.findall(r"^([A-Z_]+)=(\S+)$", printed, re.MULTILINE))
        async with serving(tmp_path, {"PORT": str(port), **settings}) as gateway:
            assert await turn_of_new_agent(public, gateway.token, settings) == "tok0 tok1 tok2"


async def turn_of_new_agent(public: str, token: str, settings: dict[str, str]) -> str:
    """Return the answer of a new agent, and check that the model call went through the gateway."""
    as_ada = {"authorization": f"Bearer {settings['SUPABASE_SERVICE_KEY']}", "x-user-id": ADA}
    said: dict[str, Any] = {"content": [{"text": "hi [[tokens=3 delay=0]]"}]}
    query = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } stream { id status text } } }"
    async with http_client.client(timeout=30) as client:
        asked = {"template_id": "researcher"}
        made = await client.post(f"{settings['AMS_BASE_URL']}/agents/create", json=asked, headers=as_ada)
        said |= {"to": {"agentId": made.json()["agent"]["id"]}, "waitSeconds": 20, "idempotencyKey": "once"}
        body = {"query": query, "variables": {"i": said}}
        headers = {"authorization": f"Bearer {token}"}
        answer = (await client.post(f"{public}/graphql", json=body, headers=headers)).json()
        metrics = (await client.get(f"{public}/metrics")).text
    assert '"/api/v1/agents/{user_id}/proxy/chat/completions",status="200"} 1.0' in metrics
    return str(answer["data"]["sendMessage"]["stream"]["text"])


async def test_the_lines_of_all_answered_requests_are_logged_before_a_signal_ends_the_process(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        async with http_client.client(base_url=gateway.url) as client:
            answers = await asyncio.gather(
                *(client.post("/v1/chat/completions", json=asked, headers=headers) for _ in range(8))
            )
            assert {answer.status_code for answer in answers} == {200}
            gateway.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                output, _ = await gateway.process.communicate()
    logged = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    lines = {answer.headers["x-request-id"]: [] for answer in answers}  # type: dict[str, list[str]]
    for line in logged:
        if line.get("request_id") in lines:
            lines[line["request_id"]].append(line["event"])
    assert set(map(tuple, lines.values())) == {("model call", "request")}
    assert logged[-1]["event"] == "stopped"
