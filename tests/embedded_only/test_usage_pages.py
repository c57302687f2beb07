"""The pages of LiteLLM's usage and their bound, and the errors if LiteLLM is down or fails."""

from __future__ import annotations

from typing import Any

import pytest

from app.embedded.faults import Fault
from clients.litellm import client
from tests.support.stack import Stack, embedded_stack
from tests.support.streaming import completion
from tests.support.usage import USAGE, complete, these_days, usage

ASKED = {
    "complete": "mutation($c: CompletionInput!) { complete(input: $c) { text } }",
    "startCompletion": "mutation($c: CompletionInput!) { startCompletion(input: $c) { stream { id } } }",
    "embed": 'mutation { embed(input: {model: "text-embedding-3-small", inputs: ["a"]}) { usage { totalTokens } } }',
}


async def some_usage(stack: Stack) -> None:
    for model in ("gpt-4o-mini", "gpt-4.1", "gemini-2.5-flash"):
        await complete(stack, "tokens=2 delay=0", model=model)
    await asked(stack, "embed")


async def test_all_pages_of_usage_are_read(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await some_usage(stack)
    whole = await usage(stack, "DAY", "MODEL")
    assert whole["totals"]["requests"] == len(whole["rows"]) == 4
    monkeypatch.setattr(client, "_ACTIVITY_PAGE", 1)
    stack.platform.state.calls.clear()
    assert await usage(stack, "DAY", "MODEL") == whole
    assert len([call for call in stack.calls("litellm") if "/daily/activity" in call]) == 4


async def test_usage_with_more_pages_than_the_bound_is_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await some_usage(stack)
    monkeypatch.setattr(client, "_ACTIVITY_PAGE", 1)
    monkeypatch.setattr(client, "MAX_ACTIVITY_PAGES", 3)
    answer = await stack.graphql(USAGE, these_days())
    facts = answer["errors"][0]["extensions"]
    assert (facts["code"], facts["reason"]) == ("BAD_USER_INPUT", "RANGE")


async def test_equal_reads_of_usage_are_deduplicated(stack: Stack) -> None:
    days = these_days()
    asked = f'usage(from: "{days["from"]}", to: "{days["to"]}"'
    await stack.graphql(f"{{ viewer {{ a: {asked}) {{ from }} b: {asked}, groupBy: [MODEL]) {{ from }} }} }}")
    assert len(stack.calls("litellm")) == 1


@pytest.mark.uncached
async def test_details_of_models_are_read_only_if_requested(stack: Stack) -> None:
    await stack.graphql("{ models { name supports { tools vision } } }")
    assert stack.calls("litellm") == ["GET /model_group/info"]
    stack.platform.state.calls.clear()
    await stack.graphql("{ models { supports { jsonSchema pdfInput } embeddingDimensions } }")
    assert sorted(stack.calls("litellm")) == ["GET /model/info", "GET /model_group/info"]


async def test_a_completion_makes_one_call(stack: Stack) -> None:
    await asked(stack, "complete")
    assert stack.calls("litellm") == ["POST /v1/chat/completions"]
    assert stack.calls("ams") == ["GET /me"]


@pytest.mark.parametrize("name", list(ASKED))
async def test_a_dead_litellm_is_named_in_the_error(stack: Stack, name: str) -> None:
    await stack.servers["litellm"].stop()
    [error] = (await asked(stack, name))["errors"]
    facts = error["extensions"]
    assert (facts["code"], facts["service"], facts["retryable"]) == ("UPSTREAM_UNAVAILABLE", "litellm", True)
    assert error["path"] == [name]


async def asked(stack: Stack, name: str) -> dict[str, Any]:
    given = completion(stack, "tokens=1", idempotencyKey="k")
    return await stack.graphql(ASKED[name], {"c": given} if "$c" in ASKED[name] else None)


async def test_a_dead_litellm_makes_only_its_own_fields_null(stack: Stack) -> None:
    await stack.servers["litellm"].stop()
    days = these_days()
    query = f"""{{ viewer {{ email budget {{ spendUsd }} usage(from: "{days["from"]}", to: "{days["to"]}") {{ from }}
      agents {{ nodes {{ name }} }} }} }}"""
    answer = await stack.graphql(query)
    viewer = answer["data"]["viewer"]
    assert (viewer["budget"], viewer["usage"]) == (None, None)
    assert viewer["agents"]["nodes"][0]["name"]
    assert {tuple(error["path"]) for error in answer["errors"]} == {("viewer", "budget"), ("viewer", "usage")}


@pytest.mark.parametrize(("path", "field"), [("/model/info", "jsonSchema"), ("/model_group/info", None)])
async def test_a_failed_read_of_model_details_leaves_the_other_fields(
    stack: Stack, path: str, field: str | None
) -> None:
    stack.platform.faults["litellm"] = Fault(status=500, path=path)
    answer = await stack.graphql("{ models { name supports { tools jsonSchema } } }")
    if field is None:
        assert answer["data"]["models"] is None
    else:
        assert all(model["supports"][field] is None for model in answer["data"]["models"])
        assert all(model["supports"]["tools"] is not None for model in answer["data"]["models"])
    assert all(error["extensions"]["service"] == "litellm" for error in answer["errors"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("complete", ("CONFLICT", "OUTCOME_UNKNOWN", "TOTAL")), ("embed", ("UPSTREAM_TIMEOUT", "TOTAL", None))],
)
async def test_a_timeout_has_its_reason(name: str, reason: tuple[str | None, ...]) -> None:
    async with embedded_stack(llm_timeout_seconds=0.5, stream_first_token_seconds=5) as stack:
        stack.platform.faults["litellm"] = Fault(hang=True)
        answer = await asked(stack, name)
    facts = answer["errors"][0]["extensions"]
    assert (facts["code"], facts["reason"], facts.get("cause")) == reason
