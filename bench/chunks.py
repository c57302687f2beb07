"""A chat completion of 50 chunks, streamed without pauses, requested by 16 clients."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.chat import OURS, Sides
from bench.compare import expect, table
from bench.peers import BARE, LITELLM
from bench.support import Options, Table

CLIENTS, CHUNKS = 16, 50


async def run(options: Options) -> Table:
    """Compare the chunks per second."""
    async with AsyncExitStack() as stack:
        sides = Sides(stack, options)
        await sides.start([BARE, LITELLM])
        found = await sides.compared(CHUNKS, CLIENTS, stream=True)
    result = table(f"{CHUNKS} chunks streamed, {CLIENTS} clients", found, unit="chunks/s", each=CHUNKS)
    result.notes += sides.peers.missing
    expect(result, found, OURS, {BARE.name: 1})
    return result
