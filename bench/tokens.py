"""The CPU time of a subscription's token, from the model's chunk to the event, where each token is an event."""

from __future__ import annotations

import asyncio

from bench import paced
from bench.support import Options, Table

STREAMS, RATE = 200, 20.0
MOST_MICROSECONDS = 20.0


async def run(options: Options) -> Table:
    """Hold 200 streams of 20 tokens a second open at each endpoint, in turns."""
    doors = "relay,v1,sse,ws"
    asked = ["--streams", str(STREAMS), "--rate", str(RATE), "--doors", doors, "--coalesce", "0", "--seconds", "6"]
    found = await asyncio.to_thread(paced.bench, paced.options_of(options, *asked))
    bare = found["relay"]["us"]
    title = f"A token, uncoalesced: {STREAMS} streams of {RATE:g} tokens a second"
    result = Table(title, ("door", "CPU us a token", "times the relay's", "p99 ms late"), figures={**found})
    for door, one in found.items():
        result.rows.append((door, f"{one['us']:.1f}", f"{one['us'] / bare:.2f}", f"{one['p99']:.1f}"))
    for door in ("ws", "sse"):
        spent = found[door]["us"]
        result.targets[f"{door}: {spent:.1f} us a token (at most {MOST_MICROSECONDS:g})"] = spent <= MOST_MICROSECONDS
    return result
