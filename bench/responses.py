"""The CPU time of a streamed response, against a streamed chat completion with the same tokens."""

from __future__ import annotations

import statistics

import orjson

from bench.honest import MODEL, TOKENS, Case, milliseconds
from bench.load import Request
from bench.support import Options, Table, gateway, token, upstreams

MOST_RATIO = 1.2
NUMBER = 200
"""The number of requests in one measurement."""


def cases() -> tuple[Case, Case]:
    """Return the requests for a completion and for a response."""
    key, asked = token(), {"model": MODEL, "stream": True}
    chat = orjson.dumps({**asked, "messages": [{"role": "user", "content": "hi"}]})
    response = orjson.dumps({**asked, "input": "hi"})
    return (
        Case("/v1/chat/completions", lambda: [Request.post("/v1/chat/completions", chat, key)], NUMBER),
        Case("/v1/responses", lambda: [Request.post("/v1/responses", response, key)], NUMBER),
    )


async def run(options: Options) -> Table:
    """Measure both kinds of streams alternately."""
    table = Table(f"{TOKENS} tokens streamed: CPU per request", ("what", "ms", "ratio"))
    async with upstreams() as behind, gateway(behind, tree=options.tree) as served:
        for case in cases():
            await milliseconds(served, case, warm=True)
        rounds = [[await milliseconds(served, case) for case in cases()] for _ in range(options.rounds)]
    ratio = statistics.median(response / chat for chat, response in rounds)
    for case, found, shown in zip(cases(), zip(*rounds, strict=True), ("", f"{ratio:.2f}"), strict=True):
        table.rows.append((case.name, f"{statistics.median(found):.3f}", shown))
    table.targets[f"a response costs {ratio:.2f} times a completion (at most {MOST_RATIO})"] = ratio <= MOST_RATIO
    return table
