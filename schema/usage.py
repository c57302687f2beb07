"""The GraphQL types for usage reports of the user's LiteLLM key."""

from datetime import date
from decimal import Decimal

import strawberry

from resolvers import usage as records
from resolvers.usage import UsageDimension
from schema.base import described, enum, shows
from schema.costs import assumed
from schema.model import Model, called_model

enum(
    UsageDimension,
    "A dimension by which usage is grouped.",
    DAY="Usage is grouped by day, in UTC.",
    MODEL="Usage is grouped by requested model.",
)


@shows("Sums over all rows of a usage report.", records.UsageTotals)
class UsageTotals:
    requests: int = described("Number of model calls, including failed ones.")
    failed_requests: int = described("Number of failed model calls.")
    prompt_tokens: float = described("Number of input tokens. The integer can exceed the range of `Int`.")
    completion_tokens: float = described("Number of output tokens. The integer can exceed the range of `Int`.")
    total_tokens: float = described("Number of input and output tokens. The integer can exceed the range of `Int`.")
    cost_usd: Decimal = described("Cost in US dollars.")


@strawberry.type
class _Group:
    day: date | None = strawberry.field(
        name="date", description="The date, in UTC. Null if rows are not grouped by `DAY`."
    )
    model_name: str | None = described(
        "The name of the requested model. Null if unknown, or if rows are not grouped by `MODEL`."
    )
    model: Model | None = called_model("The requested model.")


@shows("Usage of one day, of one model, or of one model on one day, depending on `groupBy`.", records.UsageRow)
class UsageRow(_Group, UsageTotals):
    """A row of a usage report: the fields by which calls are grouped, and then the totals."""


@shows(
    "Usage of the user's own LiteLLM key. Model calls appear in the report about a minute after they end.",
    records.UsageReport,
)
class UsageReport:
    first: date = strawberry.field(name="from", description="The first date of the report, in UTC.")
    last: date = strawberry.field(name="to", description="The last date of the report, in UTC, inclusive.")
    rows: list[UsageRow] = described(
        "The rows, sorted by date and then by model. Dates without calls have no row.", costs=[assumed(100)]
    )
    totals: UsageTotals = described("Sums over all rows.")
