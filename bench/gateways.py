"""Runs the gateways of a comparison: all features are on, and the limits are too high to refuse the load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.support import Options, Running, gateway

EVERYTHING_ON = {
    "RATE_LIMIT_GENERAL": "100000000",
    "RATE_LIMIT_LLM": "100000000",
    "RATE_LIMIT_PROXY": "100000000",
    "LLM_TOKENS_PER_MINUTE": "0",
    "SIGN_IN_FAILURES_PER_MINUTE": "100",
    "MAX_UPSTREAM_CALLS": "5000",
    "MAX_QUERY_COST": "1000000",
    "REQUEST_TIMEOUT": "60",
    "MAX_STREAMS_PER_USER": "1000",
}


@asynccontextmanager
async def compared(
    behind: Running, options: Options, *, cache: bool, arguments: Sequence[str] = (), **settings: str
) -> AsyncIterator[Running]:
    """Run a gateway on the core of the measured servers until the context ends."""
    given = {**EVERYTHING_ON, "CACHE": "on" if cache else "off", **settings}
    cores = options.cores.server()
    async with gateway(behind, tree=options.tree, cores=cores, arguments=arguments, **given) as served:
        yield served
