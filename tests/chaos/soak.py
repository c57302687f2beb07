"""Sends mixed load with random faults. Compares the process's resources after the load with those after a warm-up."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.load import Answers, Load
from tests.support.cluster import platform
from tests.support.forks import ROOT
from tests.support.observed import MARK
from tests.support.redis_server import redis_server
from tests.support.serving import free_port

SETTINGS = {
    "RATE_LIMIT_GENERAL": "0",
    "RATE_LIMIT_LLM": "0",
    "SIGN_IN_FAILURES_PER_MINUTE": "0",
    "STREAM_RETENTION_SECONDS": "1",
    "STREAM_GRACE_SECONDS": "1",
    "REQUEST_TIMEOUT": "3",
    "BREAKER_RESET_SECONDS": "1",
}
STABLE_SECONDS = 5
"""The process is idle if its resources have not become less for this time, in seconds."""

MAX_IDLE_SECONDS = 40

LAZY_SOCKETS = 3
"""Connections to Redis that the gateway opens only if several pipelines are in flight."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Resources:
    """The resources of an idle process. ``tasks`` has the names of the asyncio tasks' coroutines."""

    rss_mb: float
    sockets: int
    descriptors: int
    tasks: tuple[str, ...]

    def __str__(self) -> str:
        counts = f"{self.sockets} sockets, {self.descriptors} descriptors, {len(self.tasks)} tasks"
        return f"{self.rss_mb:.1f} MB, {counts}"


@dataclass
class Result:
    warm: Resources | None = None
    after: Resources | None = None
    answers: Answers = field(default_factory=Answers)

    @property
    def grown(self) -> list[str]:
        """The resources that have grown."""
        warm, after = self.warm, self.after
        assert warm is not None
        assert after is not None
        found = []
        if after.rss_mb > 1.1 * warm.rss_mb + 8:
            found.append(f"rss: {warm.rss_mb:.1f} MB, then {after.rss_mb:.1f} MB")
        if after.sockets > warm.sockets + LAZY_SOCKETS:
            found.append(f"sockets: {warm.sockets}, then {after.sockets}")
        if after.descriptors > warm.descriptors + LAZY_SOCKETS:
            found.append(f"descriptors: {warm.descriptors}, then {after.descriptors}")
        if more := Counter(after.tasks) - Counter(warm.tasks):
            found.append(f"tasks: {dict(more)}")
        return found

    def lines(self) -> str:
        answers = self.answers
        shown = [f"requests: {dict(answers.requests)}", f"answers: {dict(answers.codes)}"]
        shown += [f"{name}: {one}" for name, one in (("warm", self.warm), ("after", self.after))]
        return "\n".join(
            [*shown, *(f"GROWN {one}" for one in self.grown), *(f"INTERNAL {one}" for one in answers.internal)]
        )


async def run(folder: Path, *, warm_seconds: float, seconds: float, with_redis: bool = True) -> Result:
    """Warm a gateway up, measure its resources, send load, and measure again."""
    result = Result()
    async with AsyncExitStack() as stack:
        services, page = await stack.enter_async_context(platform(folder))
        given = {**services, **SETTINGS}
        if with_redis:
            given["REDIS_URL"] = stack.enter_context(redis_server()).url()
        gateway = await stack.enter_async_context(_gateway(folder, given))
        load = Load(gateway.url, page, result.answers)
        await load.run(warm_seconds)
        result.warm = await gateway.idle()
        await load.run(seconds)
        result.after = await gateway.idle()
    return result


@dataclass
class _Gateway:
    url: str
    process: asyncio.subprocess.Process
    reports: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)

    async def idle(self) -> Resources:
        """Wait until streams, connections and timeouts have ended. Return the resources of the process."""
        least, stable = await self._resources(), 0
        for _ in range(MAX_IDLE_SECONDS):
            await asyncio.sleep(1)
            found = await self._resources()
            is_less = (found.sockets, len(found.tasks)) < (least.sockets, len(least.tasks))
            least, stable = (found, 0) if is_less else (least, stable + 1)
            if stable == STABLE_SECONDS:
                return found
        return least

    async def _resources(self) -> Resources:
        self.process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(10):
            tasks = await self.reports.get()
        folder = Path(f"/proc/{self.process.pid}")
        links = [str(one.readlink()) for one in (folder / "fd").iterdir()]
        rss = int((folder / "statm").read_text().split()[1]) * _PAGE / 2**20
        sockets = sum(link.startswith("socket:") for link in links)
        return Resources(rss, sockets, len(links), tuple(tasks))

    async def listen(self) -> None:
        """Read the output of the process."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(MARK.encode()):
                self.reports.put_nowait(json.loads(line[len(MARK) :]))


@asynccontextmanager
async def _gateway(folder: Path, settings: dict[str, str]) -> AsyncIterator[_Gateway]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.observed", "serve", "--memory"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PORT": str(port), **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    while not re.search(rb"export TOKEN=", await process.stdout.readline()):
        assert process.returncode is None
    gateway = _Gateway(f"http://127.0.0.1:{port}", process)
    listening = asyncio.create_task(gateway.listen())
    try:
        yield gateway
    finally:
        process.kill()
        await process.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def main() -> int:
    """Run for ``SOAK_SECONDS``, ten minutes by default, and print the result."""
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    with TemporaryDirectory(prefix="soak-") as folder:
        os.environ["XDG_DATA_HOME"] = folder
        result = asyncio.run(run(Path(folder), warm_seconds=min(60, seconds / 5), seconds=seconds))
    print(result.lines())
    return 1 if result.grown or result.answers.internal else 0


if __name__ == "__main__":
    sys.exit(main())
