"""Shared by the scenarios: processes of the gateway, of mock services and of clients, and their CPU time."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import uvloop

from app import devtokens
from app.embedded.people import ADA

P = ParamSpec("P")
R = TypeVar("R")

ROOT = Path(__file__).parents[1]
_CPU_CLOCK = 2

UNLIMITED = {
    "SIGN_IN_FAILURES_PER_MINUTE": "0",
    "RATE_LIMIT_GENERAL": "0",
    "RATE_LIMIT_LLM": "0",
    "RATE_LIMIT_PROXY": "0",
    "CACHE": "off",
}
"""Settings of a gateway without rate limits, in which each request makes its upstream calls."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command line.

    Attributes:
        base: the git revision to compare with.
        rounds: the number of measurements of each side of a comparison.
        seconds: the duration of a load.
    """

    base: str = "9ad3bd9"
    rounds: int = 5
    seconds: float = 30.0


@dataclass
class Table:
    """The result of a scenario: rows of figures, and whether each target was met."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: dict[str, bool] = field(default_factory=dict)

    def text(self) -> str:
        """Return the table in columns."""
        lines = [tuple(self.header), *(tuple(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in lines) for column in range(len(self.header))]
        shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in lines]
        told = [f"{'met   ' if met else 'MISSED'}  {name}" for name, met in self.targets.items()]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in [*shown, *told])])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile ``share`` (0 to 1) of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process.

    The clock is that of ``clock_getcpuclockid``. ``/proc`` counts ticks, and misses a process that sleeps at each tick.
    """
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


@dataclass(frozen=True)
class Running:
    """A process that serves on a port of this machine."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return the process's URL."""
        return f"http://127.0.0.1:{self.port}"


def token(user_id: str = ADA) -> str:
    """Return a token that the gateways of these scenarios accept."""
    return devtokens.make_token(devtokens.signing_key(), user_id=user_id, email="ada@example.com")


@asynccontextmanager
async def started(
    *command: str, tree: Path = ROOT, settings: dict[str, str] | None = None, announced: Callable[[str], int | None]
) -> AsyncIterator[Running]:
    """Run a command until the context ends. ``announced`` returns the port from a line of its output, or ``None``."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree), "PORT": "0", **(settings or {})},
            stdout=log,
            stderr=log,
        )
        try:
            yield Running(await _port(process, Path(log.name), announced), process.pid)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _port(process: asyncio.subprocess.Process, log: Path, announced: Callable[[str], int | None]) -> int:
    while process.returncode is None:
        port = next((found for line in _lines(log) if (found := announced(line)) is not None), None)
        if port is not None:
            return port
        await asyncio.sleep(0.05)
    raise RuntimeError("\n".join(_lines(log)))


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _first_number(line: str) -> int | None:
    return int(line) if line.isdecimal() else None


def _start_here(line: str) -> int | None:
    found = re.search(r"Start here +http://127\.0\.0\.1:(\d+)", line)
    return None if found is None else int(found[1])


@asynccontextmanager
async def upstreams() -> AsyncIterator[Running]:
    """Run the mock services of ``bench.upstreams``."""
    async with started("-m", "bench.upstreams", announced=_first_number) as running:
        yield running


@asynccontextmanager
async def gateway(behind: Running, *, tree: Path = ROOT, **settings: str) -> AsyncIterator[Running]:
    """Run a gateway from the source in ``tree`` in front of mock services. Its log goes to a file."""
    given = {
        "AMS_BASE_URL": f"{behind.url}/ams",
        "SUPABASE_SERVICE_KEY": "bench",
        "LETTA_BASE_URL": f"{behind.url}/letta",
        "LETTA_API_KEY": "bench",
        "LITELLM_BASE_URL": f"{behind.url}/litellm",
        "LITELLM_API_KEY": "bench",
        **UNLIMITED,
        **settings,
    }
    async with started("-m", "app", "serve", tree=tree, settings=given, announced=_start_here) as running:
        yield running


@contextmanager
def revision(name: str) -> Iterator[Path]:
    """Check out a git revision into a folder of its own until the context ends."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), name)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


def _run(work: Callable[P, Awaitable[R]], arguments: tuple[object, ...]) -> R:
    async def main() -> R:
        return await work(*arguments)  # type: ignore[call-arg, arg-type]

    return uvloop.run(main())


async def apart(work: Callable[P, Awaitable[R]], *arguments: P.args, **_: P.kwargs) -> R:
    """Run ``work`` in another process, so that a client's CPU time does not delay the scenario.

    ``work``, its arguments and its result must be picklable.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, _run, work, arguments)
