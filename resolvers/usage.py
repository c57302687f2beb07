"""The usage of the user's own LiteLLM key."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput
from clients.litellm import Counts, UsageLine, dollars, summed
from resolvers.context import RequestContext
from resolvers.loader_keys import UsageKey

MAX_DAYS = 366


class UsageDimension(StrEnum):
    """The dimensions by which usage can be grouped."""

    DAY = "day"
    MODEL = "model"


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The total tokens, cost and requests of several model calls."""

    requests: int
    failed_requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal


class UsageRow(UsageTotals, frozen=True, kw_only=True):
    """The totals of a group of calls. A dimension's field is ``None`` if the calls are not grouped by the dimension."""

    day: date | None
    model_name: str | None


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """A usage report for a range of days: the rows, and the totals of all rows."""

    first: date
    last: date
    rows: list[UsageRow]
    totals: UsageTotals


async def usage(
    context: RequestContext, first: date, last: date, dimensions: Iterable[UsageDimension]
) -> UsageReport | None:
    """Return the usage of the user's LiteLLM key, or ``None`` if the user has no key."""
    if last < first:
        raise BadUserInput("`to` is before `from`. Swap the dates.", reason=Reason.RANGE)
    if (last - first).days >= MAX_DAYS:
        raise BadUserInput(f"The period is too long. Request at most {MAX_DAYS} days at once.", reason=Reason.RANGE)
    key = await context.access.own_key()
    if key is None:
        return None
    lines = await context.loaders.usage.load(UsageKey(key, first, last))
    totals = UsageTotals(**_sums(line.counts for line in lines))
    return UsageReport(first=first, last=last, rows=_rows(lines, frozenset(dimensions)), totals=totals)


def _rows(lines: list[UsageLine], by: frozenset[UsageDimension]) -> list[UsageRow]:
    """Return the rows sorted by day and model. Calls of unknown models are last."""
    groups: dict[tuple[date | None, str | None], list[Counts]] = {}
    for line in lines:
        group = (line.day if UsageDimension.DAY in by else None, line.model if UsageDimension.MODEL in by else None)
        groups.setdefault(group, []).append(line.counts)
    ordered = sorted(groups, key=lambda group: (group[0] or date.min, group[1] is None, group[1] or ""))
    return [UsageRow(day=day, model_name=model, **_sums(groups[day, model])) for day, model in ordered]


def _sums(counts: Iterable[Counts]) -> dict[str, Any]:
    total = summed(counts)
    return {
        "requests": total.api_requests,
        "failed_requests": total.failed_requests,
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.completion_tokens,
        "total_tokens": total.total_tokens,
        "cost_usd": dollars(total.spend),
    }
