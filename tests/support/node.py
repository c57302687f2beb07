"""Run a script of ``tests/node`` and read its JSON lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "node"
_LINE_BYTES = 1 << 24


async def run_node(script: str, **args: Any) -> list[Any]:
    """Return the script's output. If it fails, raise AssertionError with its standard error."""
    return [line async for line in node_lines(script, **args)]


async def node_lines(script: str, **args: Any) -> AsyncIterator[Any]:
    """Yield the script's output while it runs. If it fails, raise AssertionError with its standard error."""
    process = await asyncio.create_subprocess_exec(
        *("node", "--experimental-eventsource", "--no-warnings", script, json.dumps(args)),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.create_task(process.stderr.read())
    said: list[str] = []
    try:
        async for line in process.stdout:
            said.append(line.decode())
            if line.strip():
                yield json.loads(line)
    finally:
        if not process.stdout.at_eof():
            process.kill()
        status, errors = await process.wait(), await reading
    assert status == 0, f"{script}: exit {status}\n{errors.decode()}{''.join(said)}"
