"""Ten times the gateway's capacity for 30 seconds: timely answers, the latency of ``/ping``, and the recovery."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson

from bench.load import Answered, Request, at_once, at_pace
from bench.support import Options, Running, Table, apart, gateway, percentile, token, upstreams

FACTOR = 10
CLIENTS = 8
SECONDS = 30.0
CALM_SECONDS = 8.0
AFTER_SECONDS = 5.0
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
    """Return a minimal query of the user ``user_id``."""
    return Request.post("/graphql", b'{"query": "{ viewer { id } }"}', token(user_id))


@dataclass
class Calm:
    """The answers to a closed loop of dashboards, and to health checks at the same time."""

    dashboards: list[Answered]
    pings: list[Answered]

    @property
    def capacity(self) -> float:
        """Return the dashboards per second."""
        return sum(one.status == 200 for one in self.dashboards) / CALM_SECONDS

    def percentiles(self) -> tuple[float, float]:
        """Return the median time of a dashboard, and the 99th percentile of a health check, in seconds."""
        return (
            percentile([one.seconds for one in self.dashboards], 0.5),
            percentile([one.seconds for one in self.pings], 0.99),
        )


async def run(options: Options) -> Table:
    """Measure the capacity, send ten times as many requests, and measure the capacity again."""
    seconds = SECONDS if options.seconds is None else options.seconds
    async with upstreams() as behind, gateway(behind) as served:
        await apart(at_once, served.port, [dashboard()], CLIENTS, 3.0)
        before = await _calm(served)
        table = await _overloaded(served, before.capacity, seconds)
        await asyncio.sleep(AFTER_SECONDS)
        after = await _calm(served)
    for name, calm in (("before", before), (f"{AFTER_SECONDS:g} s after", after)):
        table.rows += [_row(f"dashboards {name}", calm.dashboards), _row(f"/ping {name}", calm.pings)]
    (usual, usual_ping), (later, later_ping) = before.percentiles(), after.percentiles()
    table.targets |= {
        f"{after.capacity / before.capacity:.0%} of the capacity {AFTER_SECONDS:g} s after (90%)": (
            after.capacity >= 0.9 * before.capacity
        ),
        f"a dashboard takes {later / usual:.2f} times as long {AFTER_SECONDS:g} s after (1.2)": later <= 1.2 * usual,
        f"/ping {AFTER_SECONDS:g} s after: p99 {(later_ping - usual_ping) * 1000:+.0f} ms (+20)": (
            later_ping <= usual_ping + 0.02
        ),
    }
    return table


async def _calm(served: Running) -> Calm:
    return Calm(
        *await asyncio.gather(
            apart(at_once, served.port, [dashboard()], CLIENTS, CALM_SECONDS),
            apart(at_pace, served.port, [Request.get("/ping")], PINGS_PER_SECOND, CALM_SECONDS),
        )
    )


async def _overloaded(served: Running, capacity: float, seconds: float) -> Table:
    load, pings, others = await asyncio.gather(
        apart(at_pace, served.port, [dashboard()], FACTOR * capacity, seconds),
        apart(at_pace, served.port, [Request.get("/ping")], PINGS_PER_SECOND, seconds),
        apart(at_pace, served.port, [viewer(GRACE)], PINGS_PER_SECOND, seconds),
    )
    good = sum(one.status == 200 and one.seconds <= 1 for one in load) / seconds
    during = [one.seconds for one in pings]
    refused = sum(one.status != 200 for one in others)
    table = Table(
        f"Overload: {FACTOR} times the capacity of {capacity:.0f} dashboards a second for {seconds:g} s",
        ("what", "count", "p50 ms", "p99 ms", "most ms"),
    )
    table.rows = [
        _row("dashboards answered", [one for one in load if one.status == 200]),
        _row("dashboards refused", [one for one in load if one.status == 503]),
        _row("dashboards lost", [one for one in load if one.status not in {200, 503}]),
        _row("/ping, during", pings),
        _row("another user's viewer", others),
    ]
    table.targets = {
        f"{good / capacity:.0%} of the capacity is answered within a second (70%)": good >= 0.7 * capacity,
        f"/ping: p99 {percentile(during, 0.99) * 1000:.0f} ms (250 ms)": percentile(during, 0.99) <= 0.25,
        f"another user's viewer: {refused} of {len(others)} refused (0)": refused == 0,
    }
    return table


def _row(name: str, answers: list[Answered]) -> tuple[str, ...]:
    taken = [one.seconds * 1000 for one in answers]
    shown = (f"{percentile(taken, share):.1f}" if taken else "" for share in (0.5, 0.99, 1.0))
    return (name, str(len(answers)), *shown)
