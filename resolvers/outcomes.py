"""Outcomes that a person acts on: errors of a mutation that are data in its payload.

Who you are, not found, malformed, limits and infrastructure stay errors of the whole field.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clients.codes import Reason
from clients.errors import BudgetExceeded, GatewayError, Invalid


class Outcome(msgspec.Struct, frozen=True):
    """What every outcome has: a sentence for people."""

    message: str


class Busy(Outcome, frozen=True):
    """The conversation is busy with another run."""

    run_id: str | None


class BudgetSpent(Outcome, frozen=True):
    """The budget that pays for model calls is spent."""


class VersionTaken(Outcome, frozen=True):
    """The version has been published before."""


class NoWay(Outcome, frozen=True):
    """No migrations lead to the version."""


class BadTemplate(Outcome, frozen=True):
    """The Agent File cannot be published; ``problems`` say why, a line each."""

    problems: list[str]


class BadVariables(Outcome, frozen=True):
    """The variables do not fit the template; ``problems`` say why, a line each."""

    problems: list[str]


_INVALID: dict[Reason, type[BadTemplate | BadVariables]] = {
    Reason.TEMPLATE_INVALID: BadTemplate,
    Reason.VARIABLES_INVALID: BadVariables,
}
_BY_REASON: dict[Reason, Callable[[GatewayError], Outcome]] = {
    Reason.VERSION_EXISTS: lambda error: VersionTaken(error.message),
    Reason.NO_MIGRATION_PATH: lambda error: NoWay(error.message),
    Reason.RUN_BUSY: lambda error: Busy(error.message, error.details.get("runId")),
}


def outcome_of(error: GatewayError) -> Outcome | None:
    """The outcome that an error is, if it is one."""
    if isinstance(error, BudgetExceeded):
        return BudgetSpent(error.message)
    if error.reason is None:
        return None
    if isinstance(error, Invalid):
        return _INVALID[error.reason](error.message, error.problems)
    make = _BY_REASON.get(error.reason)
    return None if make is None else make(error)
