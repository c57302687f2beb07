"""Answers that the model breaks off, at each endpoint. The answer is the same with each version of LiteLLM."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.conftest import REAL
from tests.support.openai import ask, asking
from tests.support.promises import FOUR, all_of, ends, started
from tests.support.stack import Stack
from tests.support.streaming import completion, expected, text_of

COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { text finishReason } }"
_MODEL = ("UPSTREAM_ERROR", "MODEL")
ENDS: dict[str, tuple[str, str | None]] = {"cut": _MODEL}
if REAL:
    ENDS |= {"cutjson": _MODEL, "errevent": _MODEL, "errdone": ("RATE_LIMITED", None), "nodone": _MODEL}
    ENDS |= {"stall": ("UPSTREAM_TIMEOUT", "TOTAL")}
INVENTING = (1, 106)
"""The version of LiteLLM that invents a finish reason for an answer without one."""


def failing(stack: Stack, how: str) -> tuple[str, dict[str, Any]]:
    """Return a directive, and the model: only one stops waiting for the next token."""
    return f"tokens=8 delay=0.05 error={how}", {"model": "fake-hang" if how == "stall" else stack.chat_model}


@pytest.mark.parametrize("how", ENDS)
async def test_a_broken_answer_fails_at_each_endpoint(stack: Stack, how: str) -> None:
    directive, model = failing(stack, how)
    is_whole = how == "nodone" and (await stack.litellm_version())[:2] == INVENTING
    code, reason = ENDS[how]
    for door in FOUR:
        heard = await all_of(started(stack, door, directive, **model))
        assert expected(8).startswith(text_of(heard).strip())
        assert len(text_of(heard).split()) >= 3
        if is_whole:
            assert ends(heard) == ["COMPLETED"]
            continue
        error = heard[-1]["error"]
        named = "RATE_LIMIT_EXCEEDED" if (door, code) == ("openai", "RATE_LIMITED") else reason or code
        assert (ends(heard), error["reason"] or error["code"]) == (["FAILED"], named)
    given = completion(stack, directive, idempotencyKey=str(uuid.uuid4()), **model)
    answer = await stack.graphql(COMPLETE, {"i": given})
    if is_whole:
        assert answer["data"]["complete"]["finishReason"] == "STOP"
    else:
        [error] = answer["errors"]
        assert (error["extensions"]["code"], error["extensions"].get("reason")) == (code, reason)


@pytest.mark.parametrize("how", ENDS)
async def test_a_broken_answer_of_the_proxy_ends_with_one_error_and_without_done(stack: Stack, how: str) -> None:
    directive, model = failing(stack, how)
    response = await ask(stack, "proxy/chat/completions", asking(stack, directive, stream=True, **model))
    assert response.status_code == 200
    if how == "nodone" and (await stack.litellm_version())[:2] == INVENTING:
        assert response.text.endswith("data: [DONE]\n\n")
        return
    *_, last = [part for part in response.text.split("\n\n") if part]
    assert "[DONE]" not in response.text
    assert response.text.count('"error"') == 1
    assert last.startswith('data: {"error"')
