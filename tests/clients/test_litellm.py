from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from clients.calls import Answer, UpstreamRejected
from clients.errors import BadUserInput, BudgetExceeded, NotFound, RateLimited, UpstreamError, UpstreamTimeout
from clients.litellm.errors import translated
from clients.litellm.keys import KEY
from clients.litellm.models import DETAILS, GROUPS, ModelMode, details_by_name
from clients.litellm.usage import ACTIVITY, lines

MINE, THEIRS = "a" * 64, "b" * 64


def metrics(requests: int, spend: float = 0.0) -> dict[str, Any]:
    return {"api_requests": requests, "failed_requests": 0, "prompt_tokens": requests, "spend": spend}


def by_key(**requests: int) -> dict[str, Any]:
    keys = {"mine": MINE, "theirs": THEIRS}
    return {keys[name]: {"metrics": metrics(count, count * 1.1e-05)} for name, count in requests.items()}


def test_usage_is_one_keys_and_calls_of_no_model_are_what_is_left() -> None:
    day = {
        "date": "2026-03-02",
        "metrics": metrics(106),
        "breakdown": {
            "model_groups": {
                "gpt": {"metrics": metrics(103), "api_key_breakdown": by_key(mine=3, theirs=100)},
                "other": {"metrics": metrics(1), "api_key_breakdown": by_key(theirs=1)},
                "": {"metrics": metrics(2), "api_key_breakdown": by_key(mine=2)},
            },
            "api_keys": by_key(mine=5, theirs=101),
        },
    }
    found = list(lines(ACTIVITY.decode(json.dumps({"results": [day], "metadata": {"has_more": False}})), MINE))
    assert [(str(line.day), line.model, line.counts.api_requests) for line in found] == [
        ("2026-03-02", "gpt", 3),
        ("2026-03-02", None, 2),
    ]
    assert found[0].counts.spend == Decimal("0.000033")
    assert list(lines(ACTIVITY.decode(json.dumps({"results": [day], "metadata": {"has_more": True}})), "c" * 64)) == []


def test_a_group_of_several_deployments_can_what_any_of_them_can() -> None:
    data = [
        {"model_name": "a", "model_info": {"supports_pdf_input": False, "cache_read_input_token_cost": 1e-7}},
        {"model_name": "a", "model_info": {"supports_pdf_input": True, "cache_read_input_token_cost": 2e-7}},
        {"model_name": "a", "model_info": {"supports_pdf_input": None}},
        {"model_name": "b", "model_info": {"supports_audio_input": None}},
        {"model_name": "c"},
    ]
    found = details_by_name(DETAILS.decode(json.dumps({"data": data})).data)
    assert found["a"].supports_pdf_input is True
    assert found["a"].supports_audio_input is None
    assert found["a"].cached_input_usd_per_million_tokens == Decimal("0.2")
    assert found["b"].cached_input_usd_per_million_tokens is None
    assert set(found) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("chat", ModelMode.CHAT),
        (None, ModelMode.CHAT),
        ("embedding", ModelMode.EMBEDDING),
        ("telepathy", ModelMode.UNKNOWN),
    ],
)
def test_a_mode_this_gateway_has_never_heard_of(mode: str | None, expected: ModelMode) -> None:
    [model] = GROUPS.decode(json.dumps({"data": [{"model_group": "m", "mode": mode}]})).data
    assert model.mode is expected


@pytest.mark.parametrize(
    ("per_token", "shown"),
    [("1.5e-07", "0.15"), ("2e-08", "0.02"), ("0.0", "0"), ("1e-05", "10"), ("0.0001", "100"), ("null", None)],
)
def test_prices_are_plain_numbers(per_token: str, shown: str | None) -> None:
    [model] = GROUPS.decode(f'{{"data": [{{"model_group": "m", "input_cost_per_token": {per_token}}}]}}').data
    price = model.input_usd_per_million_tokens
    assert (None if price is None else format(price, "f")) == shown


def test_what_is_left_of_a_budget() -> None:
    info = KEY.decode('{"info": {"spend": 1.0999999999999264e-05, "max_budget": 1e-06}}').info
    assert (info.spend_usd, info.max_usd, info.remaining_usd) == (Decimal("0.000011"), Decimal("0.000001"), 0)
    free = KEY.decode('{"info": {"spend": 0.0}}').info
    assert (free.spend_usd, free.max_usd, free.remaining_usd, free.expires) == (0, None, None, None)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "invalid_request_error", "Invalid model name passed in model=x", NotFound),
        (400, "invalid_request_error", "This model's maximum context length is 8", BadUserInput),
        (401, "expired_key", "Expired", UpstreamError),
        (408, None, "", UpstreamTimeout),
        (422, "budget_exceeded", "Budget has been exceeded!", BudgetExceeded),
        (429, "throttling_error", "", RateLimited),
        (500, None, "", UpstreamError),
    ],
)
def test_what_a_refusal_means(status: int, kind: str | None, message: str, expected: type[Exception]) -> None:
    body = json.dumps({"error": {"message": message, "type": kind}}).encode()
    error = translated(UpstreamRejected(Answer(status, {}, body)))
    assert type(error) is expected
    assert message not in error.message or not message
