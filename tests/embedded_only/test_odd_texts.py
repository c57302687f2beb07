from __future__ import annotations

import pytest

from tests.support.stack import Stack
from tests.support.text_inputs import all_text_inputs, ask

CLIENT_ERRORS = {"BAD_USER_INPUT", "NOT_FOUND", "CONFLICT"}


@pytest.mark.parametrize(
    "text",
    ["x" * 900_000, "\u2028\ufeff\U0010ffff\x7f\x1b[0m\u202e", "%00%s${x}{{x}}\\'\";--", " ", ""],
    ids=["long", "odd", "code", "blank", "empty"],
)
async def test_any_text_input_is_accepted_or_refused(stack: Stack, text: str) -> None:
    for given in await all_text_inputs(stack):
        if given.name.startswith("Subscription."):
            continue  # a mutation has the same inputs
        answer = (await ask(stack, *given.by_variable(text))).json()
        for error in answer.get("errors", []):
            assert error["extensions"]["code"] in CLIENT_ERRORS, (given.name, error)
