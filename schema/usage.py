"""Usage of the user's LiteLLM key."""

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

enum(UsageDimension, "A dimension by which usage is grouped.", DAY="By day, in UTC.", MODEL="By the requested model.")


@strawberry.type(description="Sums over all rows of a usage report.")
@reads(records.UsageTotals)
class UsageTotals:
    requests: int = described("Number of model calls, including failed ones.")
    failed_requests: int = described("Number of failed model calls.")
    prompt_tokens: float = described("Number of input tokens. An integer that can exceed the range of `Int`.")
    completion_tokens: float = described("Number of output tokens. An integer that can exceed the range of `Int`.")
    total_tokens: float = described("Number of input and output tokens. An integer that can exceed the range of `Int`.")
    cost_usd: Decimal = described("Cost in US dollars.")


async def _model(record: Parent[records.UsageRow], info: Info) -> ModelRecord | None:
    return await models.model_if_callable(info.context, record.model_name)


@strawberry.type(description="Usage of one day, of one model, or of one model on one day, depending on `groupBy`.")
@reads(records.UsageRow)
class UsageRow:
    day: date | None = strawberry.field(name="date", description="The date, in UTC. Null unless grouped by `DAY`.")
    model_name: str | None = described(
        "Name of the requested model. Null unless grouped by `MODEL`, and for calls of unknown models."
    )
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        _model,
        "The requested model. Null if the user's key has no permission to call it.",
        optional=True,
        costs=[SHARED],
    )
    requests: int = described("Number of model calls, including failed ones.")
    failed_requests: int = described("Number of failed model calls.")
    prompt_tokens: float = described("Number of input tokens. An integer that can exceed the range of `Int`.")
    completion_tokens: float = described("Number of output tokens. An integer that can exceed the range of `Int`.")
    total_tokens: float = described("Number of input and output tokens. An integer that can exceed the range of `Int`.")
    cost_usd: Decimal = described("Cost in US dollars.")


@strawberry.type(description="Usage of the user's own LiteLLM key. Calls appear about a minute after they end.")
@reads(records.UsageReport)
class UsageReport:
    first: date = strawberry.field(name="from", description="The first date of the report, in UTC.")
    last: date = strawberry.field(name="to", description="The last date of the report, in UTC, inclusive.")
    rows: list[UsageRow] = described(
        "Rows by date, then by model. Dates without calls have no row.", costs=[assumed(100)]
    )
    totals: UsageTotals = described("Sums over all rows.")
