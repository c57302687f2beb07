"""The command as a user runs it: a process of its own, and what it prints."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Gateway:
    """``agentgraph serve``, started: its address, and the token and text it greets with."""

    url: str
    token: str
    banner: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def serving(folder: Path, *, keeps: bool = False, **settings: str) -> AsyncIterator[Gateway]:
    """Run ``agentgraph serve`` in a folder, on a free port, until the context ends.

    Its embedded platform is in memory, so that several can run, unless it ``keeps`` its data in the data folder.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", *([] if keeps else ["--memory"])),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PORT": "0", **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        banner = ""
        while "curl " not in banner:
            line = (await process.stdout.readline()).decode()
            assert line, banner
            banner += line
        banner += (await process.stdout.readline()).decode()
        token = re.search(r"export TOKEN=(\S+)", banner)
        url = re.search(r"Start here +(http://127\.0\.0\.1:\d+)", banner)
        assert token, banner
        assert url, banner
        yield Gateway(url[1], token[1], banner, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
