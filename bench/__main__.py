"""Run scenarios and print their results."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import signal
import sys
import traceback
from pathlib import Path

from bench.compare import alone
from bench.processes import NotInstalled
from bench.profiling import profile_into
from bench.report import document, save
from bench.support import CACHE, Options, Table

PERFORMANCE = (
    *(
        "dashboard",
        "object",
        "mutation",
        "completion",
        "chunks",
        "tokens",
        "paced",
        "workers",
        "linear",
        "start",
        "responses",
    ),
)
"""The scenarios in the table of ``docs/performance.md``. They run by default."""

SCENARIOS = (*PERFORMANCE, "models", "overload", "refusals", "shared", "honest", "signin")


def main() -> int:
    """Run the named scenarios. Return 1 if a target was missed or a scenario was skipped, or else 0."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that ``finally`` blocks stop the scenario's processes
    parser = _parser()
    given = parser.parse_args()
    if unknown := set(given.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    options = Options(
        base=given.base,
        rounds=given.rounds,
        seconds=given.seconds,
        pinned=not given.unpinned,
        tree=given.tree.resolve(),
    )
    results: dict[str, Table] = {}
    for name in given.scenario or PERFORMANCE:
        if given.profile:
            profile_into(CACHE / "profiles", name)
        try:
            with alone():
                results[name] = asyncio.run(importlib.import_module(f"bench.{name}").run(options))
        except NotInstalled as missing:
            print(f"{name}: {missing}", file=sys.stderr, flush=True)
            continue
        except Exception:  # noqa: BLE001 - the other scenarios' results are kept
            traceback.print_exc()
            continue
        if not given.json:
            print(results[name].text(), flush=True)
    found = document(results, options)
    if given.json:
        print(json.dumps(found, indent=1))
    if given.save:
        print(f"Wrote {save(found).name}", file=sys.stderr)
    ran = len(results) == len(given.scenario or PERFORMANCE)
    return 0 if ran and all(met for table in results.values() for met in table.targets.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = f"{', '.join(SCENARIOS)}; by default {', '.join(PERFORMANCE)}"
    parser.add_argument("scenario", nargs="*", metavar="scenario", help=names)
    parser.add_argument(
        "--base", default=Options.base, metavar="REV", help="the git revision that honest compares with"
    )
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="the number of measurements of each server")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="the duration of a load, in seconds")
    parser.add_argument("--unpinned", action="store_true", help="permit the measured servers to use all cores")
    parser.add_argument(
        "--tree", type=Path, default=Options.tree, help="the folder of the gateway's source; by default this one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--save", action="store_true", help="also write the JSON document to bench/results")
    parser.add_argument("--profile", action="store_true", help="write flame graphs of the gateways to .bench/profiles")
    return parser


if __name__ == "__main__":
    sys.exit(main())
