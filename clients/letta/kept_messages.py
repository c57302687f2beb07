"""Encodes messages for other replicas of the gateway."""

import msgspec

from clients.letta.messages import CLASSES, MessageRecord, OpaqueMessage
from clients.owned import ConversationRef


class _Kept(msgspec.Struct, array_like=True):
    kind: str
    record: msgspec.Raw


_KEPT = msgspec.msgpack.Decoder(_Kept)
_KINDS: list[type[MessageRecord]] = [*CLASSES.values(), OpaqueMessage]
_BY_NAME = {kind.__name__: kind for kind in _KINDS}


def message_bytes(message: MessageRecord) -> bytes:
    """Encode a message without its conversation, so that another replica of the gateway can read the message."""
    record = msgspec.msgpack.encode(msgspec.structs.replace(message, read_in=None))
    return msgspec.msgpack.encode(_Kept(type(message).__name__, msgspec.Raw(record)))


def message_of(kept: bytes, conversation: ConversationRef | None) -> MessageRecord:
    """Decode a message from ``message_bytes``. Raises KeyError if a newer version has encoded an unknown class."""
    found = _KEPT.decode(kept)
    record = msgspec.msgpack.decode(found.record, type=_BY_NAME[found.kind])
    record.read_in = conversation
    return record
