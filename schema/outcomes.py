"""What every mutation's payload has: ``errors``, the outcomes that a person acts on."""

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
    """Root of what mutations return. Everything in it has a default, since a payload of errors has nothing else."""

    errors: list[Outcome] = []


def done_by(
    record: type[P], resolver: Callable[..., Awaitable[P]], description: str, *outcomes: type, calls: int
) -> Any:
    """A mutation that one resolver carries out; an error that is an outcome becomes a ``record`` that says so.

    The description names the ``outcomes`` that it can have; ``calls`` is how many calls upstream it makes. Nothing that
    a mutation before it in the operation has read is taken for what is there now.
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
    told = f"{description} Outcomes: {names}." if names else description
    return strawberry.field(resolver=done, description=told, directives=[costs.calls(calls)])


@strawberry.interface(description="An outcome that a person acts on.")
class UserError:
    """What every such outcome has."""

    message: str = described("A sentence for people.")


@strawberry.type
class Payload:
    """Base of the payloads."""

    errors: list[UserError] = described(
        "Outcomes to act on, of those that the mutation names; empty when it was done.", costs=[costs.assumed(5)]
    )


async def _busy_run(record: Parent[outcomes.Busy], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, record.run_id)


@strawberry.type(description="The conversation is busy with another run: wait for it, or cancel it.")
@reads(outcomes.Busy)
class ConversationBusy(UserError):
    """A Conflict, reason RUN_BUSY, as data."""

    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        _busy_run, "The run it is busy with.", costs=[costs.calls()]
    )


async def _resets_at(record: Parent[outcomes.BudgetSpent], info: Info) -> datetime | None:  # noqa: ARG001 - the viewer's
    budget = await users.own_budget(info.context)
    return None if budget is None else budget.budget_reset_at


@strawberry.type(description="The budget that pays for your model calls is spent.")
@reads(outcomes.BudgetSpent)
class BudgetExceeded(UserError):
    """BUDGET_EXCEEDED, as data."""

    resets_at: datetime | None = answered_by(
        _resets_at,
        "When the next period begins; null where there are no periods.",
        optional=True,
        costs=[costs.SHARED],
    )


@strawberry.type(description="This version of the template has been published before: raise the number.")
@reads(outcomes.VersionTaken)
class VersionExists(UserError):
    """A Conflict, reason VERSION_EXISTS, as data."""


@strawberry.type(description="No migrations lead from the agent's version to the one that was asked for.")
@reads(outcomes.NoWay)
class NoMigrationPath(UserError):
    """A Conflict, reason NO_MIGRATION_PATH, as data."""


@strawberry.type(description="The Agent File cannot be published.")
@reads(outcomes.BadTemplate)
class TemplateInvalid(UserError):
    """Invalid, reason TEMPLATE_INVALID, as data."""

    problems: list[str] = described("What is wrong with it, a line each.")


@strawberry.type(description="The variables do not fit the template.")
@reads(outcomes.BadVariables)
class VariablesInvalid(UserError):
    """Invalid, reason VARIABLES_INVALID, as data."""

    problems: list[str] = described("What is missing or wrong, a line each.")


KINDS = [ConversationBusy, BudgetExceeded, VersionExists, NoMigrationPath, TemplateInvalid, VariablesInvalid]
