from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from clients.errors import UpstreamError
from clients.letta import frames, messages
from clients.letta.client import Letta
from clients.letta.messages import OpaqueMessage, decode_message, decode_page
from clients.letta.records import AgentToChange, RunRecord, StepRecord
from clients.owned import OwnedAgentId
from clients.sse import SseEvent
from clients.usage import Usage
from tests.support.owned import conversation, owned
from tests.support.upstream_calls import scope, upstream_with

KINDS: dict[str, type] = {
    "system_message": messages.SystemMessage,
    "user_message": messages.UserMessage,
    "assistant_message": messages.AssistantMessage,
    "reasoning_message": messages.ReasoningMessage,
    "hidden_reasoning_message": messages.ReasoningMessage,
    "tool_call_message": messages.ToolCallMessage,
    "tool_return_message": messages.ToolReturnMessage,
    "approval_request_message": messages.ApprovalRequestMessage,
    "approval_response_message": messages.ApprovalResponseMessage,
    "summary_message": messages.EventMessage,
    "event_message": messages.EventMessage,
    "one_of_a_newer_letta": messages.OpaqueMessage,
}
"""Every ``message_type`` of Letta 0.16.8, and one that it does not have."""

FIELDS: dict[str, dict[str, Any]] = {
    "hidden_reasoning_message": {"state": "redacted", "hidden_reasoning": None},
    "event_message": {"event_type": "compaction", "event_data": {"messages": 3}},
    "summary_message": {"summary": "a summary", "compaction_stats": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_message_has_its_record(kind: str) -> None:
    wire = {"id": "message-1", "date": "2026-11-25T10:00:00+00:00", "message_type": kind, **FIELDS.get(kind, {})}
    record = decode_message(msgspec.json.encode(wire), conversation())
    assert type(record) is KINDS[kind]
    assert record.letta_id == "message-1"
    assert record.text == FIELDS.get(kind, {}).get("summary")


@pytest.mark.parametrize(
    "odd", [{"reasoning": {}}, {"date": "then"}, {"run_id": 7}, {"message_type": None}, {"id": []}]
)
def test_a_message_in_another_form_is_kept_whole(odd: dict[str, object]) -> None:
    wire = {"id": "message-1", "run_id": "run-1", "message_type": "reasoning_message", "reasoning": "hm", **odd}
    record = decode_message(msgspec.json.encode(wire), conversation())
    assert isinstance(record, messages.OpaqueMessage)
    assert record.json == wire
    kept = {"letta_id": "message-1", "run_id": "run-1", "type": "reasoning_message"}
    missed = {"letta_id": "", "run_id": None, "type": ""}
    lost = {"id": "letta_id", "message_type": "type"}.get(*odd, *odd)
    for name, value in kept.items():
        assert getattr(record, name) == (missed[name] if name == lost else value)


@pytest.mark.parametrize("raw", [b"7", b"null", b'{"id":'])
def test_an_undecodable_message_is_an_error(raw: bytes) -> None:
    with pytest.raises(UpstreamError, match="cannot decode"):
        decode_message(raw, conversation())


def test_parallel_calls_have_one_message_of_results() -> None:
    returns: list[dict[str, Any]] = [
        {"type": "tool", "tool_call_id": "call_1", "status": "success", "tool_return": "one"},
        {"type": "tool", "tool_call_id": "call_2", "status": "error", "tool_return": [{"type": "text", "text": "two"}]},
    ]
    wire = {"id": "message-1", "message_type": "tool_return_message", **returns[0], "tool_returns": returns}
    record = decode_message(msgspec.json.encode(wire), conversation())
    assert isinstance(record, messages.ToolReturnMessage)
    assert [(one.tool_call_id, one.status) for one in record.tool_returns] == [
        ("call_1", "success"),
        ("call_2", "error"),
    ]
    assert (record.text, record.tool_returns[1].text) == ("one", '[{"type":"text","text":"two"}]')


@pytest.mark.parametrize(
    ("status", "background", "active"),
    [
        ("running", False, True),
        ("created", True, True),
        ("created", False, False),  # an answer that was not streamed (Letta 0.16.8)
        ("completed", True, False),
        ("cancelled", True, False),
        ("of a newer letta", False, True),
    ],
)
def test_which_runs_are_active(status: str, background: bool, active: bool) -> None:
    assert RunRecord(id="run-1", raw_status=status, background=background).is_active is active


def test_a_step_of_a_newer_letta() -> None:
    step = msgspec.json.decode(b'{"id":"step-1","status":"dreaming","prompt_tokens":3}', type=StepRecord)
    assert (step.status.name, step.usage.prompt_tokens, step.usage.total_tokens) == ("UNKNOWN", 3, None)
    assert msgspec.json.decode(b'{"id":"step-1","status":null}', type=StepRecord).status.name == "UNKNOWN"


@pytest.mark.parametrize(("sent", "shown"), [((0.9, 0.0), [0.9, 0.0]), ((0.0, 0.0), [None, None]), ((), [])])
async def test_a_search_has_scores_if_letta_has_them(sent: tuple[float, ...], shown: list[float | None]) -> None:
    passage = {"id": "passage-1", "text": "kept", "tags": None, "embedding": [0.5] * 3}
    hits = [{"passage": passage, "score": score, "metadata": {}} for score in sent]

    async def act(request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(request.content)
        assert body == {"query": "what", "agent_id": "agent-1", "limit": 5}
        return httpx.Response(200, content=msgspec.json.encode(hits))

    found = await Letta(upstream_with(act)[0]).search_passages(scope(), owned(OwnedAgentId, "agent-1"), "what", 5)
    assert [hit.score for hit in found] == shown
    assert {hit.passage.agent_id for hit in found} <= {"agent-1"}


async def test_an_answer_that_is_not_a_list_of_passages() -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'{"detail": "secret of the upstream"}')

    with pytest.raises(UpstreamError) as caught:
        await Letta(upstream_with(act)[0]).passages(scope(), owned(OwnedAgentId, "agent-1"), limit=1, newest_first=True)
    assert (caught.value.reason, "secret" in caught.value.message) == ("DECODE", False)


@pytest.mark.parametrize("body", [b"[{}]", b'[{"error": "no"}]', b"{}", b'{"error": "no"}', b"[5]", b""])
def test_an_undecodable_page_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        decode_page(body, conversation("conv-1"), newest_first=True)
    assert caught.value.reason == "DECODE"


def test_a_message_of_an_unknown_form_is_opaque() -> None:
    body = b'[{"id": 5, "x": 1}, {"message_type": "new"}]'
    page = decode_page(body, conversation("conv-1"), newest_first=False)
    assert [type(record) for record in page] == [OpaqueMessage] * 2


def frame(**wire: object) -> frames.Frame:
    return frames.decode_frame(SseEvent(b"", "message", msgspec.json.encode(wire)), conversation()).frame


def test_a_frame_with_a_field_of_another_type_is_read_without_it() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": "4", "total_tokens": 7.5, "reasoning_tokens": True}
    usage = frame(message_type="usage_statistics", **counts, cached_input_tokens={})
    assert usage == Usage(prompt_tokens=3)
    assert frame(message_type="ping", run_id=7) == frames.Ping(None)
    assert frame(message_type="ping", run_id="../x") == frames.Ping(None)
    assert frame(message_type="stop_reason", stop_reason=None) == frames.StopReason("")


@pytest.mark.parametrize(
    "wire",
    [
        {"error_type": "internal_error", "detail": "CONTEXT_WINDOW_EXCEEDED: Bad request to OpenAI"},
        {"error_type": "llm_error", "detail": {"code": "context_length_exceeded"}},
        {"error_type": "context_window_exceeded"},
        {"error_type": "llm_error", "detail": "INVALID_ARGUMENT: This model's maximum context length is 8192 tokens."},
        {"error_type": "llm_error", "detail": "BAD_REQUEST: prompt is too long: 210000 tokens > 200000 maximum"},
        {"error_type": "llm_error", "detail": "Input is too long for requested model."},
        {"error_type": "llm_error", "message": "Your input exceeds the context window of this model."},
        {"error_type": "internal_error", "detail": "input length and `max_tokens` exceed context limit: 9 + 2 > 10"},
        {
            "error_type": "internal_error",
            "detail": "The input token count (12) exceeds the maximum number of tokens allowed (10).",
        },
    ],
)
def test_a_context_overflow_is_recognised_by_its_phrases(wire: dict[str, object]) -> None:
    failed = frame(**{"message_type": "error_message", "message": "An error occurred.", **wire})
    assert isinstance(failed, frames.ErrorFrame)
    assert failed.too_long


def test_too_many_tokens_in_a_minute_are_not_a_context_overflow() -> None:
    wire = {"error_type": "llm_rate_limit", "detail": "Too many tokens, please wait before trying again."}
    failed = frame(message_type="error_message", **wire)
    assert isinstance(failed, frames.ErrorFrame)
    assert not failed.too_long


@pytest.mark.parametrize("status", ["running", "created", "", "one of a newer letta"])
@pytest.mark.parametrize(
    ("stop", "ended"), [("end_turn", "completed"), ("max_steps", "failed"), ("cancelled", "cancelled")]
)
def test_a_stop_reason_ends_a_run_of_any_status(status: str, stop: str, ended: str) -> None:
    run = RunRecord(id="run-1", raw_status=status, stop_reason=stop, background=True)
    assert (run.status.value, run.over, run.is_active) == (ended, True, False)


def test_a_run_with_a_time_of_completion_is_not_active() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not RunRecord(id="run-1", raw_status="running", completed_at=now).is_active
    assert RunRecord(id="run-1", raw_status="running").is_active


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"handle": "openai-proxy/old", "model": "old", "display_name": "Old", "model_endpoint": "e"},
            {"handle": "openai-proxy/new/er", "model": "new/er", "display_name": None, "model_endpoint": "e"},
        ),
        ({"handle": None, "model": "old"}, {"handle": None, "model": "new/er", "display_name": None}),
        ({"handle": "old"}, {"handle": "new/er", "model": "new/er", "display_name": None}),
        (
            {"context_window": 9000, "max_tokens": 900},
            {"context_window": 800, "max_tokens": 90, "model": "new/er", "display_name": None},
        ),
        (
            {"context_window": 700, "max_tokens": None},
            {"context_window": 700, "max_tokens": None, "model": "new/er", "display_name": None},
        ),
    ],
)
def test_another_model_in_a_config(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert AgentToChange(llm_config=config).with_model("new/er", context=800, output=90) == expected


def test_a_new_model_without_limits_keeps_the_old_ones() -> None:
    config = AgentToChange(llm_config={"context_window": 9000}).with_model("new", context=None, output=None)
    assert config["context_window"] == 9000
