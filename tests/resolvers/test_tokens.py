from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.usage import Usage
from resolvers.streams.events import ReasoningDelta, Started, TextDelta, ToolCallDelta
from resolvers.tokens import (
    ANSWER_BYTES,
    IMAGE_TOKENS,
    OUTPUT_TOKENS,
    Need,
    Tally,
    embedding_need,
    need_of,
    prompt_tokens,
    used_tokens,
)

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}


def said(*content: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": one} for one in content]}


@pytest.mark.parametrize(
    ("body", "need"),
    [
        ({"max_tokens": 7}, Need(9, 7)),
        ({"max_completion_tokens": 5, "max_tokens": 7}, Need(9, 5)),
        ({"max_tokens": None}, Need(9)),
        ({"max_tokens": 7, "n": 3}, Need(9, 7, 3)),
        ({"max_tokens": -4, "n": 0}, Need(9, 0, 1)),
    ],
)
def test_a_requests_need_has_its_maximum(body: dict[str, Any], need: Need) -> None:
    assert need_of({**said("x" * 36), **body}) == need


def test_a_need_without_a_maximum_reserves_a_default_for_each_answer() -> None:
    assert (Need(9).least, Need(9).more) == (9, OUTPUT_TOKENS)
    assert (Need(9, None, 2).least, Need(9, None, 2).more) == (9, 2 * OUTPUT_TOKENS)
    assert (Need(9, 7, 3).least, Need(9, 7, 3).more) == (30, 0)


def test_tools_count_and_images_count_without_their_data() -> None:
    plain = prompt_tokens(said("hi"))
    tool = {"type": "function", "function": {"name": "look", "description": "d" * 400, "parameters": {}}}
    assert prompt_tokens({**said("hi"), "tools": [tool]}) > plain + 100
    seen = prompt_tokens(said([{"type": "text", "text": "hi"}, IMAGE, IMAGE]))
    assert 2 * IMAGE_TOKENS < seen < 2 * IMAGE_TOKENS + 100


def test_an_embeddings_input_is_text_or_tokens() -> None:
    assert embedding_need({"model": "m", "input": "x" * 400}) == Need(100, 0)
    assert embedding_need({"model": "m", "input": [[1, 2, 3], [4]]}) == Need(4, 0)
    assert embedding_need({"model": "m", "input": [1, 2, 3]}) == Need(3, 0)
    assert embedding_need({"model": "m", "input": ["x" * 40, "y"]}).prompt in range(10, 15)
    nothing: list[Any] = ["", []]
    for empty in nothing:
        assert embedding_need({"model": "m", "input": empty}) == Need(1, 0)


@given(texts=st.lists(st.text(max_size=30)))
def test_a_tally_has_at_least_one_token_per_delta_and_enough_for_the_bytes(texts: list[str]) -> None:
    tally, size = Tally(), 0
    for number, text in enumerate(texts, 1):
        before = tally.tokens
        tally.add([ReasoningDelta(text=text) if number % 2 else TextDelta(text=text)])
        size += len(text.encode())
        assert tally.tokens >= max(before, number, size / ANSWER_BYTES)
    assert tally.tokens <= max(len(texts), size)


def test_a_tally_counts_tool_calls_and_no_other_events() -> None:
    tally = Tally()
    tally.add([Started()])
    assert tally.tokens == 0
    tally.add([ToolCallDelta(name="n" * 30, arguments_delta="a" * 30)])
    assert tally.tokens == 60 // ANSWER_BYTES


def test_the_used_tokens_are_what_the_service_reported() -> None:
    assert used_tokens(None) is None
    assert used_tokens(Usage(completion_tokens=4)) is None
    assert used_tokens(Usage(prompt_tokens=3, completion_tokens=4)) == 7
    assert used_tokens(Usage(prompt_tokens=3, completion_tokens=4, total_tokens=9)) == 9
