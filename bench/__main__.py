"""Run scenarios and print their results."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys

from bench.support import Options, Table

SCENARIOS = ("overload", "refusals", "paced", "shared", "honest", "signin")


def main() -> int:
    """Run the named scenarios, or all. Return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", metavar="scenario", help=f"{', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--base", default=Options.base, metavar="REV", help="the revision to compare with")
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="measurements of each side of a comparison")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="how long a load lasts")
    given = parser.parse_args()
    if unknown := set(given.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    options = Options(base=given.base, rounds=given.rounds, seconds=given.seconds)
    met = True
    for name in given.scenario or SCENARIOS:
        table: Table = asyncio.run(importlib.import_module(f"bench.{name}").run(options))
        print(table.text(), flush=True)
        met = met and all(table.targets.values())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
