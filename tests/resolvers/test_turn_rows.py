from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from clients.letta.messages import (
    ApprovalRequestMessage,
    AssistantMessage,
    MessageRecord,
    OpaqueMessage,
    decode_message,
)
from resolvers.owned import conversation_of_stream
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted
from resolvers.sources.turn_rows import TURN_KINDS
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import Event

CODEC = EventCodec(TURN_KINDS)
CONVERSATION = conversation_of_stream(
    "agent-00000000-0000-4000-8000-000000000001", "conv-00000000-0000-4000-8000-000000000002"
)
MESSAGES: list[dict[str, Any]] = [
    {"message_type": "user_message", "content": "hi", "otid": "o"},
    {"message_type": "user_message", "content": [{"type": "text", "text": "hi"}]},
    {
        "message_type": "user_message",
        "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}],
    },
    {"message_type": "user_message", "content": '{"type": "system_alert", "message": "compacted"}'},
    {
        "message_type": "assistant_message",
        "content": "héllo \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    },
    {"message_type": "reasoning_message", "reasoning": "hm"},
    {"message_type": "tool_call_message", "tool_call": {"name": "f", "arguments": "{}", "tool_call_id": "c"}},
    {"message_type": "tool_call_message", "tool_calls": [{"name": "f", "arguments": "{}", "tool_call_id": "c"}]},
    {"message_type": "tool_return_message", "tool_return": {"a": [1, None]}, "status": "success", "tool_call_id": "c"},
    {"message_type": "tool_return_message", "tool_return": {"a": 10**30}, "status": "success", "tool_call_id": "c"},
    {"message_type": "approval_request_message", "tool_call": {"name": "f", "arguments": "{}", "tool_call_id": "c"}},
    {"message_type": "approval_response_message", "approve": True, "approvals": []},
    {"message_type": "event_message", "event_type": "summary", "summary": "s"},
    {"message_type": "novel_message", "novelty": {"a": 1}},
    {"message_type": "assistant_message", "content": 5},
]


def message(number: int) -> MessageRecord:
    """Decode one of the messages as Letta sends them."""
    facts = {"id": "message-1", "date": "2026-11-30T00:00:00+00:00", "run_id": "run-1", "step_id": None}
    return decode_message(msgspec.json.encode({**facts, **MESSAGES[number]}), CONVERSATION)


def again(event: Event) -> Event:
    """Encode and decode an event."""
    entry = CODEC.decode(1, CODEC.encode(event), CONVERSATION)
    assert type(entry.event) is type(event)
    return entry.event


@pytest.mark.parametrize("number", range(len(MESSAGES)))
def test_every_message_comes_back_with_its_class(number: int) -> None:
    one = msgspec.structs.replace(message(number), ordinal=1, group_size=3)
    for event in (
        TurnStarted(run_id="run-1", user_message=one, resumable=True),
        MessageAdded(message=one),
        ApprovalRequested(message=one, run_id="run-1"),
    ):
        found = again(event)
        assert found == event
        record = getattr(found, "message", None) or getattr(found, "user_message", None)
        assert type(record) is type(one)
        assert record.conversation is CONVERSATION
    assert again(TurnStarted(run_id=None)) == TurnStarted(run_id=None)


def test_the_cases_cover_special_messages() -> None:
    kinds = {type(message(number)) for number in range(len(MESSAGES))}
    assert {OpaqueMessage, ApprovalRequestMessage, AssistantMessage} <= kinds
    assert message(0).created_at == datetime(2026, 11, 30, tzinfo=UTC)
