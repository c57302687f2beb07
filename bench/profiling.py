"""Flame graphs of a scenario's gateways. py-spy is installed in a separate environment."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PY_SPY = "py-spy==0.4.3"
PER_SECOND = 200

_FOLDER = "BENCH_PROFILE"
_numbers = itertools.count(1)


def profile_into(folder: Path, scenario: str) -> None:
    """Write a flame graph to ``folder`` for each gateway that starts after this call."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[_FOLDER] = str(folder / scenario)


@contextmanager
def profiled(pid: int, cache: Path) -> Iterator[None]:
    """Record a process until the context ends, if ``profile_into`` was called."""
    path = os.environ.get(_FOLDER)
    if path is None:
        yield
        return
    file = f"{path}-{next(_numbers)}.svg"
    options = ("--rate", str(PER_SECOND), "--format", "flamegraph", "--output", file, "--pid", str(pid))
    recording = subprocess.Popen(
        [_installed(cache), "record", *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        recording.send_signal(signal.SIGINT)
        recording.wait()
        print(f"Wrote {os.path.relpath(file)}", file=sys.stderr, flush=True)


def _installed(cache: Path) -> str:
    """Return the path of py-spy. Install py-spy at the first use."""
    program = cache / "tools" / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache / "tools")], check=True)
        pip = str(cache / "tools" / "bin" / "pip")
        subprocess.run([pip, "install", "--quiet", "--disable-pip-version-check", PY_SPY], check=True)
    return str(program)
