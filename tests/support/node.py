"""Run a script of ``tests/node`` and read its JSON lines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "node"


async def run_node(script: str, **args: Any) -> list[Any]:
    """Return the script's output. If it fails, raise AssertionError with its standard error."""
    process = await asyncio.create_subprocess_exec(
        "node", script, json.dumps(args), cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{script}: exit {process.returncode}\n{err.decode()}{out.decode()}"
    return [json.loads(line) for line in out.decode().splitlines() if line]
