"""Estimates of requests to create a response."""

from __future__ import annotations

from typing import Any

import pytest

from resolvers.responses.requests import messages_of, response_need
from resolvers.tokens import IMAGE_TOKENS, need_of

PIXEL = "data:image/png;base64," + "A" * 40_000
PART = {"type": "input_text", "text": "hello there"}
IMAGE = {"type": "input_image", "image_url": PIXEL}


def test_a_text_needs_as_much_as_the_same_completion() -> None:
    chat = {"messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "x" * 400}]}
    need = response_need({"input": "x" * 400, "instructions": "brief", "max_output_tokens": 7})
    assert (need.prompt, need.output, need.choices) == (need_of(chat).prompt, 7, 1)


def test_an_image_counts_as_an_image_and_not_by_its_size() -> None:
    need = response_need({"input": [{"role": "user", "content": [PART, IMAGE]}]})
    assert IMAGE_TOKENS < need.prompt < IMAGE_TOKENS + 100
    in_a_result = [{"type": "function_call_output", "call_id": "c", "output": [IMAGE]}]
    assert IMAGE_TOKENS < response_need({"input": in_a_result}).prompt < IMAGE_TOKENS + 100


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
        ({"role": "user", "content": [PART]}, {"role": "user", "content": [{"type": "text", "text": "hello there"}]}),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, {"role": "assistant", "content": "{}"}),
        ({"type": "function_call_output", "call_id": "c", "output": "4"}, {"role": "user", "content": "4"}),
        ({"type": "reasoning", "summary": []}, {"role": "assistant", "content": ""}),
        ({"type": ["odd"]}, {"role": "user", "content": ""}),
    ],
)
def test_items_become_messages(item: dict[str, Any], message: dict[str, Any]) -> None:
    assert messages_of({"input": [item]}) == [message]
