"""Events of OpenAI's Responses API as LiteLLM sends them: usual answers, odd ones and failures."""

from __future__ import annotations

import json
from typing import Any

from clients.codes import Reason
from clients.errors import GatewayError, RateLimited, UpstreamError

KEY = "sk-secret-key-of-a-user"
USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 2, "audio_tokens": None},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 12,
    "cost": 0.5,
}


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def response(status: str, **more: Any) -> dict[str, Any]:
    fixed = {"id": "resp_1", "object": "response", "model": "m", "output": [], "previous_response_id": "resp_0"}
    return {**fixed, "status": status, **more}


CREATED = event("response.created", response=response("in_progress"), sequence_number=0)
COMPLETED = event("response.completed", response=response("completed", usage=USAGE), sequence_number=3)


def text(delta: str, **more: Any) -> bytes:
    return event("response.output_text.delta", output_index=0, content_index=0, delta=delta, **more)


HELLO = (text("Hello ", sequence_number=1), text("world", sequence_number=2))


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "roll", "arguments": ""}
ARGUMENTS = '{"sides":6}'
ODD: dict[str, tuple[list[bytes], tuple[str, str, list[tuple[int | None, str | None, str]]]]] = {
    "unknown events": ([text("a"), event("response.dance", step=[1]), text("b")], ("ab", "", [])),
    "a delta that is no text": ([text("a"), event("response.output_text.delta", delta={"x": 1})], ("a", "", [])),
    "an odd index": ([event("response.output_text.delta", delta="a", output_index=[1])], ("a", "", [])),
    "a blank and a comment": ([b": ping\n\n", b"data: \n\n", text("a")], ("a", "", [])),
    "an event that is no JSON": ([text("a"), b"data: {oops\n\n"], ("a", "", [])),
    "half an emoji": ([b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n'], ("a\ufffd", "", [])),
    "a refusal": ([event("response.refusal.delta", delta="no")], ("no", "", [])),
    "text only at its end": ([event("response.output_text.done", output_index=0, text="all")], ("all", "", [])),
    "text and its end": ([*HELLO, event("response.output_text.done", output_index=0, text="Hello world")],
        ("Hello world", "", [])),
    "reasoning": (
        [
            event("response.reasoning_summary_text.delta", output_index=0, delta="hm"),
            event("response.reasoning_summary_text.done", output_index=0, summary_index=0, text="hm"),
            event("response.output_text.delta", output_index=1, delta="a"),
        ],
        ("a", "hm", []),
    ),
    "a call in pieces": (
        [
            event("response.output_item.added", output_index=0, item=CALL),
            event("response.function_call_arguments.delta", output_index=0, delta='{"sides"'),
            event("response.function_call_arguments.delta", output_index=0, delta=":6}"),
            event("response.function_call_arguments.done", output_index=0, arguments=ARGUMENTS),
            event("response.output_item.done", output_index=0, item={**CALL, "arguments": ARGUMENTS}),
        ],
        ("", "", [(0, "roll", ARGUMENTS)]),
    ),
    "a whole call": (
        [event("response.output_item.done", output_index=3, item={**CALL, "arguments": ARGUMENTS})],
        ("", "", [(0, "roll", ARGUMENTS)]),
    ),
    "a call with its arguments at once": (
        [
            event("response.output_item.added", output_index=1, item={**CALL, "arguments": ARGUMENTS}),
            event("response.function_call_arguments.done", output_index=1, arguments=ARGUMENTS),
        ],
        ("", "", [(0, "roll", ARGUMENTS)]),
    ),
    "two calls that take turns": (
        [
            event("response.output_item.added", output_index=1, item=CALL),
            event("response.output_item.added", output_index=2, item={**CALL, "name": "flip"}),
            event("response.function_call_arguments.delta", output_index=2, delta="{}"),
            event("response.function_call_arguments.delta", output_index=1, delta="[]"),
        ],
        ("", "", [(0, "roll", "[]"), (1, "flip", "{}")]),
    ),
    "a custom call": (
        [
            event("response.output_item.added", output_index=0, item={"type": "custom_tool_call", "name": "sh"}),
            event("response.custom_tool_call_input.delta", output_index=0, delta="ls"),
        ],
        ("", "", [(0, "sh", "ls")]),
    ),
}  # fmt: skip


FAILED = {"code": "server_error", "message": f"litellm.APIConnectionError {KEY}"}
FAILURES: dict[str, tuple[list[bytes], type[GatewayError], Reason | None]] = {
    "failed": ([event("response.failed", response=response("failed", error=FAILED))], UpstreamError, Reason.MODEL),
    "failed without an error": ([event("response.failed", response=response("failed"))], UpstreamError, Reason.MODEL),
    "failed without a response": ([event("response.failed")], UpstreamError, Reason.MODEL),
    "rate limited": (
        [event("response.failed", response=response("failed", error={"code": "rate_limit_exceeded", "message": "x"}))],
        RateLimited,
        None,
    ),
    "completed with a failure": (
        [event("response.completed", response=response("failed", error=FAILED))],
        UpstreamError,
        Reason.MODEL,
    ),
    "cancelled": ([event("response.cancelled", response=response("cancelled"))], UpstreamError, Reason.MODEL),
    "an error event": ([event("error", code="server_error", message="x", param=None)], UpstreamError, Reason.MODEL),
    "an error of chat completions": (
        [b'data: {"error":{"message":"x","code":"500"}}\n\n', b"data: [DONE]\n\n"],
        UpstreamError,
        Reason.MODEL,
    ),
    "an error that is no JSON": ([b"event: error\ndata: oops\n\n"], UpstreamError, Reason.MODEL),
    "a cut": ([], UpstreamError, Reason.CUT),
    "a cut in an event": ([text("x")[:-8]], UpstreamError, Reason.CUT),
    "done without an end": ([b"data: [DONE]\n\n"], UpstreamError, Reason.CUT),
}


def events_in(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream, and check their names and numbers."""
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def deltas(found: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
