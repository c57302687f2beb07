"""Letta Code in cloud mode, which calls Letta's REST API: its command, and its App Server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.capabilities import LETTA_CODE

STEP_SECONDS = 60
"""The time limit of each step. On an idle machine, a step takes at most three seconds."""

_QUIET = {"LETTA_CODE_TELEM": "0", "DO_NOT_TRACK": "1", "DISABLE_AUTOUPDATER": "1"}
"""With these settings, Letta Code connects only to ``LETTA_BASE_URL``: without telemetry and updates."""

Json = dict[str, Any]


@dataclass(frozen=True)
class LettaCode:
    """Letta Code with a home and a working directory of its own.

    Attributes:
        folder: the parent of both.
        letta: ``LETTA_BASE_URL`` and ``LETTA_API_KEY``.
    """

    folder: Path
    letta: Mapping[str, str]

    @property
    def home(self) -> Path:
        return _made(self.folder / "home")

    @property
    def directory(self) -> Path:
        """The working directory."""
        return _made(self.folder / "project")

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command, and return its status, output and errors."""
        process = await self._start(*arguments, stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                output, errors = await process.communicate()
        finally:
            await _end(process)
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    async def json(self, *arguments: str) -> Any:
        """Run the command, and return the JSON that it prints."""
        status, output, errors = await self.run(*arguments)
        assert status == 0, errors
        return json.loads(output)

    @asynccontextmanager
    async def app_server(self) -> AsyncIterator[AppServerClient]:
        """Run the App Server on a free port, and connect to it."""
        process = await self._start("--backend", "cloud", "server", "--listen", stderr=asyncio.subprocess.STDOUT)
        try:
            url = await _url_of(process)
            async with connect(url, proxy=None, max_size=None) as socket:
                yield AppServerClient(socket)
        finally:
            await _end(process)

    async def _start(self, *arguments: str, stderr: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(str(LETTA_CODE), *arguments),
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "SHELL": "/bin/bash", "HOME": str(self.home), **self.letta, **_QUIET},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )


@dataclass
class AppServerClient:
    """A client of the App Server's WebSocket protocol. ``deltas`` has the stream of the last turn."""

    socket: ClientConnection
    deltas: list[Json] = field(default_factory=list)
    _asked: int = 0

    async def ask(self, kind: str, **body: Any) -> Json:
        """Send a command, and return its answer, which must be a success."""
        self._asked += 1
        asked = f"{kind}-{self._asked}"
        await self.socket.send(json.dumps({"type": kind, "request_id": asked, **body}))
        async with asyncio.timeout(STEP_SECONDS):
            while (frame := await self._frame()).get("request_id") != asked:
                pass
        assert frame.get("success", frame.get("accepted")), frame
        return frame

    async def turn(self, runtime: Json, text: str) -> Json:
        """Send a message, and return the event that ends its turn. The turn includes the tool calls."""
        self.deltas = []
        messages = [{"role": "user", "content": text}]
        await self.ask("input", runtime=runtime, payload={"kind": "create_message", "messages": messages})
        async with asyncio.timeout(STEP_SECONDS):
            while (frame := await self._frame())["type"] != "turn_finished":
                if frame["type"] == "stream_delta":
                    self.deltas.append(frame["delta"])
        return frame

    async def _frame(self) -> Json:
        frame: Json = json.loads(await self.socket.recv())
        return frame


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _url_of(process: asyncio.subprocess.Process) -> str:
    """Return the URL that the App Server prints when it listens."""
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(STEP_SECONDS):
        while not (found := re.search(r"WebSocket: (ws://127\.0\.0\.1:\d+/ws)", printed)):
            line = await process.stdout.readline()
            assert line, printed
            printed += line.decode()
    return found[1]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
