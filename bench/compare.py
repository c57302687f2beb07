"""Comparisons: the load visits several servers in turns, A B C A B C. A ratio is the median of the rounds' ratios."""

from __future__ import annotations

import fcntl
import math
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import tree_cpu_seconds
from bench.support import Options, Running, Table

Load = Callable[[Running], Awaitable[dict[str, float]]]
"""Loads a server for a fixed time. Returns figures, at least the ``number`` of answers and the rate ``per_second``."""


@dataclass(frozen=True)
class Side:
    """A server of a comparison, and its load.

    Attributes:
        name: the name in tables.
        server: the server's process.
        load: performs one measurement.
        is_ours: whether the server is a gateway. The table compares gateways with all other sides.
    """

    name: str
    server: Running
    load: Load
    is_ours: bool = False

    async def measure(self) -> dict[str, float]:
        """Load the server once. Return the load's figures, and as ``cpu`` the CPU time per answer in microseconds."""
        before = tree_cpu_seconds(self.server.pid)
        found = await self.load(self.server)
        spent = tree_cpu_seconds(self.server.pid) - before
        return {**found, "cpu": spent / found["number"] * 1e6 if found["number"] else math.nan}


@dataclass
class Compared:
    """The figures of each side, round by round, by the side's name."""

    ours: Sequence[str]
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def values(self, side: str, figure: str) -> list[float]:
        """Return the values of a side's figure in all rounds."""
        return [one[figure] for one in self.rounds[side]]

    def median(self, side: str, figure: str) -> float:
        """Return the median of a side's figure."""
        return statistics.median(self.values(side, figure))

    def ratio(self, side: str, other: str, figure: str = "per_second") -> float:
        """Return the median of the rounds' ratios of ``side``'s figure to ``other``'s figure."""
        pairs = zip(self.values(side, figure), self.values(other, figure), strict=True)
        return statistics.median(one / two if two else math.nan for one, two in pairs)

    def documented(self) -> dict[str, object]:
        """Return all medians, minimums and maximums, and the ratios of the gateways to the other sides."""
        sides = {
            side: {
                figure: {
                    "median": self.median(side, figure),
                    "least": min(self.values(side, figure)),
                    "most": max(self.values(side, figure)),
                }
                for figure in found[0]
            }
            for side, found in self.rounds.items()
        }
        ratios = {
            our: {
                other: {"per_second": self.ratio(our, other), "cpu": self.ratio(other, our, "cpu")}
                for other in self.rounds
                if other not in self.ours
            }
            for our in self.ours
        }
        return {"sides": sides, "ratios": ratios}


async def compare(sides: Sequence[Side], options: Options, *, warm: int = 1) -> Compared:
    """Load the sides in turns: ``warm`` times without recording the figures, and then ``options.rounds`` times."""
    found = Compared([one.name for one in sides if one.is_ours], {one.name: [] for one in sides})
    for _ in range(warm):
        for side in sides:
            await side.measure()
    for number in range(options.rounds):
        for side in sides:
            one = await side.measure()
            found.rounds[side.name].append(one)
            print(f"  round {number + 1}: {side.name}: {one['per_second']:.1f}/s", file=sys.stderr, flush=True)
    return found


def table(title: str, found: Compared, *, unit: str = "req/s", each: float = 1.0) -> Table:
    """Return the table of a comparison.

    Args:
        title: the table's title.
        found: the figures.
        unit: the unit of rates.
        each: the number of units per answer, such as chunks.

    Returns:
        A table with a row for each side. The last columns have the gateways' ratios to the row's side: of the rates,
        and of the CPU times.
    """
    header = ["", unit, "least to most", "CPU us", *(f"{our} is" for our in found.ours)]
    result = Table(title, header, figures=found.documented())
    for name in found.rounds:
        rates = [one * each for one in found.values(name, "per_second")]
        row = [
            name,
            _short(statistics.median(rates)),
            f"{_short(min(rates))} to {_short(max(rates))}",
            _short(found.median(name, "cpu") / each),
        ]
        row += ["" if name in found.ours else _ratios(found, our, name) for our in found.ours]
        result.rows.append(row)
        if any(refused := [one.get("refused", 0) for one in found.rounds[name]]):
            result.notes.append(f"{name} refused {sum(refused):.0f} requests, which do not count")
    return result


def _ratios(found: Compared, our: str, other: str) -> str:
    return f"{found.ratio(our, other):.2f}x (CPU {found.ratio(other, our, 'cpu'):.2f}x)"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def expect(result: Table, found: Compared, our: str, least: dict[str, float]) -> None:
    """Add targets for a gateway: the minimum ratio of its rate to each other side's rate, if the side has run."""
    for other, target in least.items():
        if other in found.rounds:
            ratio = found.ratio(our, other)
            result.targets[f"{our}: {ratio:.2f} times {other} (at least {target:g})"] = ratio >= target


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other scenario runs on this machine, because scenarios use the same cores and ports."""
    with (Path(tempfile.gettempdir()) / "agentgraph-bench.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Waiting, because a different benchmark runs on this machine", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
