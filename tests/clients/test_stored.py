from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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


def changeable(kind: msgspec.inspect.Type, where: str = "") -> Iterator[str]:
    """Return the parts of a type whose values could be changed, or whose size in memory has no relation to the JSON."""
    match kind:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            where = where or cls.__name__
            if not cls.__struct_config__.frozen:
                yield where
            for field in fields:
                yield from changeable(field.type, f"{where}.{field.name}")
        case msgspec.inspect.UnionType(types=types):
            for one in types:
                yield from changeable(one, where)
        case msgspec.inspect.VarTupleType(item_type=item):
            yield from changeable(item, where)
        case msgspec.inspect.CustomType(cls=cls):
            if not issubclass(cls, str):
                yield where
        case msgspec.inspect.EnumType() | msgspec.inspect.NoneType() | msgspec.inspect.DateTimeType():
            pass
        case msgspec.inspect.StrType() | msgspec.inspect.IntType() | msgspec.inspect.BoolType():
            pass
        case _:
            yield where


def test_no_part_of_a_shared_message_can_be_changed() -> None:
    found = [part for kind in MESSAGE_CLASSES for part in changeable(msgspec.inspect.type_info(kind))]
    assert found == [
        "ToolReturnMessage.tool_return",
        "ToolReturnMessage.listed_returns.tool_return",
        "OpaqueMessage.json",
    ]


@pytest.mark.parametrize(
    ("returned", "is_shared"),
    [
        ({"tool_return": "text"}, True),
        ({}, True),
        ({"tool_return": {"a": 1}}, False),
        ({"tool_return": [1]}, False),
        ({"tool_return": 1}, False),
        ({"tool_returns": [{"tool_return": "a"}, {"tool_return": "b"}]}, True),
        ({"tool_returns": [{"tool_return": "a"}, {"tool_return": ["b"]}]}, False),
        ({"tool_return": {"a": 1}, "tool_returns": [{"tool_return": "a"}]}, False),
    ],
)
def test_messages_with_arbitrary_json_are_not_shared(returned: dict[str, Any], *, is_shared: bool) -> None:
    wire = [{"id": "message-0", "message_type": "user_message", "content": "hi"}]
    stored = StoredMessages(REF)
    page = decode_page(msgspec.json.encode(wire), REF, newest_first=False)
    assert stored.can_share(page)
    wire.append({"id": "message-1", "message_type": "tool_return_message", **returned})
    assert stored.can_share(decode_page(msgspec.json.encode(wire), REF, newest_first=False)) is is_shared
    assert not stored.can_share([*page, OpaqueMessage(json={})])


def test_a_change_of_the_loaded_list_does_not_change_the_shared_list() -> None:
    page = decode_page(msgspec.json.encode(MESSAGES[:2]), REF, newest_first=False)
    shared = StoredMessages(REF).shared(page, 100)
    page.clear()
    assert len(shared) == 2
