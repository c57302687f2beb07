"""Server processes of a comparison: started on given cores, waited for, and stopped with their descendants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.machine import family
from bench.support import Running

START_SECONDS = 120.0


class NotInstalled(Exception):
    """Raised if a program that a scenario needs is not installed. The message has the instruction for installation."""


def needed(program: str, how: str) -> str:
    """Return the path of a program. Raises NotInstalled with the instruction ``how`` if the program is missing."""
    found = shutil.which(program)
    if found is None:
        raise NotInstalled(f"{program} is not installed: {how}")
    return found


def free_port() -> int:
    """Return a free port on this machine."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def listening(
    command: Sequence[str], port: int, *, cores: set[int], folder: Path | None = None, env: Mapping[str, str] | None
) -> AsyncIterator[Running]:
    """Run a server until the context ends. Its output goes to a file.

    Raises RuntimeError with the end of that output if the server ends before it listens, or if another server does.
    """
    if _is_listening(port):
        raise RuntimeError(f"port {port}, which the benchmark needs, is in use")
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder or Path("/"),
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=partial(os.sched_setaffinity, 0, cores),
        )
        try:
            due = time.monotonic() + START_SECONDS
            while not _is_listening(port):
                if process.returncode is not None or time.monotonic() > due:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read()[-2000:].decode(errors='replace')}")
                await asyncio.sleep(0.05)
            yield Running(port, process.pid)
        finally:
            for pid in reversed(list(family(process.pid))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
