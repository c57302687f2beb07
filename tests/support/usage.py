"""Make completions, and read the usage that is reported for them."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from tests.support.stack import ADA, Stack, until

USAGE = """query($from: Date!, $to: Date!, $by: [UsageDimension!]) { viewer {
  usage(from: $from, to: $to, groupBy: $by) {
  from to
  rows { date modelName model { name } requests failedRequests promptTokens completionTokens totalTokens costUsd }
  totals { requests failedRequests promptTokens completionTokens totalTokens costUsd } } } }"""
Number = TypeVar("Number", Decimal, float)
COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { usage { costUsd } errors { message } } }"


async def complete(stack: Stack, directive: str, *, user: str = ADA, model: str | None = None) -> dict[str, Any]:
    given = {
        "model": model or stack.chat_model,
        "messages": [{"role": "USER", "content": f"hi [[{directive}]]"}],
        "idempotencyKey": str(uuid.uuid4()),
    }
    return await stack.graphql(COMPLETE, {"i": given}, user=user)


def these_days() -> dict[str, Any]:
    """Return the range from yesterday to tomorrow, which holds also around midnight."""
    today = datetime.now(UTC).date()
    return {"from": (today - timedelta(days=1)).isoformat(), "to": (today + timedelta(days=1)).isoformat()}


async def usage(stack: Stack, *by: str, user: str = ADA, **days: str) -> dict[str, Any]:
    answer = await stack.graphql(USAGE, {**these_days(), **days, "by": list(by)}, user=user)
    assert "errors" not in answer, answer
    report: dict[str, Any] = answer["data"]["viewer"]["usage"]
    return report


async def rises(read: Callable[[], Awaitable[Number]], before: Number) -> None:
    """Wait until a figure is above ``before``; the real LiteLLM records spend every two seconds."""

    async def risen() -> bool:
        return await read() > before

    await until(risen, 20)


async def settled(stack: Stack, requests: int, *, user: str = ADA) -> None:
    """Wait until LiteLLM has recorded this number of calls; the real one records every few seconds."""

    async def written() -> bool:
        seen = (await usage(stack, user=user))["totals"]["requests"]
        assert seen <= requests
        return bool(seen == requests)

    await until(written, 30)
