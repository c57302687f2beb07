"""Pages in headless Chromium without access to external hosts. The tests of a process share the browser.

Each page has a new profile.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.capabilities import chromium_path
from tests.support.node import FOLDER


@dataclass
class Page:
    """A tab. Every verb waits for its element; a timeout is an AssertionError with the page's text.

    The verbs are in ``tests/node/page.mjs``.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def do(self, verb: str, **rest: Any) -> Any:
        self.writer.write(json.dumps({"verb": verb, **rest}).encode() + b"\n")
        line = await self.reader.readline()
        assert line, "the browser is gone"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        assert "error" not in answer, f"{answer['error']}\n--- the page ---\n{answer['page']}"
        return answer["ok"]

    async def click(self, name: str, role: str = "button") -> None:
        await self.do("click", role=role, name=name)

    async def say(self, text: str) -> None:
        """Write a message and send it."""
        await self.do("fill", label="Your message", text=text)
        await self.do("press", label="Your message", key="Enter")

    async def see(self, text: str, selector: str = "body") -> None:
        await self.do("see", selector=selector, text=text)

    async def gone(self, selector: str) -> None:
        await self.do("see", selector=selector, gone=True)

    async def read(self, selector: str) -> list[dict[str, Any]]:
        """Return the matching elements in order: ``id``, ``kind`` (the classes), ``html`` and ``text``."""
        found: list[dict[str, Any]] = await self.do("read", selector=selector)
        return found


@asynccontextmanager
async def opened_page(url: str) -> AsyncIterator[Page]:
    """Open a tab. It must make no external request and log no error."""
    async with _script("page.mjs", url=url) as (reader, writer):
        page = Page(reader, writer)
        yield page
        seen = await page.do("end")
        assert seen == {"strangers": [], "faults": []}, seen


async def run_in_browser(script: str, **args: Any) -> list[Any]:
    """Return the output of a script of ``tests/node``. If it fails, raise AssertionError with its error."""
    async with _script(script, **args) as (reader, _):
        *said, last = [json.loads(line) for line in (await reader.read()).splitlines()] or ["the browser is gone"]
    assert last == {"failed": None}, f"{script}: {last}\n{said}"
    return said


@asynccontextmanager
async def _script(name: str, **args: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Run a script in the browser until the context ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", _browser_port(), limit=2**24)
    try:
        writer.write(json.dumps({"script": name, "args": args}).encode() + b"\n")
        yield reader, writer
    finally:
        writer.close()


@cache
def _browser_port() -> int:
    """Start the browser, which ends with this process, and return the port for scripts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            ["node", "browser_host.mjs", json.dumps({"fd": listener.fileno(), "chromium": chromium_path()})],
            cwd=FOLDER,
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        atexit.register(_end, process)
        port: int = listener.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=10)  # the browser ends with its standard input
    except subprocess.TimeoutExpired:
        process.kill()
