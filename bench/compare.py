"""Comparisons: several servers do the same work in turns, A B C A B C, and each ratio is the median of the rounds'."""

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
"""Loads a server for a while. Returns figures, at least the ``number`` of answers."""


@dataclass(frozen=True)
class Side:
    """A server of a comparison, and its load.

    Attributes:
        name: in tables.
        server: the process that does the work.
        load: one measurement.
        is_ours: whether it is a gateway, which is compared with the other sides.
    """

    name: str
    server: Running
    load: Load
    is_ours: bool = False

    async def measure(self) -> dict[str, float]:
        """Load the server once. The figures have the CPU time per answer, in microseconds, as ``cpu``."""
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
        """Return a figure of a side, of each round."""
        return [one[figure] for one in self.rounds[side]]

    def median(self, side: str, figure: str) -> float:
        """Return the median of a figure of a side."""
        return statistics.median(self.values(side, figure))

    def ratio(self, side: str, other: str, figure: str = "per_second") -> float:
        """Return the median of the rounds' ratios of a figure of two sides."""
        pairs = zip(self.values(side, figure), self.values(other, figure), strict=True)
        return statistics.median(one / two if two else math.nan for one, two in pairs)

    def documented(self) -> dict[str, object]:
        """Return all medians, least and greatest values, and the ratios of our sides to the others."""
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
    """Load the sides in turns: ``warm`` times without a record, then in rounds."""
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

    ``each`` is the number of things in an answer, such as chunks, that are counted instead of answers. Columns at the
    right have the ratios of our sides to the side of the row: of the rate, and of the CPU time.
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
    """Add the targets of one of our sides: the least ratios of its rate to those of other sides, where they ran."""
    for other, target in least.items():
        if other in found.rounds:
            ratio = found.ratio(our, other)
            result.targets[f"{our}: {ratio:.2f} times {other} (at least {target:g})"] = ratio >= target


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other comparison runs on this machine: they would share cores, and the ports of the peers."""
    with (Path(tempfile.gettempdir()) / "agentgraph-bench.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another benchmark runs on this machine: waiting for its end", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
