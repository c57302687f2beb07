from __future__ import annotations

import pytest

from tests.support.stack import Stack
from tests.support.text_inputs import all_text_inputs, ask

THEIRS = {"BAD_USER_INPUT", "NOT_FOUND", "CONFLICT"}


@pytest.mark.parametrize(
    "text",
    ["x" * 900_000, "\u2028\ufeff\U0010ffff\x7f\x1b[0m\u202e", "%00%s${x}{{x}}\\'\";--", " ", ""],
    ids=["long", "odd", "code", "blank", "empty"],
)
async def test_any_text_is_taken_or_refused_wherever_it_is_given(stack: Stack, text: str) -> None:
    for given in await all_text_inputs(stack):
        if given.name.startswith("Subscription."):
            continue  # a mutation takes the same
        told = (await ask(stack, *given.by_variable(text))).json()
        for error in told.get("errors", []):
            assert error["extensions"]["code"] in THEIRS, (given.name, error)
