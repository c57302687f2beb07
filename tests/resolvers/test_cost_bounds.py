from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import BadUserInput, BudgetExceeded
from clients.litellm import ModelRecord
from resolvers.sources.cost_bounds import CostBound, prices_of
from tests.support.scripted_streams import refuses


def model(prompt: str | None = "0.000001", output: str | None = "0.000002", most: int | None = 4096) -> ModelRecord:
    prices = [None if price is None else Decimal(price) for price in (prompt, output)]
    return ModelRecord(name="m", input_cost=prices[0], output_cost=prices[1], output=most)


@pytest.mark.parametrize("prices", [(None, "1"), ("1", None), ("NaN", "1")])
def test_a_model_needs_both_prices(prices: tuple[str | None, str | None]) -> None:
    with refuses(BadUserInput, "NO_PRICE"):
        prices_of(model(*prices))


@given(tokens=st.integers(0, 10_000), prompt=st.integers(0, 10_000), most=st.integers(1, 40_000))
def test_a_bound_holds_exactly_at_the_amount(tokens: int, prompt: int, most: int) -> None:
    bound = CostBound(model(), Decimal(most) / 1_000_000, prompt)
    if prompt + 2 * tokens <= most:
        bound.check(tokens)
    else:
        with refuses(BudgetExceeded, "MAX_COST"):
            bound.check(tokens)


def test_a_prompt_that_leaves_no_token_is_refused() -> None:
    CostBound(model(), Decimal("0.000012"), 10).check_prompt()
    with pytest.raises(BudgetExceeded, match=r"cost about 0\.000012 US dollars: `maxCostUsd` is 0\.0000119") as refused:
        CostBound(model(), Decimal("0.0000119"), 10).check_prompt()
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"max_tokens": 46}),
        ({"max_tokens": 45}, {"max_tokens": 45}),
        ({"max_tokens": 900}, {"max_tokens": 46}),
        ({"max_completion_tokens": 900}, {"max_completion_tokens": 46}),
    ],
)
def test_the_output_is_limited_to_one_token_past_the_bound(asked: dict[str, Any], sent: dict[str, Any]) -> None:
    bound = CostBound(model(), Decimal("0.0001"), 10)
    assert bound.capped(asked) == sent
    bound.check(45)
    with refuses(BudgetExceeded, "MAX_COST"):
        bound.check(46)


@pytest.mark.parametrize("priced", [model(most=None), model(most=40), model(output="0")])
def test_the_output_is_not_limited_beyond_what_the_model_permits(priced: ModelRecord) -> None:
    assert CostBound(priced, Decimal("0.0001"), 10).capped({"n": 1}) == {"n": 1}
