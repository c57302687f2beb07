"""Compares the CPU time and memory of streams in Redis, of streams in process memory, and of a plain relay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench import paced
from bench.support import Options, Table

ENDPOINTS = ("relay", "v1", "v1+redis", "ws", "ws+redis")
STREAMS = 2000
RATE = 2.0
MOST = 1.5
"""The target: the maximum ratio of the CPU time per token with Redis to the CPU time in process memory."""


async def run(options: Options) -> Table:
    """Keep 2,000 streams of two tokens a second open at each endpoint, in turns."""
    asked = ["--streams", str(STREAMS), "--rate", str(RATE), "--endpoints", ",".join(ENDPOINTS)]
    found = await asyncio.to_thread(paced.bench, paced.options_of(options, *asked))
    rows: list[Sequence[str]] = [
        (endpoint, *(f"{one[name]:.1f}" for name in ("p50", "p99", "us", "kb"))) for endpoint, one in found.items()
    ]
    ratios = {endpoint: found[f"{endpoint}+redis"]["us"] / found[endpoint]["us"] for endpoint in ("v1", "ws")}
    rows += [(f"{endpoint}: with Redis / in memory", "", "", f"{ratio:.2f}", "") for endpoint, ratio in ratios.items()]
    targets = {
        f"{endpoint}: at most {MOST} times the CPU per token": ratio <= MOST for endpoint, ratio in ratios.items()
    }
    title = f"{STREAMS:,} streams of {RATE:g} tokens a second through Redis"
    return Table(title, ("endpoint", "p50 ms", "p99 ms", "CPU us a token", "KB a stream"), rows, targets)
