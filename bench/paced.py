"""Paced streams: the delay of tokens through the gateway and through a plain ASGI relay, and a stream's memory.

    python -m bench.paced [--streams 500] [--rate 4] [--seconds 12] [--rounds 3] [--endpoints relay,v1,sse,ws]

The upstream writes the time into each token. Readers in a different process subtract this time from the arrival time.
The servers are loaded in turns, and each figure is the median of the rounds. CPU time and memory are measured for the
server's process. An endpoint such as ``ws+redis`` is measured at a gateway with Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.machine import cpu_seconds, rss_bytes
from bench.paced_roles import PARTS, read, relay, serve_upstream
from bench.profiling import profiled

ROOT = Path(__file__).parent.parent
STREAMS_PER_USER = 50
BULK_STREAMS, BULK_RATE, BULK_LATE_MS = 5000, 5.0, 100
IDLE_STREAMS, IDLE_KB = 2000, 30
SETTINGS = {
    "LITELLM_API_KEY": "sk-paced",
    "RATE_LIMIT_LLM": "0",
    "RATE_LIMIT_GENERAL": "0",
    "MAX_CONCURRENT_REQUESTS": "10000",
    "MAX_CONCURRENT_STREAMS": "10000",
    "MAX_SOCKETS": "10000",
}


class NotOpened(RuntimeError):
    """A server refused streams, or did not answer the requests for streams in time."""


@contextlib.contextmanager
def running(*command: str, out: int = subprocess.PIPE, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process until the context ends."""
    process = subprocess.Popen(
        command,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=out,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    import socket  # noqa: PLC0415

    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {port}")


def _free_ports(number: int) -> list[int]:
    import socket  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def measure(endpoint: str, pid: int, port: int, options: argparse.Namespace, tokens: list[str]) -> dict[str, float]:
    """Measure one endpoint: delays in milliseconds, memory per stream in KB, CPU time per token in microseconds."""
    role = [sys.executable, "-m", "bench.paced", "--role", "readers", "--port", str(port)]
    load = [f"--endpoints={endpoint.partition('+')[0]}", f"--rate={options.rate}", f"--seconds={options.seconds}"]
    before = rss_bytes(pid)
    with running(*role, *load) as readers:
        assert readers.stdin is not None
        assert readers.stdout is not None
        readers.stdin.write(json.dumps(tokens) + "\n")
        readers.stdin.flush()
        if not readers.stdout.readline():
            raise NotOpened(f"{endpoint}: the streams did not open")
        used = cpu_seconds(pid)
        found: dict[str, float] = json.loads(readers.stdout.readline())
        used = cpu_seconds(pid) - used
        found["kb"] = (rss_bytes(pid) - before) / len(tokens) / 1024
        found["us"] = used / max(1, found["tokens"]) * 1e6
        readers.stdin.write("\n")
        readers.stdin.flush()
        readers.wait()
    time.sleep(2)
    return found


def bench(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure all endpoints in turns. Return the medians of the rounds, and the memory in the first round."""
    from tests.support.redis_server import redis_server  # noqa: PLC0415 - only the driver needs it

    endpoints = options.endpoints.split(",")
    upstream_port, *ports = _free_ports(1 + len(endpoints))
    upstream = f"http://127.0.0.1:{upstream_port}"
    me = (sys.executable, "-m", "bench.paced", "--port")
    tree = str(options.tree or ROOT)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(*me, str(upstream_port), "--role", "upstream"))
        targets = {}
        for endpoint, port in zip(endpoints, ports, strict=True):  # a process for each endpoint, to measure its memory
            if endpoint == "relay":
                command: tuple[str, ...] = (
                    *me,
                    str(port),
                    "--role",
                    "relay",
                    "--upstream",
                    f"{upstream}/v1/chat/completions",
                )
                settings = {}
            else:
                command = (sys.executable, "-m", "app", "serve", "--memory")
                settings = {"PYTHONPATH": tree, "PORT": str(port), "LITELLM_BASE_URL": upstream, **SETTINGS}
                settings["STREAM_COALESCE_MILLISECONDS"] = str(options.coalesce)
                if endpoint.endswith("+redis"):
                    settings["REDIS_URL"] = stack.enter_context(redis_server()).url()
            pid = stack.enter_context(running(*command, out=subprocess.DEVNULL, **settings)).pid
            targets[endpoint] = (pid, port)
            if endpoint != "relay":
                stack.enter_context(profiled(pid, ROOT / ".bench"))
        for port in (upstream_port, *ports):
            _wait_for(port)
        tokens = _tokens(options.streams)
        for endpoint in endpoints:  # warm
            measure(endpoint, *targets[endpoint], argparse.Namespace(**{**vars(options), "seconds": 1}), tokens[:20])
        rounds: dict[str, list[dict[str, float]]] = {endpoint: [] for endpoint in endpoints}
        for number in range(options.rounds):
            for endpoint in endpoints:
                found = measure(endpoint, *targets[endpoint], options, tokens)
                rounds[endpoint].append(found)
                print(number + 1, _line(endpoint, found), file=sys.stderr, flush=True)
        middle = {
            endpoint: {name: statistics.median(one[name] for one in found) for name in found[0]}
            for endpoint, found in rounds.items()
        }
        for endpoint, found in middle.items():
            found["kb"] = rounds[endpoint][0]["kb"]  # later rounds reuse the pages of earlier ones
        return middle


def _tokens(number: int) -> list[str]:
    """Return an access token for each stream. ``STREAMS_PER_USER`` streams have the same user."""
    from app import devtokens  # noqa: PLC0415 - only the driver needs it

    key = devtokens.signing_key()
    users = [str(uuid.uuid4()) for _ in range(-(-number // STREAMS_PER_USER))]
    made = [devtokens.make_token(key, user_id=user, email=None) for user in users]
    return [made[place // STREAMS_PER_USER] for place in range(number)]


def _line(endpoint: str, found: dict[str, float]) -> str:
    late = "  ".join(f"{name} {found[name]:7.1f}" for name in PARTS)
    return (
        f"{endpoint:6}  delay, ms: {late}  {found['us']:5.0f} µs CPU a token  {found['kb']:6.1f} KB a stream"
        f"  {found['tokens']:.0f} tokens, {found['lost']:.0f} lost"
    )


def targets(found: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Return whether each target was met."""
    bare = found["relay"]["p99"]
    gateway = {endpoint: figures for endpoint, figures in found.items() if endpoint != "relay"}
    late = {
        f"{endpoint}: p99 delay at most 5 times the relay's": one["p99"] <= 5 * bare
        for endpoint, one in gateway.items()
    }
    memory = {f"{endpoint}: at most 60 KB of memory a stream": one["kb"] <= 60 for endpoint, one in gateway.items()}
    return {**late, **memory}


def options_of(options: Any, *given: str) -> argparse.Namespace:
    """Return this module's options for a part of a scenario, with at most three rounds."""
    tree = ["--tree", str(options.tree)]
    return parser().parse_args(["--rounds", str(min(3, options.rounds)), *tree, *given])


async def run(options: Any) -> Any:
    """Run the scenario ``paced`` of ``python -m bench``."""
    from bench.support import Table  # noqa: PLC0415 - the processes of this scenario start faster without it

    title = f"{BULK_STREAMS:,} streams of {BULK_RATE:g} tokens a second: the delay of tokens; and idle streams"
    result = Table(title, ("endpoint", "p50 ms", "p99 ms", "max ms", "CPU us a token", "KB a stream"))

    async def part(name: str, *given: str) -> dict[str, dict[str, float]]:
        found = await asyncio.to_thread(bench, options_of(options, *given))
        result.rows += [(f"{endpoint}, {name}", *_shown(one)) for endpoint, one in found.items()]
        result.figures[name] = found
        return found

    result.targets |= targets(await part("500 of 4/s", "--streams", "500"))
    name = f"{BULK_STREAMS:,} of {BULK_RATE:g}/s"
    bulk_load = ("--streams", str(BULK_STREAMS), "--rate", str(BULK_RATE), "--endpoints", "relay,v1")
    try:
        bulk = (await part(name, *bulk_load))["v1"]
        rate, late = bulk["tokens"] / bulk["seconds"], bulk["p99"]
        measured, met = f"{rate:,.0f} paced tokens/s: p99 delay {late:.0f} ms", rate >= 24_500 and late <= BULK_LATE_MS
    except NotOpened as refused:
        if str(refused).startswith("relay"):
            raise
        measured, met = str(refused), False
    result.targets[f"{measured} (25,000/s, {BULK_LATE_MS} ms)"] = met
    asked = ("--streams", str(IDLE_STREAMS), "--rate", "0.02", "--seconds", "1", "--rounds", "1")
    for endpoint, one in (await part(f"{IDLE_STREAMS:,} idle", *asked)).items():
        if endpoint != "relay":
            result.targets[f"{endpoint}: {one['kb']:.0f} KB an idle stream (at most {IDLE_KB})"] = one["kb"] <= IDLE_KB
    return result


def _shown(one: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{one[name]:.1f}" for name in ("p50", "p99", "max", "us", "kb"))


def parser() -> argparse.ArgumentParser:
    """Return the parser of this scenario's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=4)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--endpoints", default="relay,v1,sse,ws")
    parser.add_argument("--coalesce", type=int, default=16, help="STREAM_COALESCE_MILLISECONDS")
    parser.add_argument("--tree", help="the folder of the gateway's source; by default this one")
    parser.add_argument("--role", default="bench", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--upstream", default="", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = parser().parse_args()
    if options.role == "bench":
        found = bench(options)
        print("medians:", *(_line(endpoint, figures) for endpoint, figures in found.items()), sep="\n")
        if "relay" in found:
            print(*(f"{'met' if met else 'MISSED'}  {name}" for name, met in targets(found).items()), sep="\n")
        return
    import uvloop  # noqa: PLC0415

    if options.role == "upstream":
        uvloop.run(serve_upstream(options.port))
    elif options.role == "relay":
        import uvicorn  # noqa: PLC0415

        uvicorn.run(relay(options.upstream), port=options.port, loop="uvloop", log_level="error", access_log=False)
    else:
        tokens = json.loads(sys.stdin.readline())
        uvloop.run(read(options.endpoints, options.port, options.rate, options.seconds, tokens))


if __name__ == "__main__":
    main()
