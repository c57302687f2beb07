"""The snippets of the landing page."""

from __future__ import annotations

import html
import re
from pathlib import Path

import httpx
import pytest

from app.embedded import http_client
from tests.docs.examples import ExampleRunner, installed_shells
from tests.docs.judge import Answer, Output, faults
from tests.support.process import serving

HELLO = "Let me think that through with you. You asked about “Hello”. …"
ANSWERS = {
    "query": Answer(
        "json", '{"data": {"viewer": {"email": "ada@example.com", "agents": {"nodes": [{"name": "…"}, …]}}}}'
    ),
    "subscription": Answer(
        "text", '…\ndata: {"data":{"completion":{"outcome":"COMPLETED"}}}\n\nevent: complete\ndata:'
    ),
    "openai": Answer("text", HELLO),
}


async def pasted(client: httpx.AsyncClient) -> dict[str, str]:
    text = (await client.get("/")).text
    assert "<td>embedded</td>" in text
    found = re.findall(r'<pre id="(\w+)".*?><code>(.*?)</code></pre>', text, re.DOTALL)
    return {name: html.unescape(snippet) for name, snippet in found}


async def test_the_snippets_of_the_landing_page_can_be_pasted(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        async with http_client.client(base_url=gateway.url) as client:
            given = await pasted(client)
        runner, token = ExampleRunner(gateway, tmp_path), given.pop("token")
        assert list(given) == list(ANSWERS)
        outputs: dict[str, list[Output]] = {"openai": [await runner.python(given["openai"])]}
        for name in ("query", "subscription"):
            outputs[name] = [await runner.shell(f"{token}\n{given[name]}", shell) for shell in installed_shells()]
    for name, answer in ANSWERS.items():
        for output in outputs[name]:
            assert faults(output, answer) == [], name


@pytest.mark.parametrize("host", ["", "rebound.example"])
async def test_the_fault_page_is_linked_only_for_loopback_hosts(tmp_path: Path, host: str) -> None:
    async with serving(tmp_path) as gateway, http_client.client(base_url=gateway.url) as client:
        text = (await client.get("/", headers={"host": host} if host else {})).text
        switch = re.search(r'<a href="(.+?)">fault injection', text)
        assert bool(switch) == (not host)
        if switch:
            assert "letta" in (await client.get(switch[1])).text
