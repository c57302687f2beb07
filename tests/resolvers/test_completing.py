from __future__ import annotations

import pytest

from clients.codes import ErrorCode, Reason
from clients.errors import HTTP_STATUS, BadUserInput, RateLimited, UpstreamError
from clients.letta.tools import ToolCall
from resolvers.completing import tool_calls_of
from resolvers.streams.events import Event, StreamFailure, TextDelta, ToolCallDelta


def test_calls_are_joined_from_their_pieces_by_index() -> None:
    said: list[Event] = [
        ToolCallDelta(index=1, tool_call_id="b", name="second"),
        ToolCallDelta(index=0, tool_call_id="a", name="first"),
        ToolCallDelta(index=1, arguments_delta='{"x":'),
        TextDelta(text="meanwhile"),
        ToolCallDelta(index=1, arguments_delta="1}"),
    ]
    assert tool_calls_of(said) == [
        ToolCall(tool_call_id="a", name="first", arguments=""),
        ToolCall(tool_call_id="b", name="second", arguments='{"x":1}'),
    ]


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("Slow down.", retry_after_seconds=2.0),
        UpstreamError("Too large.", reason=Reason.TOO_LARGE, can_retry=False),
        UpstreamError("Cut.", reason=Reason.CUT),
        BadUserInput("Wrong.", details={"param": "max_tokens"}),
    ],
)
def test_an_error_is_restored_from_a_stream_failure(error: RateLimited | UpstreamError) -> None:
    again = StreamFailure.of(error).error()
    assert type(again) is type(error)
    for name in ("message", "reason", "service", "retry_after_seconds", "retryable", "details"):
        assert getattr(again, name) == getattr(error, name)


@pytest.mark.parametrize("code", list(HTTP_STATUS))
def test_every_code_is_restored(code: ErrorCode) -> None:
    assert StreamFailure(code=code, message="m").error().code is code
