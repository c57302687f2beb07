"""Run ``agentgraph`` in a process forked from one that has imported it: a tenth of the CPU of a new interpreter.

The forked process has its own folder, environment and standard streams, and runs the whole command except for the
imports. ``test_serve`` starts new interpreters.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMPORTED = ("app.cli", "app.commands.serve", "app.commands.embedded", "uvicorn.loops.uvloop", "uvicorn.lifespan.on")


class Forked:
    """A process with the interface of ``asyncio.subprocess.Process``. ``stdout`` includes standard error."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, told: asyncio.StreamReader, held: list[Any]) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._held = held
        self._ended = asyncio.create_task(self._end(told))

    async def _end(self, told: asyncio.StreamReader) -> int:
        self.returncode = int(await told.readline())
        return self.returncode

    async def wait(self) -> int:
        """Wait for the exit and return its status, negative for a signal."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, None]:
        """Read the output until the exit, and close the pipes."""
        out = await self.stdout.read()
        await self.wait()
        for one in self._held:
            one.close()
        return out, None

    def send_signal(self, how: int) -> None:
        """Send a signal, unless the process has exited."""
        if self.returncode is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        """Kill the process, unless it has exited."""
        self.send_signal(signal.SIGKILL)


async def forked(*arguments: str, folder: Path, environment: Mapping[str, str]) -> Forked:
    """Run ``agentgraph`` with these arguments in a folder, with only this environment."""
    mine, theirs = socket.socketpair()
    read, write = os.pipe()
    socket.send_fds(_forking(), [b"."], [theirs.fileno(), write])
    theirs.close()
    os.close(write)
    told, telling = await asyncio.open_connection(sock=mine)
    asked = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
    telling.write(json.dumps(asked).encode() + b"\n")
    stdout = asyncio.StreamReader()
    printing, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(read, "rb", buffering=0)
    )
    return Forked(int(await told.readline()), stdout, told, [telling, printing])


@cache
def _forking() -> socket.socket:
    """Connect to the process to fork from, which all worker processes of a test run share."""
    folder = Path(tempfile.gettempdir()) / f"agentgraph-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    folder.mkdir(mode=0o700, exist_ok=True)
    control = socket.socket(socket.AF_UNIX)
    locked = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        try:
            control.connect(str(folder / "forks"))
        except (FileNotFoundError, ConnectionRefusedError):
            _start(folder)
            control.connect(str(folder / "forks"))
    finally:
        os.close(locked)
    atexit.register(control.close)
    return control


def _start(folder: Path) -> None:
    """Start the process to fork from. It ends when the last worker process has closed its connection."""
    (folder / "forks").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "forks"))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks", str(listener.fileno())],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(process.wait)


def _serve(listener: socket.socket) -> dict[str, Any]:
    """Fork a process for each request of a worker process. Returns in that process, with the request."""
    workers: list[socket.socket] = []
    while True:
        for ready in select.select([listener, *workers], [], [])[0]:
            if ready is listener:
                workers.append(listener.accept()[0])
                continue
            given = socket.recv_fds(ready, 1, 2)
            if not given[0]:
                workers.remove(ready)
                ready.close()
                continue
            told, output = given[1]
            if os.fork() == 0:
                for one in (listener, *workers):
                    one.close()
                return _watch(socket.socket(fileno=told), output)
            os.close(told)
            os.close(output)
            _reap(os.WNOHANG)
        if not workers:
            shutil.rmtree(Path(listener.getsockname()).parent)
            _reap(0)
            os._exit(0)


def _reap(how: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, how)[0]:
            pass


def _watch(told: socket.socket, output: int) -> dict[str, Any]:
    """Fork the process that runs the command; send its id, then its exit status. Returns in that process.

    It is killed when the connection closes.
    """
    with told.makefile() as lines:
        asked: dict[str, Any] = json.loads(lines.readline())
    ends, ended = os.pipe()  # the process holds its other end, so that reading it ends when the process does
    if (pid := os.fork()) == 0:
        told.close()
        os.close(ends)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        return asked
    os.close(output)
    os.close(ended)
    told.sendall(f"{pid}\n".encode())
    watched: list[int | socket.socket] = [ends, told]
    if ends not in select.select(watched, [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    with suppress(OSError):
        told.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(asked: dict[str, Any]) -> None:
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["agentgraph", *asked["arguments"]]


if __name__ == "__main__":
    gc.disable()
    from app.__main__ import main
    from schema.build import build_schema

    for name in IMPORTED:
        import_module(name)
    build_schema()
    gc.freeze()  # a collection writes to all that it visits, which would be copied for each process
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
    sys.exit(main())
