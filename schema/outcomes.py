"""Payloads and their ``errors``: the outcomes of mutations that a user can act on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import strawberry
from strawberry import Parent

from clients.errors import GatewayError
from resolvers import outcomes, turns, users
from resolvers.info import Info
from resolvers.outcomes import Outcome, outcome_of
from resolvers.owned import OwnedRun
from schema import costs
from schema.base import answered_by, described, reads

if TYPE_CHECKING:
    from schema.run import Run

P = TypeVar("P", bound="PayloadRecord")


class PayloadRecord(msgspec.Struct, kw_only=True):
    """Base of payload records. All fields have defaults, because a payload of errors has no other field."""

    errors: list[Outcome] = []


def done_by(
    record: type[P], resolver: Callable[..., Awaitable[P]], description: str, *outcomes: type, calls: int
) -> Any:
    """Declare a mutation, its possible outcomes and its number of upstream calls.

    The resolver does not reuse reads of earlier mutations. An error that is an outcome becomes a payload ``record``.
    """

    @wraps(resolver)
    async def done(info: Info, **arguments: Any) -> P:
        info.context.forget()
        try:
            return await resolver(info, **arguments)
        except GatewayError as error:
            outcome = outcome_of(error)
            if outcome is None:
                raise
            return record(errors=[outcome])

    names = ", ".join(f"`{kind.__name__}`" for kind in outcomes)
    description = f"{description} Outcomes: {names}." if names else description
    return strawberry.field(resolver=done, description=description, directives=[costs.calls(calls)])


@strawberry.interface(description="An outcome of a mutation that the user can act on.")
class UserError:
    message: str = described("An explanation that can be shown to the user.")


@strawberry.type
class Payload:
    errors: list[UserError] = described(
        "Outcomes that the user can act on; the mutation's description lists the possible types. Empty on success.",
        costs=[costs.assumed(5)],
    )


async def _busy_run(record: Parent[outcomes.Busy], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, record.run_id)


@strawberry.type(description="The conversation has a run in progress. Wait for it to end, or cancel it.")
@reads(outcomes.Busy)
class ConversationBusy(UserError):
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        _busy_run, "The run in progress.", costs=[costs.calls()]
    )


async def _resets_at(record: Parent[outcomes.BudgetSpent], info: Info) -> datetime | None:  # noqa: ARG001 - the viewer's
    budget = await users.own_budget(info.context)
    return None if budget is None else budget.budget_reset_at


@strawberry.type(description="The budget for the user's model calls is exhausted.")
@reads(outcomes.BudgetSpent)
class BudgetExceeded(UserError):
    resets_at: datetime | None = answered_by(
        _resets_at,
        "When the next budget period begins. Null if the budget never resets.",
        optional=True,
        costs=[costs.SHARED],
    )


@strawberry.type(description="This version of the template is already published. Publish under a new version number.")
@reads(outcomes.VersionExists)
class VersionExists(UserError):
    """A Conflict with the reason VERSION_EXISTS, as data."""


@strawberry.type(description="No migration path leads from the agent's version to the requested one.")
@reads(outcomes.NoMigrationPath)
class NoMigrationPath(UserError):
    """A Conflict with the reason NO_MIGRATION_PATH, as data."""


@strawberry.type(description="The Agent File is invalid and was not published.")
@reads(outcomes.BadTemplate)
class TemplateInvalid(UserError):
    problems: list[str] = described("The problems found, one per item.")


@strawberry.type(description="The variables do not match the template.")
@reads(outcomes.BadVariables)
class VariablesInvalid(UserError):
    problems: list[str] = described("Missing and invalid variables, one per item.")


KINDS = [ConversationBusy, BudgetExceeded, VersionExists, NoMigrationPath, TemplateInvalid, VariablesInvalid]
