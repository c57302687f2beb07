"""A whole chat completion: the rate with 16 clients, and the latency that each server adds with one client."""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack

from bench.chat import DIRECT, OURS, Sides
from bench.compare import Compared, expect, table
from bench.peers import BARE, LITELLM, PORTKEY
from bench.support import Options, Table

CLIENTS, TOKENS = 16, 5
MOST_ADDED_MILLISECONDS = 0.3


async def run(options: Options) -> Table:
    """Compare the rates, then the latencies."""
    async with AsyncExitStack() as stack:
        sides = Sides(stack, options)
        await sides.start([BARE, PORTKEY, LITELLM])
        found = await sides.compared(TOKENS, CLIENTS, stream=False)
        calm = await sides.compared(TOKENS, 1, stream=False, direct=True)
    result = table(f"Chat completion, whole, {CLIENTS} clients", found)
    result.notes += sides.peers.missing
    expect(result, found, OURS, {BARE.name: 1, PORTKEY.name: 5, LITELLM.name: 100})
    _add_latencies(result, calm)
    return result


def _add_latencies(result: Table, calm: Compared) -> None:
    """Add notes and a target for the latency that each side adds to the model's latency, with one client."""
    added = {
        name: statistics.median(
            (through - direct) * 1000
            for through, direct in zip(calm.values(name, "p50"), calm.values(DIRECT, "p50"), strict=True)
        )
        for name in calm.rounds
        if name != DIRECT
    }
    result.figures["added_p50_ms"] = added
    result.notes += [f"p50 at one client: {name} adds {milliseconds:.2f} ms" for name, milliseconds in added.items()]
    if BARE.name in added:
        over = added[OURS] - added[BARE.name]
        result.targets[f"adds {over:+.2f} ms to bare's p50 at one client (at most +{MOST_ADDED_MILLISECONDS})"] = (
            over <= MOST_ADDED_MILLISECONDS
        )
