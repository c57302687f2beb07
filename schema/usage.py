"""What the viewer's key was used for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from clients.litellm import ModelRecord
from resolvers import models
from resolvers import usage as records
from resolvers.info import Info
from resolvers.usage import UsageDimension
from schema.base import answered_by, described, enum, reads
from schema.costs import SHARED, assumed

if TYPE_CHECKING:
    from schema.model import Model

enum(
    UsageDimension,
    "What usage is summed up by.",
    DAY="By the day, in UTC.",
    MODEL="By the model that was asked for.",
)


@strawberry.type(description="Sums over the calls of a range of days.")
@reads(records.UsageTotals)
class UsageTotals:
    """The GraphQL face of UsageTotals."""

    requests: int = described("How many calls there were, failed ones included.")
    failed_requests: int = described("How many of them failed.")
    prompt_tokens: float = described("Tokens that went in: a whole number, which may be past what an `Int` holds.")
    completion_tokens: float = described("Tokens that came out.")
    total_tokens: float = described("Both together.")
    cost_usd: Decimal = described("What they cost, in US dollars.")


async def _model(record: Parent[records.UsageRow], info: Info) -> ModelRecord | None:
    return await models.model_if_callable(info.context, record.model_name)


@strawberry.type(description="The calls of one day, of one model, or of one model on one day, as `groupBy` asked.")
@reads(records.UsageRow)
class UsageRow:
    """The GraphQL face of UsageRow."""

    day: date | None = strawberry.field(name="date", description="The day, by UTC; null unless grouped by `DAY`.")
    model_name: str | None = described(
        "The model that was asked for; null unless grouped by `MODEL`, and for calls of a model that does not exist."
    )
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model, "The model, if your key may still call it.", optional=True, costs=[SHARED]
    )
    requests: int = described("How many calls there were, failed ones included.")
    failed_requests: int = described("How many of them failed.")
    prompt_tokens: float = described("Tokens that went in: a whole number, which may be past what an `Int` holds.")
    completion_tokens: float = described("Tokens that came out.")
    total_tokens: float = described("Both together.")
    cost_usd: Decimal = described("What they cost, in US dollars.")


@strawberry.type(description="What your own key was used for. A call is counted within a minute or so of its end.")
@reads(records.UsageReport)
class UsageReport:
    """The GraphQL face of UsageReport."""

    first: date = strawberry.field(name="from", description="The first day, by UTC.")
    last: date = strawberry.field(name="to", description="The last day, by UTC; it is in the report.")
    rows: list[UsageRow] = described("By day, then by model. Days without calls have no row.", costs=[assumed(100)])
    totals: UsageTotals = described("All rows together.")
