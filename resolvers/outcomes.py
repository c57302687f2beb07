"""Outcomes that a person acts on: errors of a mutation that are data in its payload.

Who you are, not found, malformed, limits and infrastructure stay errors of the whole field.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clients.errors import BudgetExceeded, GatewayError


class Outcome(msgspec.Struct, frozen=True):
    """What every outcome has: a sentence for people."""

    message: str


class Busy(Outcome, frozen=True):
    """The conversation is busy with another run."""

    run_id: str | None


class BudgetSpent(Outcome, frozen=True):
    """The budget that pays for model calls is spent."""


_BY_REASON: dict[str, Callable[[GatewayError], Outcome]] = {
    "RUN_BUSY": lambda error: Busy(error.message, error.details.get("runId")),
}


def outcome_of(error: GatewayError) -> Outcome | None:
    """The outcome that an error is, if it is one."""
    if isinstance(error, BudgetExceeded):
        return BudgetSpent(error.message)
    make = _BY_REASON.get(error.reason or "")
    return None if make is None else make(error)
