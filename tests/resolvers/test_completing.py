from __future__ import annotations

import json

import pytest

from clients.errors import HTTP_STATUS, ErrorCode, RateLimited, UpstreamError
from clients.letta.tools import ToolCall
from resolvers.completing import _calls, vectors_of
from resolvers.streams.events import Event, StreamFailure, TextDelta, ToolCallDelta

GOOD = {"data": [{"index": 1, "embedding": [0, 2.5]}, {"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 4}}


def test_vectors_come_in_the_order_of_their_inputs() -> None:
    vectors, usage = vectors_of(json.dumps(GOOD).encode(), 2)
    assert [(one.index, one.vector) for one in vectors] == [(0, [1.0]), (1, [0.0, 2.5])]
    assert (usage.prompt_tokens, usage.total_tokens, usage.cost_usd) == (4, None, None)


@pytest.mark.parametrize("count", [1, 3])
def test_vectors_of_other_inputs(count: int) -> None:
    with pytest.raises(UpstreamError) as refused:
        vectors_of(json.dumps(GOOD).encode(), count)
    assert refused.value.reason == "DECODE"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 1}', b'{"data": [{"index": 0, "embedding": "AAAA"}]}'])
def test_what_is_no_answer_to_embeddings(body: bytes) -> None:
    with pytest.raises(UpstreamError) as refused:
        vectors_of(body, 1)
    assert refused.value.reason == "DECODE"


def test_calls_are_joined_of_their_pieces_in_the_order_of_their_places() -> None:
    said: list[Event] = [
        ToolCallDelta(index=1, tool_call_id="b", name="second"),
        ToolCallDelta(index=0, tool_call_id="a", name="first"),
        ToolCallDelta(index=1, arguments_delta='{"x":'),
        TextDelta(text="meanwhile"),
        ToolCallDelta(index=1, arguments_delta="1}"),
    ]
    assert _calls(said) == [
        ToolCall(tool_call_id="a", name="first", arguments=""),
        ToolCall(tool_call_id="b", name="second", arguments='{"x":1}'),
    ]


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("Slow down.", retry_after_seconds=2.0),
        UpstreamError("Too large.", reason="TOO_LARGE", can_retry=False),
        UpstreamError("Cut.", reason="CUT"),
    ],
)
def test_an_error_comes_back_from_what_a_stream_keeps_of_it(error: RateLimited | UpstreamError) -> None:
    again = StreamFailure.of(error).error()
    assert type(again) is type(error)
    for name in ("message", "reason", "service", "retry_after_seconds", "retryable"):
        assert getattr(again, name) == getattr(error, name)


@pytest.mark.parametrize("code", list(HTTP_STATUS))
def test_every_code_can_come_back(code: ErrorCode) -> None:
    assert StreamFailure(code=code, message="m").error().code is code
