"""Shared by the scenarios: options, tables, and the processes of gateways, mock services and clients."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import uvloop

from app import devtokens
from app.embedded.people import ADA
from bench.machine import Cores
from bench.profiling import profiled

P = ParamSpec("P")
R = TypeVar("R")

ROOT = Path(__file__).parents[1]
CACHE = ROOT / os.environ.get("BENCH_CACHE", ".bench")
"""The folder for installed programs and profiles."""

UNLIMITED = {
    "SIGN_IN_FAILURES_PER_MINUTE": "0",
    "RATE_LIMIT_GENERAL": "0",
    "RATE_LIMIT_LLM": "0",
    "RATE_LIMIT_PROXY": "0",
    "CACHE": "off",
}
"""Settings of a gateway without rate limits and without a cache."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command line.

    Attributes:
        base: the git revision to compare with.
        rounds: the number of measurements of each side of a comparison.
        seconds: the duration of a load in seconds; ``None`` for the scenario's default.
        pinned: whether the measured server has a separate CPU core.
        tree: the folder of the gateway's source.
    """

    base: str = "9ad3bd9"
    rounds: int = 5
    seconds: float | None = None
    pinned: bool = True
    tree: Path = ROOT

    @property
    def cores(self) -> Cores:
        """Return the cores of the processes."""
        return Cores(pinned=self.pinned)


@dataclass
class Table:
    """The result of a scenario.

    Attributes:
        rows: the cells of the table.
        targets: whether each target was met, by the target's description.
        notes: further lines below the table.
        figures: the figures as numbers, for a comparison with other runs.
    """

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    def text(self) -> str:
        """Return the table in columns."""
        lines = [tuple(self.header), *(tuple(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in lines) for column in range(len(self.header))]
        shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in lines]
        targets = [f"{'met   ' if met else 'MISSED'}  {name}" for name, met in self.targets.items()]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in [*shown, *self.notes, *targets])])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile ``share`` (0 to 1) of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True)
class Running:
    """A running process that listens on a port on this machine."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return the process's URL."""
        return f"http://127.0.0.1:{self.port}"


def token(user_id: str = ADA) -> str:
    """Return a user's access token for the gateways of the scenarios."""
    return devtokens.make_token(devtokens.signing_key(), user_id=user_id, email="ada@example.com")


@asynccontextmanager
async def started(
    *command: str,
    tree: Path = ROOT,
    settings: dict[str, str] | None = None,
    cores: set[int] | None = None,
    announced: Callable[[str], int | None],
) -> AsyncIterator[Running]:
    """Run a command until the context ends. ``announced`` returns the port from a line of its output, or ``None``."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree), "PORT": "0", **(settings or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=None if cores is None else partial(os.sched_setaffinity, 0, cores),
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
async def upstreams(cores: set[int] | None = None) -> AsyncIterator[Running]:
    """Run the mock services of ``bench.upstreams``."""
    async with started("-m", "bench.upstreams", cores=cores, announced=_first_number) as running:
        yield running


def gateway_settings(behind: Running) -> dict[str, str]:
    """Return the settings of a gateway in front of mock services."""
    return {
        "AMS_BASE_URL": f"{behind.url}/ams",
        "SUPABASE_SERVICE_KEY": "bench",
        "LETTA_BASE_URL": f"{behind.url}/letta",
        "LETTA_API_KEY": "bench",
        "LITELLM_BASE_URL": f"{behind.url}/litellm",
        "LITELLM_API_KEY": "bench",
    }


@asynccontextmanager
async def gateway(
    behind: Running,
    *,
    tree: Path = ROOT,
    cores: set[int] | None = None,
    arguments: Sequence[str] = (),
    **settings: str,
) -> AsyncIterator[Running]:
    """Run a gateway from the source in ``tree`` in front of mock services. Its log goes to a file."""
    given = {**gateway_settings(behind), **UNLIMITED, **settings}
    command = ("-m", "app", "serve", *arguments)
    async with started(*command, tree=tree, settings=given, cores=cores, announced=_start_here) as running:
        with profiled(running.pid, CACHE):
            yield running


@contextmanager
def revision(name: str) -> Iterator[Path]:
    """Check out a git revision into a temporary folder until the context ends."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), name)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


def _run(work: Callable[P, Awaitable[R]], arguments: tuple[object, ...], cores: set[int] | None) -> R:
    if cores is not None:
        os.sched_setaffinity(0, cores)

    async def main() -> R:
        return await work(*arguments)  # type: ignore[call-arg, arg-type]

    return uvloop.run(main())


async def apart(work: Callable[P, Awaitable[R]], *arguments: P.args, **_named: P.kwargs) -> R:
    """Run ``work`` in another process, so that a client's CPU time does not delay the scenario.

    ``work``, its arguments and its result must be picklable.
    """
    return await apart_on(None, work, *arguments, **_named)


async def apart_on(cores: set[int] | None, work: Callable[P, Awaitable[R]], *arguments: P.args, **_: P.kwargs) -> R:
    """Run ``work`` in another process as ``apart`` does, on the given cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, _run, work, arguments, cores)
