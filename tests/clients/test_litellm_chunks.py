from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.litellm.chunks import Chunk, decode_chunk, is_done
from clients.litellm.toolcalls import CallPiece
from clients.sse import SseEvent
from clients.usage import Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def event(data: bytes, name: str = "message") -> SseEvent:
    return SseEvent(b"data: " + data + b"\n\n", name, data)


def decoded(wire: Any, name: str = "message") -> Chunk:
    chunk = decode_chunk(event(json.dumps(wire).encode(), name))
    assert chunk is not None
    return chunk


def of_delta(delta: Any, **choice: Any) -> Any:
    [found] = decoded({"choices": [{"index": 0, "delta": delta, **choice}]}).choices
    return found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        ("", ""),
        (None, ""),
        (5, ""),
        (True, ""),
        (
            [{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "b"}],
            "ab",
        ),
        ([{"type": "output_text", "text": "a"}, "b", 3, None], "ab"),
        ({"type": "text", "text": "a"}, "a"),
        ({"text": {"value": 1}}, ""),
        ([{"type": "text", "text": 1}], ""),
        ([{"type": "image_url", "image_url": {"url": "x"}, "text": "no"}], ""),
        ([[[["deep"]]]], ""),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_text_is_read_out_of_content_of_any_shape(content: Any, text: str) -> None:
    assert of_delta({"content": content}).text == text


@pytest.mark.parametrize(
    ("delta", "reasoning"),
    [
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning_content": {"text": "hm"}}, "hm"),
        ({"reasoning_content": [{"type": "text", "text": "h"}, {"text": "m"}]}, "hm"),
        ({"reasoning": "hm"}, "hm"),
        ({"reasoning": {"summary": [{"text": "hm"}]}}, "hm"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}, {"type": "x", "data": "AA"}]}, "hm"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}, "hm"),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}, "hm"),
        ({"reasoning_content": "hm", "thinking_blocks": [{"thinking": "hm"}]}, "hm"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}, "hm"),
        ({"reasoning_content": 5}, ""),
        ({"reasoning_content": ""}, ""),
    ],
)
def test_reasoning_is_read_out_of_each_of_its_fields(delta: Any, reasoning: str) -> None:
    found = of_delta(delta)
    assert (found.reasoning, found.text) == (reasoning, "")


@pytest.mark.parametrize(
    "delta",
    [
        {"refusal": "no"},
        {"refusal": [{"type": "refusal", "refusal": "no"}]},
        {"provider_specific_fields": {"refusal": "no"}},
        {"content": [{"type": "refusal", "refusal": "no"}]},
        {"content": "", "refusal": "no"},
    ],
)
def test_a_refusal_is_text(delta: Any) -> None:
    assert of_delta(delta).text == "no"


@pytest.mark.parametrize(
    ("sent", "pieces"),
    [
        ({"tool_calls": [{"index": 1, "id": "a", "function": {"name": "f", "arguments": "{"}}]},
         [CallPiece(index=1, id="a", name="f", arguments="{")]),
        ({"tool_calls": [{"index": "1", "id": "", "function": {"name": "", "arguments": None}}]}, [CallPiece(index=1)]),
        ({"tool_calls": [{"index": {}, "id": 5, "function": {"name": ["f"]}}]}, [CallPiece(id="5")]),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": "é"}}}]},
         [CallPiece(name="f", arguments='{"a":"é"}')]),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]},
         [CallPiece(name="sql", arguments="SELECT 1")]),
        ({"tool_calls": [{"name": "f", "arguments": "{}"}]}, [CallPiece(name="f", arguments="{}")]),
        ({"tool_calls": {"id": "a", "function": {"name": "f"}}}, [CallPiece(id="a", name="f")]),
        ({"tool_calls": [None, 5, "x", []]}, []),
        ({"tool_calls": "f()"}, []),
        ({"tool_calls": None}, []),
        ({"function_call": {"name": "f", "arguments": "{}"}}, [CallPiece(name="f", arguments="{}")]),
        ({"function_call": "auto"}, []),
        ({"tool_calls": [{"id": "a", "function": {"name": "f"}}], "function_call": {"name": "f"}},
         [CallPiece(id="a", name="f")]),
    ],
)  # fmt: skip
def test_calls_are_read_piece_by_piece(sent: Any, pieces: list[CallPiece]) -> None:
    assert of_delta(sent).calls == pieces


@pytest.mark.parametrize(
    ("sent", "reason"),
    [("stop", "stop"), (None, None), ("", None), (False, None), ({}, None), ({"a": 1}, "unknown"), (1, "unknown")],
)
def test_a_finish_reason_that_cannot_be_read_is_unknown_and_still_one(sent: Any, reason: str | None) -> None:
    assert of_delta({}, finish_reason=sent).finish_reason == reason


@pytest.mark.parametrize("delta", [None, [], "x", 5])
def test_a_delta_of_another_shape_is_empty(delta: Any) -> None:
    found = of_delta(delta, finish_reason="stop")
    assert (found.text, found.calls, found.finish_reason) == ("", [], "stop")


@pytest.mark.parametrize("choices", [None, [], {}, "x", 5, [None, 5, []]])
def test_choices_of_another_shape_are_none(choices: Any) -> None:
    assert decoded({"choices": choices, "usage": USAGE}).choices == []


def test_choices_are_distinguished_by_index_or_position() -> None:
    sent = [{"delta": {"content": "a"}}, {"index": "x", "delta": {"content": "b"}}, {"index": 0, "delta": {}}]
    assert [choice.index for choice in decoded({"choices": sent}).choices] == [0, 1, 0]
    assert [choice.text for choice in decoded({"choices": {"delta": {"content": "a"}}}).choices] == ["a"]


@pytest.mark.parametrize("error", [None, False, "", {}, [], 0, {"message": None, "code": None}])
def test_an_empty_error_is_none(error: Any) -> None:
    assert decoded({"error": error, "choices": []}).error is None


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        ({"error": {"message": "no", "code": "500"}}, "message"),
        ({"error": "no"}, "message"),
        ({"error": True}, "message"),
        ({"error": [{"message": "no"}]}, "message"),
        ({"object": "error", "message": "no", "code": 400}, "message"),
        ({"message": "no"}, "error"),
    ],
)
def test_an_error_is_one_in_each_of_its_forms(wire: Any, name: str) -> None:
    assert decoded(wire, name).error is not None


BARE: list[Any] = [
    {"choices": []},
    {"choices": None},
    {},
    {"choices": [{"index": 0, "delta": {}}]},
    {"choices": [{"index": 0, "delta": {"content": "", "tool_calls": [], "role": None}, "logprobs": None}]},
    {"choices": [{"index": 0, "delta": None, "finish_reason": None}, {"index": 1, "delta": {}}]},
    {"choices": [], "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "auto"},
    {"choices": [], "provider": "OpenAI", "citations": []},
]
OTHER: list[Any] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant"}}]},
    {"choices": [{"index": 0, "delta": {"content": "a"}}]},
    {"choices": [{"index": 1, "delta": {"content": "a"}}]},
    {"choices": [{"index": 0, "delta": {"refusal": "a"}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": []}}]},
    {"choices": [{"index": 0, "delta": {"annotations": [{"type": "url_citation"}]}}]},
    {"choices": [{"index": 0, "delta": {"provider_specific_fields": {"a": 1}}}]},
    {"choices": [{"index": 0, "delta": {"images": [{"type": "image_url"}]}}]},
    {"choices": [{"index": 0, "delta": {}, "content_filter_results": {"hate": {"filtered": False}}}]},
    {"choices": [], "citations": ["https://example.com"]},
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {"choices": [5]},
    {"choices": "x"},
]


@pytest.mark.parametrize("usage", [USAGE, [1], 5, "x", {}], ids=repr)
def test_a_chunk_with_usage_and_nothing_else(usage: Any) -> None:
    assert [decoded({**wire, "usage": usage}).is_only_usage for wire in BARE] == [True] * len(BARE)
    assert [decoded({**wire, "usage": usage}).is_only_usage for wire in OTHER] == [False] * len(OTHER)


def test_a_chunk_without_usage_is_not_only_usage() -> None:
    assert not any(decoded({**wire, "usage": None}).is_only_usage for wire in BARE)
    assert decoded({"choices": [], "usage": USAGE}).usage == Usage(
        prompt_tokens=7, completion_tokens=5, total_tokens=12
    )


@pytest.mark.parametrize("data", [b"ping", b"", b"[1]", b"null", b'{"choices": [', b'"x"', b'{"a":' * 5000])
def test_data_that_is_not_a_chunk(data: bytes) -> None:
    assert decode_chunk(event(data)) is None


def test_done_is_recognized_with_or_without_spaces() -> None:
    assert [is_done(event(data)) for data in (b"[DONE]", b" [DONE] ", b'"[DONE]"', b"{}")] == [True, True, False, False]


NAMES = [
    *("choices", "usage", "error", "object", "index", "delta", "message", "finish_reason", "content", "refusal"),
    *("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "thinking", "type", "text", "input"),
    *("tool_calls", "function_call", "function", "custom", "id", "name", "arguments", "provider_specific_fields"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cost", "code"),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(["text", "5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"index": st.just(0), "delta": st.dictionaries(st.sampled_from(NAMES), VALUES)}), VALUES)
def test_no_value_of_a_field_ends_a_stream(choice: dict[str, Any], usage: Any) -> None:
    chunk = decoded({"choices": [choice, {"index": 1, "delta": {"content": "kept"}}], "usage": usage})
    assert chunk.choices[1].text == "kept"
    msgspec.json.encode(chunk.choices)
