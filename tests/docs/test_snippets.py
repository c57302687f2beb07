"""Every example of the docs, run as a reader would run it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.docs.markdown import PAGES, ROOT, Snippet, name_of, snippets
from tests.support.capabilities import NODE_MODULES
from tests.support.doors import event_stream
from tests.support.process import Gateway, serving

RUN = {"sh", "graphql", "js", "python"}
SHOWN = {"json", "text", "ini", "tsx", "yaml"}
QUOTED = ("examples/*/src/**/*.ts*", "tests/node/cache/*.mjs", "tests/node/cache/relay/*.js")
WITH_CODE = [page for page in PAGES if snippets(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_each_block_says_what_it_is(page: Path) -> None:
    assert {one.language for one in snippets(page)} <= RUN | SHOWN


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_what_is_quoted_from_an_example_stands_there(page: Path) -> None:
    sources = [path.read_text() for pattern in QUOTED for path in ROOT.glob(pattern)]
    for one in snippets(page):
        if one.language == "tsx":
            pieces = [piece.strip("\n") for piece in re.split(r"^// …$", one.code, flags=re.MULTILINE)]
            assert any(all(piece in source for piece in pieces) for source in sources), one.code


EXAMPLES = [
    pytest.param(one, id=f"{name_of(page)} {number} {one.heading}")
    for page in WITH_CODE
    if not page.name.endswith(".ru.md")  # the same code
    for number, one in enumerate((one for one in snippets(page) if one.language in RUN), 1)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One gateway for all examples, as a reader has one."""
    folder, data = tmp_path_factory.mktemp("examples"), tmp_path_factory.getbasetemp() / "data"
    settings = {"XDG_DATA_HOME": str(data), "LOG_LEVEL": "WARNING", "STREAM_HEARTBEAT_SECONDS": "0.5"}
    async with serving(folder, **settings) as gateway:
        headers = {"authorization": f"Bearer {gateway.token}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
            yield Place(gateway, folder, client, await first_agent(client))


@pytest.mark.needs_node
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_examples_run(example: Snippet, place: Place) -> None:
    await place.run(example)


async def first_agent(client: httpx.AsyncClient) -> str:
    asked = {"query": "{ viewer { agents(first: 1) { nodes { id } } } }"}
    answer = (await client.post("/graphql", json=asked)).json()
    return str(answer["data"]["viewer"]["agents"]["nodes"][0]["id"])


class Place:
    """Where examples are run: a gateway, a token, and ids to put where an example has ``agent-…``."""

    def __init__(self, gateway: Gateway, folder: Path, client: httpx.AsyncClient, agent_id: str) -> None:
        self.gateway = gateway
        self.folder = folder
        self.client = client
        self.agent_id = agent_id
        self.runners: dict[str, Callable[[str], Awaitable[str]]] = {
            "sh": self.shell,
            "graphql": self.graphql,
            "js": self.node,
            "python": self.python,
        }

    async def run(self, snippet: Snippet) -> None:
        code = snippet.code.replace("http://127.0.0.1:8000", self.gateway.url).replace("agent-…", self.agent_id)
        code = code.replace("ws://127.0.0.1:8000", self.gateway.url.replace("http", "ws"))
        try:
            out = await self.runners[snippet.language](code)
        except AssertionError as error:
            raise AssertionError(f"{snippet.heading}\n{snippet.code}\n{error}") from error
        assert "Traceback" not in out

    async def graphql(self, code: str) -> str:
        """One document: a subscription is read to its end, and nothing may fail."""
        if not re.search(r"^\s*subscription", code, re.MULTILINE):
            answer = (await self.client.post("/graphql", json={"query": code})).json()
            assert "errors" not in answer, answer
            return str(answer)
        headers = {"accept": "text/event-stream"}
        async with self.client.stream("POST", "/graphql", json={"query": code}, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async with aclosing(event_stream(response)) as payloads:  # type: ignore[type-var]
                if "conversation(id:" in code:
                    heard = await self.followed(payloads)
                else:
                    heard = [payload async for payload in payloads]
        assert not [payload for payload in heard if "errors" in payload], heard
        return str(heard)

    async def followed(self, payloads: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """A conversation is followed without end: what is heard of one message that is sent meanwhile."""
        asked = {"to": {"agentId": self.agent_id}, "content": [{"text": "hi"}], "idempotencyKey": str(uuid.uuid4())}
        query = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }"
        sending = asyncio.create_task(self.client.post("/graphql", json={"query": query, "variables": {"i": asked}}))
        heard = []
        async for payload in payloads:
            heard.append(payload)
            if payload["data"]["conversation"]["__typename"] == "StreamEnded":
                break
        await sending
        return heard

    async def shell(self, code: str) -> str:
        """The lines that a reader pastes. ``make`` itself is what runs this test: its targets must exist."""
        targets = re.findall(r"^make ([\w-]+)", code, re.MULTILINE)
        makefile = (ROOT / "Makefile").read_text()
        assert [target for target in targets if f"\n{target}:" not in makefile] == []
        kept = [line for line in code.splitlines() if not re.match(r"make |git clone|cd ", line)]
        script = "\n".join(kept).replace(".venv/bin/agentgraph", f"{sys.executable} -m app")
        return await self._process("bash", "-euc", script)

    async def python(self, code: str) -> str:
        file = self.folder / "example.py"
        file.write_text(code)
        return await self._process(sys.executable, str(file))

    async def node(self, code: str) -> str:
        file = self.folder / "example.mjs"
        file.write_text(code)
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(NODE_MODULES)
        return await self._process("node", str(file))

    async def _process(self, *command: str) -> str:
        environment = {"TOKEN": self.gateway.token, "no_proxy": "*", "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            out = (await process.communicate())[0].decode()
        assert process.returncode == 0, out
        return out
