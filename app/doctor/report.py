"""The report of all checks: for a terminal, or as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby

from app.doctor.findings import Finding, Status
from app.doctor.registry import TITLES
from app.doctor.running import Result
from app.doctor.secrecy import Secrets
from app.version import VERSION

MAX_WIDTH = 120
"""The maximum length of a line, in characters."""

_MARGIN = 11
_COLOURS = {Status.OK: "32", Status.WARNING: "33", Status.PROBLEM: "31", Status.SKIPPED: "2"}


class ExitStatus(IntEnum):
    """The exit status of the command."""

    FINE = 0
    """There is no problem. There may be warnings."""
    PROBLEMS = 1
    """There is at least one problem."""
    UNREADABLE = 2
    """The settings are invalid, so that only the settings were checked; or the command line is wrong."""


@dataclass(frozen=True, slots=True)
class Report:
    """All results, in the order of the output.

    Attributes:
        secrets: what the output must not contain.
        has_settings: whether the settings are valid.
    """

    results: Sequence[Result]
    secrets: Secrets = field(default_factory=Secrets)
    has_settings: bool = True

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings with each status."""
        found = Counter(finding.status for result in self.results for finding in result.findings)
        return {status.value: found[status] for status in Status}

    @property
    def status(self) -> Status:
        """The worst status: ``problem``, ``warning`` or ``ok``."""
        return next((one for one in (Status.PROBLEM, Status.WARNING) if self.counts[one]), Status.OK)

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of the command."""
        if not self.has_settings:
            return ExitStatus.UNREADABLE
        return ExitStatus.PROBLEMS if self.status is Status.PROBLEM else ExitStatus.FINE

    def as_json(self) -> str:
        """Return the report as JSON. ``docs/doctor.md`` documents the form."""
        findings = [
            {"check": result.check.name, "status": one.status.value, "found": one.found, "cure": one.cure}
            for result, one in self._findings()
        ]
        document = {"version": VERSION, "status": self.status.value, "counts": self.counts, "findings": findings}
        return json.dumps(document, indent=2, ensure_ascii=False)

    def as_text(self, width: int, *, coloured: bool) -> str:
        """Return the report for a terminal with ``width`` columns."""
        lines = [f"agentgraph doctor {VERSION}"]
        for group, found in groupby(self._findings(), lambda pair: pair[0].check.group):
            lines += ["", TITLES[group], *_lines(list(found), min(width, MAX_WIDTH), coloured)]
        counts = self.counts
        words = {Status.PROBLEM: "problem", Status.WARNING: "warning"}
        total = [f"{counts[one]} {word}{'' if counts[one] == 1 else 's'}" for one, word in words.items()]
        return "\n".join([*lines, "", ", ".join([*total, f"{counts['ok']} ok", f"{counts['skipped']} skipped"])])

    def _findings(self) -> Iterator[tuple[Result, Finding]]:
        for result in self.results:
            for one in result.findings:
                cure = None if one.cure is None else self._safe(one.cure)
                yield result, Finding(one.status, self._safe(one.found), cure)

    def _safe(self, text: str) -> str:
        """Hide secrets, and escape bytes of the environment that are no text, which cannot be printed."""
        return self.secrets.hide(text).encode(errors="backslashreplace").decode()


def _lines(found: list[tuple[Result, Finding]], width: int, coloured: bool) -> Iterator[str]:
    """Yield the lines of one group. Checks that were skipped for the same reason share their lines."""
    names = max(len(result.check.name) for result, _ in found)
    skipped: dict[str, list[str]] = {}
    for result, finding in found:
        if finding.status is Status.SKIPPED:
            skipped.setdefault(finding.found, []).append(result.check.name)
            continue
        yield from _wrapped(finding.status, f"{result.check.name:<{names}}  ", finding.found, width, coloured)
        if finding.cure is not None:
            yield from _indented(f"Cure: {finding.cure}", " " * (_MARGIN + names + 2), width)
    for reason, checks in skipped.items():
        which = f"all {len(checks)} checks" if len(checks) == len(found) else ", ".join(checks)
        yield from _wrapped(Status.SKIPPED, "", f"{which}: {reason}", width, coloured)


def _wrapped(status: Status, name: str, text: str, width: int, coloured: bool) -> Iterator[str]:
    word = f"  {status.value:<{_MARGIN - 2}}"
    first, *rest = _indented(text, " " * (_MARGIN + len(name)), width)
    start = f"\x1b[{_COLOURS[status]}m{word}\x1b[0m" if coloured else word
    yield start + name + first.lstrip()
    yield from rest


def _indented(text: str, indent: str, width: int) -> Iterable[str]:
    wide = max(width, len(indent) + 40)
    return textwrap.wrap(
        text, wide, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
