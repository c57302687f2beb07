"""The cores on which processes run, the CPU time and memory of processes, and the machine's description."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_CPU_CLOCK = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Cores:
    """The cores of a run. The measured server has a separate core; the load and the upstreams share the other cores."""

    def __init__(self, *, pinned: bool) -> None:
        usable = sorted(os.sched_getaffinity(0))
        self._is_pinned = pinned and len(usable) > 1
        self._usable = usable

    def server(self) -> set[int]:
        """Return the cores for a measured server."""
        return {self._usable[0]} if self._is_pinned else set(self._usable)

    def others(self) -> set[int]:
        """Return the cores for upstreams and load."""
        return set(self._usable[1:]) if self._is_pinned else set(self._usable)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, in seconds.

    The clock is the same as ``clock_getcpuclockid``'s. ``/proc`` counts ticks, and omits a process that sleeps at each
    tick.
    """
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def tree_cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and its running descendants, in seconds."""
    return sum(_cpu_or_zero(one) for one in family(pid))


def _cpu_or_zero(pid: int) -> float:
    with contextlib.suppress(OSError):
        return cpu_seconds(pid)
    return 0.0


def family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and its running descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def described() -> dict[str, object]:
    """Describe the machine's processor, system and programs, without names or paths of the machine."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(*command) for name, command in _VERSIONS.items()},
    }


_VERSIONS = {"node": ("node", "--version"), "nginx": ("nginx", "-v"), "wrk": ("wrk", "-v")}


def _version(*command: str) -> str | None:
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = (done.stdout + done.stderr).split()
        return next((word.strip("v").split("/")[-1] for word in words if any(map(str.isdigit, word))), None)
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
