"""The results of a run as one JSON document, without names or paths of the machine."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
from pathlib import Path
from typing import Any

from bench.machine import described
from bench.support import ROOT, Options, Table

RESULTS = ROOT / "bench" / "results"


def document(results: dict[str, Table], options: Options) -> dict[str, Any]:
    """Return each scenario's figures, ratios and targets, with the revision, date, machine and options."""
    return {
        "revision": revision_of(options.tree),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": described(),
        "rounds": options.rounds,
        "pinned": options.pinned,
        "scenarios": {
            name: {
                "title": table.title,
                "figures": _finite(table.figures) or _cells(table),
                "notes": table.notes,
                "targets": table.targets,
            }
            for name, table in results.items()
        },
    }


def _cells(table: Table) -> dict[str, Any]:
    return {"header": list(table.header), "rows": [list(row) for row in table.rows]}


def _finite(value: Any) -> Any:
    """Return a value with ``None`` for infinities and NaN, and with at most six significant digits per number."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def revision_of(tree: Path) -> str:
    """Return the short Git revision of a tree, with ``-dirty`` if it has changes."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def save(found: dict[str, Any]) -> Path:
    """Write a document to ``bench/results``, and return the file's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{found['date']}-{found['revision']}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path
