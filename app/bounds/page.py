"""The tables of bounds in ``docs/limits.md``: ``python -m app.bounds.page docs/limits.md`` writes them anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from app.bounds import doors, inputs, work
from app.bounds.bound import Bound

BEGIN, END = "<!-- The table is generated: make generated -->", "<!-- The end of the table -->"

SECTIONS: dict[str, tuple[Bound, ...]] = {
    "Requests": doors.REQUESTS,
    "Connections": doors.CONNECTIONS,
    "Slots": doors.SLOTS,
    "WebSockets": doors.SOCKETS,
    "GraphQL": doors.GRAPHQL,
    "Messages and completions": inputs.COMPLETIONS,
    "Agents": inputs.AGENTS,
    "Streams": work.STREAMS,
    "Upstream calls": work.UPSTREAM_CALLS,
}


def keys() -> Iterator[str]:
    """Yield the key of every bound."""
    for bounds in SECTIONS.values():
        yield from (bound.key for bound in bounds)


def rewritten(page: str) -> str:
    """Return ``docs/limits.md`` with its tables anew. Raises ValueError for a page without the marks."""
    found = re.fullmatch(f"(.*{BEGIN}\n).*({END}.*)", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no table between {BEGIN!r} and {END!r}")
    tables = "\n".join(_table(name, bounds) for name, bounds in SECTIONS.items())
    return f"{found[1]}\n{tables}\n{found[2]}"


def _table(name: str, bounds: tuple[Bound, ...]) -> str:
    head = f"### {name}\n\n| what | at most | setting | past it |\n|---|---|---|---|\n"
    return head + "".join(bound.row() for bound in bounds)


if __name__ == "__main__":
    written = Path(sys.argv[1])
    written.write_text(rewritten(written.read_text()))
