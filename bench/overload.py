"""Ten times the capacity for half a minute: timely answers, the latency of ``/ping``, and the recovery."""

from __future__ import annotations

import asyncio

import orjson

from app.embedded.people import ADA
from bench.load import Answered, Request, at_once, at_pace
from bench.support import Options, Running, Table, apart, cpu_seconds, gateway, percentile, token, upstreams
from clients.bulkhead import SHARES

FACTOR = 10
CLIENTS = 8
CAPACITY_SECONDS = 8.0
AFTER_SECONDS = 10.0
REFUSAL_SECONDS = 4.0
REFUSAL_MILLISECONDS = 0.1
PINGS_PER_SECOND = 20
GRACE = "b0b0b0b0-2222-4222-8222-000000000002"

DASHBOARD = """
query Dash {
  viewer { id email agents(first: 50) { nodes {
    id name modelName version memoryBlocks { id label value limit }
    messages(last: 20) { nodes { id role text createdAt } }
  } } }
}
"""


def dashboard() -> Request:
    """Return the dashboard's query, which makes 52 upstream calls."""
    return Request.post("/graphql", orjson.dumps({"query": DASHBOARD}), token())


def viewer(user_id: str) -> Request:
    """Return the smallest query of another user."""
    return Request.post("/graphql", b'{"query": "{ viewer { id } }"}', token(user_id))


async def run(options: Options) -> Table:
    """Measure the capacity, then send ten times as much. Then measure the cost of a refusal."""
    async with upstreams() as behind:
        async with gateway(behind) as served:
            await apart(at_once, served.port, dashboard(), CLIENTS, 3.0)
            calm = await apart(at_once, served.port, dashboard(), CLIENTS, CAPACITY_SECONDS)
            capacity = sum(one.status == 200 for one in calm) / CAPACITY_SECONDS
            table = await _overloaded(served, capacity, options.seconds)
        spent = await _refusal(behind)
        table.targets[f"a refusal costs {spent:.3f} ms of CPU time ({REFUSAL_MILLISECONDS})"] = (
            spent <= REFUSAL_MILLISECONDS
        )
    return table


async def _refusal(behind: Running) -> float:
    """Return the CPU time of a refusal, in milliseconds. An unfinished upload holds the user's only slot."""
    async with gateway(behind, MAX_CONCURRENT_REQUESTS=str(SHARES)) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(viewer(ADA).raw[:-1])
        await apart(at_once, served.port, viewer(ADA), CLIENTS, 1.0)
        before = cpu_seconds(served.pid)
        refused = await apart(at_once, served.port, viewer(ADA), CLIENTS, REFUSAL_SECONDS)
        spent = cpu_seconds(served.pid) - before
        writer.close()
    if any(one.status != 429 for one in refused):
        raise RuntimeError("a request was not refused")
    return spent / len(refused) * 1000


async def _overloaded(served: Running, capacity: float, seconds: float) -> Table:
    load, pings, others = await asyncio.gather(
        apart(at_pace, served.port, [dashboard()], FACTOR * capacity, seconds),
        apart(at_pace, served.port, [Request.get("/ping")], PINGS_PER_SECOND, seconds + AFTER_SECONDS),
        apart(at_pace, served.port, [viewer(GRACE)], PINGS_PER_SECOND, seconds + AFTER_SECONDS),
    )
    good = sum(one.status == 200 and one.seconds <= 1 for one in load) / seconds
    during = [one.seconds for one in pings if one.began < seconds]
    after = [one.seconds for one in pings if one.began > seconds + 5]
    refused = sum(one.status != 200 for one in others)
    table = Table(
        f"Overload: {FACTOR} times the capacity of {capacity:.0f} dashboards a second for {seconds:g} s",
        ("what", "count", "p50 ms", "p99 ms", "most ms"),
    )
    table.rows = [
        _row("dashboards answered", [one for one in load if one.status == 200]),
        _row("dashboards refused", [one for one in load if one.status == 503]),
        _row("dashboards lost", [one for one in load if one.status not in {200, 503}]),
        _row("/ping, during", [one for one in pings if one.began < seconds]),
        _row("/ping, 5 s after", [one for one in pings if one.began > seconds + 5]),
        _row("another user's viewer", [one for one in others if one.began < seconds]),
    ]
    table.targets = {
        f"{good / capacity:.0%} of the capacity is answered within a second (70%)": good >= 0.7 * capacity,
        f"/ping: p99 {percentile(during, 0.99) * 1000:.0f} ms (250 ms)": percentile(during, 0.99) <= 0.25,
        f"/ping 5 s later: p99 {percentile(after, 0.99) * 1000:.0f} ms (50 ms)": percentile(after, 0.99) <= 0.05,
        f"another user's viewer: {refused} of {len(others)} refused (0)": refused == 0,
    }
    return table


def _row(name: str, answers: list[Answered]) -> tuple[str, ...]:
    taken = [one.seconds * 1000 for one in answers]
    shown = (f"{percentile(taken, share):.1f}" if taken else "" for share in (0.5, 0.99, 1.0))
    return (name, str(len(answers)), *shown)
