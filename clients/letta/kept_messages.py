"""Encodes messages for other replicas of the gateway."""

import msgspec

from clients.letta.messages import MESSAGE_CLASSES, MessageRecord, placed
from clients.owned import ConversationRef


class _Kept(msgspec.Struct, array_like=True):
    kind: str
    record: msgspec.Raw


_KEPT = msgspec.json.Decoder(_Kept)
_BY_NAME = {kind.__name__: kind for kind in MESSAGE_CLASSES}


def message_bytes(message: MessageRecord) -> bytes:
    """Encode a message without its conversation, so that another replica of the gateway can read the message."""
    record = msgspec.json.encode(msgspec.structs.replace(message, read_in=None))  # msgpack has no large integers
    return msgspec.json.encode(_Kept(type(message).__name__, msgspec.Raw(record)))


def message_of(kept: bytes, conversation: ConversationRef | None) -> MessageRecord:
    """Decode a message from ``message_bytes``. Raises KeyError if a newer version has encoded an unknown class."""
    found = _KEPT.decode(kept)
    return placed(msgspec.json.decode(found.record, type=_BY_NAME[found.kind]), conversation)
