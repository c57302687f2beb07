"""Start-up: the time from ``agentgraph serve`` to an answer of ``/ping``, idle memory, and the time of commands."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

from bench.load import Connection, Request
from bench.machine import cpu_seconds, rss_bytes
from bench.processes import free_port
from bench.support import Options, Running, Table, gateway_settings

REST_SECONDS = 3.0
MOST_START_SECONDS, MOST_COMMAND_SECONDS, MOST_MEGABYTES = 1.0, 0.3, 100.0
SETTINGS = gateway_settings(Running(port=9, pid=0))
"""URLs of upstreams that do not listen. The gateway starts without them."""


async def run(options: Options) -> Table:
    """Start the gateways and commands in turns, and measure their times and memory."""
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "serve, with upstreams": partial(_serve, options, SETTINGS),
        "serve, embedded services": partial(_serve, options, {}),
        "--help": partial(_command, options, "--help"),
        "token": partial(_command, options, "token"),
    }
    for measure in measures.values():
        await asyncio.to_thread(measure)  # writes the bytecode
    found: dict[str, list[dict[str, float]]] = {name: [] for name in measures}
    for _ in range(options.rounds):
        for name, measure in measures.items():
            found[name].append(await asyncio.to_thread(measure))
    result = Table("Start-up", ("command", "seconds", "least to most", "CPU s", "MB idle"))
    for name, rounds in found.items():
        taken, spent = ([one[figure] for one in rounds] for figure in ("seconds", "cpu"))
        kept = statistics.median(one.get("megabytes", 0.0) for one in rounds)
        middle, most = statistics.median(taken), MOST_COMMAND_SECONDS
        result.figures[name] = {"seconds": middle, "cpu": statistics.median(spent), "megabytes": kept}
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        result.rows.append(
            (name, f"{middle:.2f}", spread, f"{statistics.median(spent):.2f}", f"{kept:.0f}" if kept else "")
        )
        if kept:
            most = MOST_START_SECONDS
            result.targets[f"{name}: {kept:.0f} MB idle (at most {MOST_MEGABYTES:g})"] = kept <= MOST_MEGABYTES
        result.targets[f"{name}: {middle:.2f} s (at most {most:g})"] = middle <= most
    return result


def _environment(options: Options) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(options.tree)}


def _command(options: Options, *arguments: str) -> dict[str, float]:
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "app", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, env=_environment(options), check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - began, "cpu": spent}


def _serve(options: Options, settings: dict[str, str]) -> dict[str, float]:
    port = free_port()
    environment = {**_environment(options), **settings, "PORT": str(port)}
    command = [sys.executable, "-m", "app", "serve", "--memory"]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            asyncio.run(_until_answered(port, process))
            seconds = time.perf_counter() - began
            spent = cpu_seconds(process.pid)
            time.sleep(REST_SECONDS)
            return {"seconds": seconds, "cpu": spent, "megabytes": rss_bytes(process.pid) / 1e6}
        finally:
            process.kill()
            process.wait()


async def _until_answered(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            connection = await Connection.open(port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        if await connection.ask(Request.get("/ping")) == 200:
            return
    raise RuntimeError(f"the gateway ended with the status {process.returncode} before it answered /ping")
