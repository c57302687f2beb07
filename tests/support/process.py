"""Run the command in a process and read its output."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.forks import ROOT, Forked, forked

Process = Forked | asyncio.subprocess.Process


@dataclass
class Gateway:
    """A started ``agentgraph serve``: its address, and the token and text that it prints."""

    url: str
    token: str
    banner: str
    process: Process


@asynccontextmanager
async def serving(
    folder: Path, settings: Mapping[str, str] | None = None, *, keeps: bool = False, forks: bool = True
) -> AsyncIterator[Gateway]:
    """Run ``agentgraph serve`` in a folder, on a free port, until the context ends.

    The embedded platform is in memory, so that several can run, unless it ``keeps`` its data in the data folder.
    Without ``forks`` the process is a new interpreter.
    """
    arguments = ["serve", *([] if keeps else ["--memory"])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "0", **(settings or {})}
    async with running(*arguments, folder=folder, environment=environment, forks=forks) as process:
        assert process.stdout is not None
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


@asynccontextmanager
async def running(
    *arguments: str, folder: Path, environment: Mapping[str, str], forks: bool = True
) -> AsyncIterator[Process]:
    """Run ``agentgraph`` until the context ends."""
    process: Process
    if forks:
        process = await forked(*arguments, folder=folder, environment=environment)
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", *arguments),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
