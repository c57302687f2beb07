"""The CPU time of a subscription's token if each token is a separate event (no coalescing)."""

from __future__ import annotations

import asyncio

from bench import paced
from bench.support import Options, Table

STREAMS, RATE = 200, 20.0
MOST_MICROSECONDS = 20.0


async def run(options: Options) -> Table:
    """Keep 200 streams of 20 tokens a second open at each endpoint, in turns."""
    endpoints = "relay,v1,sse,ws"
    asked = [
        "--streams",
        str(STREAMS),
        "--rate",
        str(RATE),
        "--endpoints",
        endpoints,
        "--coalesce",
        "0",
        "--seconds",
        "6",
    ]
    found = await asyncio.to_thread(paced.bench, paced.options_of(options, *asked))
    bare = found["relay"]["us"]
    title = f"A token, uncoalesced: {STREAMS} streams of {RATE:g} tokens a second"
    result = Table(title, ("endpoint", "CPU us a token", "times the relay's", "p99 delay, ms"), figures={**found})
    for endpoint, one in found.items():
        result.rows.append((endpoint, f"{one['us']:.1f}", f"{one['us'] / bare:.2f}", f"{one['p99']:.1f}"))
    for endpoint in ("ws", "sse"):
        spent = found[endpoint]["us"]
        result.targets[f"{endpoint}: {spent:.1f} us a token (at most {MOST_MICROSECONDS:g})"] = (
            spent <= MOST_MICROSECONDS
        )
    return result
