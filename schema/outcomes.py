"""The GraphQL types for mutation payloads, and for expected errors that the user can resolve."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar

import msgspec
import strawberry

from clients.errors import GatewayError
from resolvers import outcomes, users
from resolvers.info import Info
from resolvers.outcomes import Outcome, outcome_of
from schema import costs
from schema.access import Access
from schema.base import answered_by, described, shows
from schema.run import Run, run_of

P = TypeVar("P", bound="PayloadRecord")
T = TypeVar("T", bound=type)


class PayloadRecord(msgspec.Struct, kw_only=True):
    """The base class of payload records. All fields have defaults, because a payload can have only errors."""

    errors: list[Outcome] = []


def done_by(
    record: type[P],
    resolver: Callable[..., Awaitable[P]],
    description: str,
    *outcomes: type,
    access: Access,
    calls: int,
) -> Any:
    """Declare a mutation, its possible ``errors``, who may call it, and its number of upstream calls.

    The resolver does not reuse earlier reads. An error that has an outcome becomes the ``errors`` of a ``record``.
    """

    @wraps(resolver)
    async def done(info: Info, **arguments: Any) -> P:
        info.context.reset_loaders()
        try:
            return await resolver(info, **arguments)
        except GatewayError as error:
            outcome = outcome_of(error)
            if outcome is None:
                raise
            return record(errors=[outcome])

    names = ", ".join(f"`{kind.__name__}`" for kind in outcomes)
    description = f"{description} Possible `errors`: {names}." if names else description
    return strawberry.field(resolver=done, description=description, directives=[access, costs.calls(calls)])


def payload(record: type) -> Callable[[T], T]:
    """Declare the payload type of a mutation. ``record`` is the class of the payload's records.

    The type is named after the mutation.
    """

    def declare(cls: T) -> T:
        name = cls.__name__.removesuffix("Payload")
        return shows(f"The result of `{name[0].lower()}{name[1:]}`.", record)(cls)

    return declare


@strawberry.interface(description="A failure of a mutation that the user can resolve.")
class UserError:
    message: str = described("An explanation that can be shown to the user.")


@strawberry.type
class Payload:
    errors: list[UserError] = described(
        "Failures that the user can resolve. The mutation's description lists the possible types. Empty on success.",
        costs=[costs.assumed(5)],
    )


@shows("The conversation has a run in progress. Wait for the run to end, or cancel the run.", outcomes.Busy)
class ConversationBusy(UserError):
    run: Run | None = answered_by(run_of, "The conversation's run in progress.", costs=[costs.calls()])


async def _resets_at(info: Info) -> datetime | None:
    budget = await users.own_budget(info.context)
    return None if budget is None else budget.budget_reset_at


@shows("The budget for the user's model calls is exhausted.", outcomes.BudgetSpent)
class BudgetExceeded(UserError):
    resets_at: datetime | None = answered_by(
        _resets_at,
        "When the next budget period begins. Null if the budget never resets.",
        optional=True,
        costs=[costs.SHARED],
    )


@shows(
    "This version of the template is already published. Publish the Agent File under a new version number.",
    outcomes.VersionExists,
)
class VersionExists(UserError):
    """The GraphQL type for a ``Conflict`` with the reason ``VERSION_EXISTS``."""


@shows("The template has no migrations from the agent's version to the requested version.", outcomes.NoMigrationPath)
class NoMigrationPath(UserError):
    """The GraphQL type for a ``Conflict`` with the reason ``NO_MIGRATION_PATH``."""


@shows("The Agent File is invalid and was not published.", outcomes.BadTemplate)
class TemplateInvalid(UserError):
    problems: list[str] = described("The problems of the Agent File. Each item describes one problem.")


@shows("The given `variables` do not match the variables that the template declares.", outcomes.BadVariables)
class VariablesInvalid(UserError):
    problems: list[str] = described("The problems of `variables`. Each item describes one missing or invalid variable.")


def user_error_of(outcome: Outcome) -> str:
    """Return the name of an outcome's GraphQL type."""
    return next(kind.__name__ for kind in UserError.__subclasses__() if type(outcome) in getattr(kind, "records", ()))
