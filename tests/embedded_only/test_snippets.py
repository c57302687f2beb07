"""What the front page gives to paste, pasted."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import sys
from pathlib import Path

import httpx

from tests.support.process import serving


async def printed(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "no_proxy": "*"}
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_the_front_pages_snippets(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            text = (await client.get("/")).text
            switch = re.search(r'<a href="(.+?)">the fault switch', text)
            assert switch
            assert "letta" in (await client.get(switch[1])).text
            assert "fault switch" not in (await client.get("/", headers={"host": "rebound.example"})).text
        found = re.findall(r'<pre id="(\w+)".*?><code>(.*?)</code></pre>', text, re.DOTALL)
        pasted = {name: html.unescape(snippet) for name, snippet in found}
        assert list(pasted) == ["token", "query", "subscription", "openai"]
        assert "<td>embedded</td>" in text

        begin = pasted["token"] + "\n"
        answer = json.loads(await printed("bash", "-euc", begin + pasted["query"]))
        assert answer["data"]["viewer"]["email"] == "ada@example.com"
        stream = await printed("bash", "-euc", begin + pasted["subscription"])
        assert stream.count("event: next") > 2
        assert '"COMPLETED"' in stream
        program = f'{begin}exec {sys.executable} -c "$0"'
        assert len(await printed("bash", "-euc", program, pasted["openai"])) > 20
