"""Streams through Redis: the CPU time and the memory beside streams in process memory and beside a plain relay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench import paced
from bench.support import Options, Table

DOORS = ("relay", "v1", "v1+redis", "ws", "ws+redis")
STREAMS = 2000
RATE = 2.0
MOST = 1.5
"""The target: the largest ratio of CPU time per token, with Redis and in process memory."""


async def run(options: Options) -> Table:
    """Hold 2,000 streams of two tokens a second open at each door, in turns."""
    asked = ["--streams", str(STREAMS), "--rate", str(RATE), "--doors", ",".join(DOORS)]
    found = await asyncio.to_thread(paced.bench, paced.options_of(options, *asked))
    rows: list[Sequence[str]] = [
        (door, *(f"{one[name]:.1f}" for name in ("p50", "p99", "us", "kb"))) for door, one in found.items()
    ]
    ratios = {door: found[f"{door}+redis"]["us"] / found[door]["us"] for door in ("v1", "ws")}
    rows += [(f"{door}: with Redis / in memory", "", "", f"{ratio:.2f}", "") for door, ratio in ratios.items()]
    targets = {f"{door}: at most {MOST} times the CPU per token": ratio <= MOST for door, ratio in ratios.items()}
    title = f"{STREAMS:,} streams of {RATE:g} tokens a second through Redis"
    return Table(title, ("door", "p50 ms", "p99 ms", "CPU us a token", "KB a stream"), rows, targets)
