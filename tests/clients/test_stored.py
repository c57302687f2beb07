from __future__ import annotations

import msgspec
import pytest

from clients.letta.messages import MESSAGE_CLASSES, OpaqueMessage, UserMessage, decode_page
from clients.letta.stored import StoredMessages
from clients.stored import Stored, Unreadable
from tests.support.owned import conversation


class Old(msgspec.Struct):
    name: str


class New(msgspec.Struct):
    name: str
    age: int = 0


def test_a_value_is_decoded_as_it_was_encoded() -> None:
    stored = Stored[list[New]](list[New])
    assert stored.decoded(stored.encoded([New("a", 10**30)])) == [New("a", 10**30)]


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"name":1}', b"\xff"])
def test_a_value_that_cannot_be_decoded_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        Stored[New](New).decoded(data)
    with pytest.raises(Unreadable):
        StoredMessages(REF).decoded(data)


def test_the_shape_changes_with_the_type() -> None:
    shapes = [Stored(kind).shape for kind in (Old, New, list[New], dict[str, New], New | None)]
    assert len(set(shapes)) == len(shapes)
    assert Stored[New](New).shape == Stored[New](New).shape


REF = conversation()
MESSAGES = [
    {"id": "message-1", "message_type": "user_message", "content": "hi", "otid": "o", "date": "2026-01-01T00:00:00Z"},
    {"id": "message-1", "message_type": "user_message", "content": [{"type": "image", "source": {"url": "u"}}]},
    {"id": "message-2", "message_type": "reasoning_message", "reasoning": "hm"},
    {"id": "message-2", "message_type": "assistant_message", "content": [{"type": "text", "text": "yes"}]},
    {"id": "message-3", "message_type": "tool_call_message", "tool_call": {"name": "t", "arguments": "{"}},
    {"id": "message-4", "message_type": "tool_return_message", "tool_return": {"a": [1, None]}, "status": "error"},
    {"id": "message-5", "message_type": "approval_request_message", "tool_calls": [{"name": "t"}]},
    {"id": "message-6", "message_type": "approval_response_message", "approvals": [{"approve": True}]},
    {"id": "message-7", "message_type": "event_message", "event_type": "compaction", "summary": "s"},
    {"id": "message-8", "message_type": "system_message", "content": "s"},
    {"id": "message-9", "message_type": "user_message", "content": '{"type":"system_alert","message":"m"}'},
    {"id": "message-10", "message_type": "of the future", "n": 10**30},
]


def test_each_kind_of_message_is_decoded_as_it_was_encoded() -> None:
    page = decode_page(msgspec.json.encode(MESSAGES), REF, newest_first=False)
    assert {type(message) for message in page} == set(MESSAGE_CLASSES)
    stored = StoredMessages(REF)
    data = stored.encoded(page)
    assert stored.decoded(data) == page
    assert b"agent-1" not in data
    other = StoredMessages(conversation(agent_id="agent-2")).decoded(data)
    assert {message.conversation for message in other} == {"agent-2"}


def test_messages_with_other_values_cannot_be_encoded() -> None:
    with pytest.raises(TypeError):
        StoredMessages(REF).encoded([OpaqueMessage(json=object())])


def test_a_message_of_an_unknown_class_is_unreadable() -> None:
    data = msgspec.json.encode([("Message", UserMessage())])
    with pytest.raises(Unreadable):
        StoredMessages(REF).decoded(data)
