from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.embedded import http_client
from tests.support.stack import ADA, GRACE, Stack, until
from tests.support.usage import USAGE, complete, settled, these_days, usage

BUDGET = "{ viewer { budget { spendUsd maxUsd remainingUsd resetsAt requestsPerMinute tokensPerMinute expiresAt } } }"


async def test_usage_by_day_and_by_model(stack: Stack) -> None:
    await stack.own_key()
    costs = []
    for _ in range(2):
        answer = await complete(stack, "tokens=5 delay=0")
        costs.append(Decimal(answer["data"]["complete"]["usage"]["costUsd"]))
    embed = 'mutation($m: String!) { embed(input: {model: $m, inputs: ["a", "b"]}) { usage { promptTokens } } }'
    embedded = await stack.graphql(embed, {"m": stack.embedding_model})
    assert (await complete(stack, "error=500"))["errors"]
    await settled(stack, 4)

    both = await usage(stack, "DAY", "MODEL")
    assert (both["from"], both["to"]) == tuple(these_days().values())
    rows = {row["modelName"]: row for row in both["rows"]}
    chat = rows[stack.chat_model]
    assert chat["model"] == {"name": stack.chat_model}
    assert chat["date"] in {row["date"] for row in (await usage(stack, "DAY"))["rows"]}
    assert (chat["requests"], chat["failedRequests"], chat["completionTokens"]) == (3, 1, 10)
    assert Decimal(chat["costUsd"]) == sum(costs)
    assert rows[stack.embedding_model]["promptTokens"] == embedded["data"]["embed"]["usage"]["promptTokens"]
    assert both["totals"]["requests"] == 4
    assert both["totals"]["failedRequests"] == 1
    assert both["totals"]["totalTokens"] == sum(row["totalTokens"] for row in both["rows"])
    assert "E" not in both["totals"]["costUsd"].upper()

    by_model = await usage(stack, "MODEL")
    assert {row["modelName"]: row["requests"] for row in by_model["rows"]} == {
        stack.chat_model: 3,
        stack.embedding_model: 1,
    }
    assert {row["date"] for row in by_model["rows"]} == {None}
    [whole] = (await usage(stack))["rows"]
    assert (whole["date"], whole["modelName"], whole["model"], whole["requests"]) == (None, None, None, 4)
    assert by_model["totals"] == both["totals"]
    assert sum(row["requests"] for row in (await usage(stack, "DAY"))["rows"]) == 4
    long_ago = await usage(stack, "DAY", **{"from": "2020-01-01", "to": "2020-01-31"})
    assert long_ago["rows"] == []
    assert long_ago["totals"]["costUsd"] == "0"


async def test_usage_is_that_of_the_users_own_key(stack: Stack) -> None:
    """LiteLLM has the keys of two people under one user, and would report the usage of both."""
    shared = f"team-{uuid.uuid4()}"
    await stack.own_key(ADA, litellm_user=shared)
    await stack.own_key(GRACE, litellm_user=shared)
    await complete(stack, "tokens=1 delay=0")
    await complete(stack, "tokens=7 delay=0", user=GRACE)
    await settled(stack, 1)
    await settled(stack, 1, user=GRACE)
    assert (await usage(stack))["totals"]["completionTokens"] == 1
    assert (await usage(stack, user=GRACE))["totals"]["completionTokens"] == 7


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ({"from": "2026-03-02", "to": "2026-03-01"}, "is before"),
        ({"from": "2026-01-01", "to": "2027-01-02"}, "366 days"),
        ({"from": "0001-01-01", "to": "9999-12-31"}, "366 days"),
    ],
)
async def test_invalid_ranges_are_refused(stack: Stack, days: dict[str, str], says: str) -> None:
    answer = await stack.graphql(USAGE, days)
    assert answer["data"]["viewer"]["usage"] is None
    [error] = answer["errors"]
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", "RANGE")
    assert says in error["message"]


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2026-3-1", "", "2026-03-01T00:00:00Z"])
async def test_an_invalid_date_is_refused(stack: Stack, day: str) -> None:
    body = {"query": USAGE, "variables": {"from": day, "to": "2026-03-01"}}
    answer = (await stack.client.post("/graphql", json=body, headers=stack.headers())).json()
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in answer


async def test_without_an_own_key_usage_and_budget_are_null(stack: Stack) -> None:
    stack.platform.state.users[ADA].litellm_key = None
    answer = await stack.graphql(USAGE, these_days())
    assert answer == {"data": {"viewer": {"usage": None}}}
    assert await stack.graphql(BUDGET) == {"data": {"viewer": {"budget": None}}}


async def test_a_budget_with_its_limits(stack: Stack) -> None:
    key = await stack.own_key(max_budget=2.5, budget_duration="30d", rpm_limit=100, tpm_limit=50_000)
    answer = await stack.graphql(BUDGET)
    assert key not in str(answer)
    budget = answer["data"]["viewer"]["budget"]
    assert datetime.fromisoformat(budget.pop("resetsAt")) > datetime.now(UTC)
    assert budget == {
        "spendUsd": "0",
        "maxUsd": "2.5",
        "remainingUsd": "2.5",
        "requestsPerMinute": 100,
        "tokensPerMinute": 50_000,
        "expiresAt": None,
    }
    await complete(stack, "tokens=5 delay=0")

    async def charged() -> dict[str, Any]:
        now: dict[str, Any] = (await stack.graphql(BUDGET))["data"]["viewer"]["budget"]
        return now if Decimal(now["spendUsd"]) > 0 else {}

    spent = await until(charged, 30)
    assert Decimal(spent["spendUsd"]) + Decimal(spent["remainingUsd"]) == Decimal("2.5")


@pytest.mark.parametrize("state", ["expired", "blocked", "deleted"])
async def test_an_invalid_key_is_an_upstream_error(stack: Stack, state: str) -> None:
    key = await stack.own_key()
    await spoil(stack, key, state)
    for query, variables in ((BUDGET, None), (USAGE, these_days()), ("{ models { name } }", None)):
        answer = await stack.graphql(query, variables)
        [error] = answer["errors"]
        facts = error["extensions"]
        assert (facts["code"], facts["reason"], facts["retryable"]) == ("UPSTREAM_ERROR", "CREDENTIAL", False)
        assert key not in str(answer)
    refused = (await complete(stack, "tokens=1"))["errors"][0]["extensions"]
    assert (refused["code"], refused["reason"]) == ("UPSTREAM_ERROR", "CREDENTIAL")


async def test_a_key_without_a_user_has_no_usage(stack: Stack) -> None:
    await stack.own_key(litellm_user=None)
    answer = await stack.graphql(USAGE, these_days())
    facts = answer["errors"][0]["extensions"]
    assert (facts["code"], facts["reason"], facts["retryable"]) == ("UPSTREAM_ERROR", "CREDENTIAL", False)
    assert "errors" not in await stack.graphql(BUDGET)


async def spoil(stack: Stack, key: str, state: str) -> None:
    """Make a key expire, block it, or delete it."""
    if not stack.real:
        info = stack.platform.state.keys[key]["info"]
        past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        match state:
            case "expired":
                info["expires"] = past
            case "blocked":
                info["blocked"] = True
            case _:
                del stack.platform.state.keys[key]
        return
    headers = {"authorization": f"Bearer {os.environ['LITELLM_API_KEY']}"}
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "expired": ("/key/update", {"key": key, "duration": "1s"}),
        "blocked": ("/key/block", {"key": key}),
        "deleted": ("/key/delete", {"keys": [key]}),
    }
    path, body = asked[state]
    async with http_client.client(base_url=os.environ["LITELLM_BASE_URL"], headers=headers) as admin:
        (await admin.post(path, json=body, timeout=30)).raise_for_status()
        own = {"authorization": f"Bearer {key}"}

        async def refused() -> bool:
            return (await admin.get("/key/info", headers=own)).status_code == 401

        await until(refused, 30)
