"""A page in headless Chromium without access to external hosts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.capabilities import chromium_path
from tests.support.node import FOLDER


@dataclass
class Page:
    """A tab. Every verb waits for its element; a timeout is an AssertionError with the page's text.

    The verbs are in ``tests/node/page.mjs``.
    """

    process: asyncio.subprocess.Process

    async def do(self, verb: str, **rest: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"verb": verb, **rest}).encode() + b"\n")
        await self.process.stdin.drain()
        line = await self.process.stdout.readline()
        assert line, "the browser is gone"
        answer = json.loads(line)
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
    """Open a tab in a new browser. It must make no external request and log no error."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "page.mjs",
        json.dumps({"url": url, "chromium": chromium_path()}),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        page = Page(process)
        yield page
        seen = await page.do("end")
        assert seen == {"strangers": [], "faults": []}, seen
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the script ends with what it reads
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
