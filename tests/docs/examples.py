"""Run the examples of a page in order, against one gateway."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.embedded import http_client
from tests.docs.judge import Output, faults
from tests.docs.markdown import ROOT, Snippet
from tests.support.capabilities import NODE_MODULES
from tests.support.doors import event_stream
from tests.support.process import Gateway, serving

BASE = "http://127.0.0.1:8000"
RUN = {"sh", "graphql", "js", "python"}
SHELLS = {
    "bash": ("bash", "--noprofile", "--norc", "-i", "-s"),
    "zsh": ("zsh", "-f", "-i", "-s"),
}
"""Interactive shells, which expand history and, in zsh, do not accept comments."""
_STATUS = "http-status "
_SECONDS = 60


def installed_shells() -> list[str]:
    return [name for name in SHELLS if shutil.which(name)]


@asynccontextmanager
async def example_runner(folder: Path) -> AsyncIterator[ExampleRunner]:
    settings = {"XDG_DATA_HOME": str(folder / "data"), "LOG_LEVEL": "WARNING"}
    async with serving(folder, settings) as gateway:
        yield ExampleRunner(gateway, folder)


class ExampleRunner:
    """Runs examples with a gateway, a token and a folder. ``agent-…`` in an example is the user's first agent."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self._agent_id = ""
        self.runners: dict[str, Callable[[str], Awaitable[Output]]] = {
            "sh": self.shell,
            "graphql": self.graphql,
            "js": self.node,
            "python": self.python,
        }
        (folder / ".curlrc").write_text(f'write-out = "%{{stderr}}{_STATUS}%{{http_code}}\\n"\n')

    async def run(self, snippet: Snippet) -> list[str]:
        """Return the faults of an example, in the first shell that has any."""
        code = await self.with_addresses(snippet.code)
        if snippet.language != "sh":
            return faults(await self.runners[snippet.language](code), snippet.answer)
        for shell in installed_shells():
            if found := faults(await self.shell(code, shell), snippet.answer):
                return [f"{shell}: {fault}" for fault in found]
        return []

    async def with_addresses(self, code: str) -> str:
        """Return the code with this gateway's address and an agent's id."""
        url = self.gateway.url
        code = code.replace(BASE, url).replace(BASE.replace("http", "ws"), url.replace("http", "ws"))
        return code.replace("agent-…", await self.agent_id())

    async def agent_id(self) -> str:
        if not self._agent_id:
            answer = json.loads((await self.graphql("{ viewer { agents(first: 1) { nodes { id } } } }")).text)
            self._agent_id = answer["data"]["viewer"]["agents"]["nodes"][0]["id"]
        return self._agent_id

    async def graphql(self, code: str) -> Output:
        """Run a document; of a subscription, return all payloads, one per line."""
        async with http_client.client(
            base_url=self.gateway.url,
            headers={"authorization": f"Bearer {self.gateway.token}"},
            timeout=_SECONDS,
        ) as client:
            if not re.search(r"^\s*subscription", code, re.MULTILINE):
                answer = await client.post("/graphql", json={"query": code})
                return Output(answer.text, statuses=(answer.status_code,))
            headers = {"accept": "text/event-stream"}
            async with client.stream("POST", "/graphql", json={"query": code}, headers=headers) as response:
                if response.status_code != 200:
                    return Output((await response.aread()).decode(), statuses=(response.status_code,))
                async with aclosing(event_stream(response)) as payloads:  # type: ignore[type-var]
                    follows = "conversation(id:" in code
                    heard = [one async for one in (self._followed(client, payloads) if follows else payloads)]
            lines = [json.dumps(payload, ensure_ascii=False) for payload in heard]
            return Output("\n".join(lines), statuses=(response.status_code,))

    async def _followed(
        self, client: httpx.AsyncClient, payloads: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow a conversation until the end of a turn that this method starts."""
        content = [{"text": "Hello!"}]
        asked = {"to": {"agentId": await self.agent_id()}, "content": content, "idempotencyKey": str(uuid.uuid4())}
        query = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }"
        sending = asyncio.create_task(client.post("/graphql", json={"query": query, "variables": {"i": asked}}))
        async for payload in payloads:
            yield payload
            if "errors" in payload or payload["data"]["conversation"]["__typename"] == "StreamEnded":
                break
        await sending

    async def shell(self, code: str, shell: str = "bash") -> Output:
        """Run lines as pasted. Lines with ``make`` are not run; their targets must exist."""
        targets = re.findall(r"^make ([\w-]+)", code, re.MULTILINE)
        makefile = (ROOT / "Makefile").read_text()
        missing = [target for target in targets if f"\n{target}:" not in makefile]
        kept = [line for line in code.splitlines() if not re.match(r"make |git clone|cd ", line)]
        script = "\n".join(kept).replace(".venv/bin/agentgraph", f"{sys.executable} -m app")
        output = await self._process(*SHELLS[shell], given=f"set -e\n{script}\nexit\n")
        statuses = tuple(int(found) for found in re.findall(rf"{_STATUS}(\d+)", output.stderr))
        wrong = f"make has no {missing}" if missing else ""
        return Output(output.text, output.exit_code or len(missing), statuses, output.stderr + wrong)

    async def python(self, code: str) -> Output:
        file = self.folder / "example.py"
        file.write_text(code)
        return await self._process(sys.executable, str(file))

    async def node(self, code: str) -> Output:
        file = self.folder / "example.mjs"
        file.write_text(code)
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(NODE_MODULES)
        return await self._process("node", str(file))

    async def _process(self, *command: str, given: str = "") -> Output:
        stored = self.folder / "data" / "agentgraph" / "dev-password"
        password = stored.read_text() if stored.exists() else ""
        own = {
            "TOKEN": self.gateway.token,
            "PASSWORD": password,
            "no_proxy": "*",
            "PYTHONPATH": str(ROOT),
            "CURL_HOME": str(self.folder),
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**os.environ, **own, "XDG_DATA_HOME": str(self.folder / "data")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # an interactive shell must not take the terminal
        )
        try:
            async with asyncio.timeout(_SECONDS):
                out, err = await process.communicate(given.encode())
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        return Output(out.decode(), process.returncode, stderr=err.decode())
