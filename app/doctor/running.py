"""Runs the checks concurrently. A check that fails, breaks or hangs hides no other check."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, Status, problem, skipped
from app.doctor.installation import Installation
from clients.site import NoAnswer
from clients.state.errors import StateUnavailable

CALLS_PER_CHECK = 3
"""A check may take as long as this number of calls."""

_BUG = "Report this as a bug of the gateway, with the output of `agentgraph doctor --json`."


@dataclass(frozen=True, slots=True)
class Result:
    """The findings of one check. ``blocked_by`` is the check that must succeed first."""

    check: Check
    findings: tuple[Finding, ...]
    blocked_by: str | None = None

    @property
    def blocker(self) -> str | None:
        """The check because of which later checks cannot be made, or ``None``."""
        failed = any(finding.status is Status.PROBLEM for finding in self.findings)
        return self.check.name if failed else self.blocked_by


def blocked(check: Check, by: str) -> Result:
    """Return the result of a check that another check's problem prevents."""
    return Result(check, (skipped(f"{by} must succeed first."),), by)


async def run_checks(checks: Sequence[Check], installation: Installation) -> list[Result]:
    """Make checks, each of which stands after the checks that it needs. Return their results in the same order."""
    tasks: dict[str, asyncio.Task[Result]] = {}
    for check in checks:
        needed = {name: tasks[name] for name in check.needs}
        tasks[check.name] = asyncio.create_task(_after(check, needed, installation))
    return await asyncio.gather(*tasks.values())


async def _after(check: Check, needed: Mapping[str, asyncio.Task[Result]], installation: Installation) -> Result:
    for task in needed.values():
        if (by := (await task).blocker) is not None:
            return blocked(check, by)
    return Result(check, tuple(await _made(check, installation)))


async def _made(check: Check, installation: Installation) -> list[Finding]:
    seconds = CALLS_PER_CHECK * installation.options.seconds
    try:
        async with asyncio.timeout(seconds):
            found = await check.run(installation)
    except NotChecked as reason:
        return [skipped(str(reason))]
    except TimeoutError:
        return [problem(f"The check took longer than {seconds:g} s.", "Check the server's load, or raise --timeout.")]
    except (NoAnswer, StateUnavailable) as error:
        return [problem(f"A call of the check failed: {error}.", "Check the server's log and load.")]
    except Exception as error:  # noqa: BLE001 - the other checks must be reported
        return [problem(f"The check is broken: {type(error).__name__}.", _BUG)]
    return found if isinstance(found, list) else [found]
