"""The type of a check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.doctor.findings import Finding
from app.doctor.installation import Installation

Run = Callable[[Installation], Awaitable[Finding | list[Finding]]]
"""Makes a check. Raises NotChecked if the check cannot be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: the group and the subject, as in ``letta.version``.
        looks_at: what the check finds, for the documentation.
        run: makes the check.
        needs: the names of checks that must find no problem first.
    """

    name: str
    looks_at: str
    run: Run
    needs: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]
