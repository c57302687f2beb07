"""Outcomes are expected errors that a mutation returns in its payload."""

from collections.abc import Callable

import msgspec

from clients.codes import Reason
from clients.errors import BudgetExceeded, GatewayError, Invalid


class Outcome(msgspec.Struct, frozen=True):
    """The base class of outcomes. A client can show the message to the user."""

    message: str


class Busy(Outcome, frozen=True):
    """The conversation is busy with another run."""

    run_id: str | None


class BudgetSpent(Outcome, frozen=True):
    """The budget for model calls is spent."""


class VersionExists(Outcome, frozen=True):
    """The template's version is already published."""


class NoMigrationPath(Outcome, frozen=True):
    """There is no migration path to the requested version."""


class BadTemplate(Outcome, frozen=True):
    """The Agent File is invalid."""

    problems: list[str]


class BadVariables(Outcome, frozen=True):
    """The variables do not match the template."""

    problems: list[str]


_INVALID: dict[Reason, type[BadTemplate | BadVariables]] = {
    Reason.TEMPLATE_INVALID: BadTemplate,
    Reason.VARIABLES_INVALID: BadVariables,
}
_BY_REASON: dict[Reason, Callable[[GatewayError], Outcome]] = {
    Reason.VERSION_EXISTS: lambda error: VersionExists(error.message),
    Reason.NO_MIGRATION_PATH: lambda error: NoMigrationPath(error.message),
    Reason.RUN_BUSY: lambda error: Busy(error.message, error.details.get("runId")),
}


def outcome_of(error: GatewayError) -> Outcome | None:
    """Convert an error to an outcome, or return ``None`` if the error belongs in the response's ``errors``."""
    if isinstance(error, BudgetExceeded) and error.reason != Reason.MAX_COST:
        return BudgetSpent(error.message)
    if error.reason is None:
        return None
    if isinstance(error, Invalid):
        return _INVALID[error.reason](error.message, error.problems)
    make = _BY_REASON.get(error.reason)
    return None if make is None else make(error)
