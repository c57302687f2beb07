"""Encodes pages of messages for the cache."""

from typing import Any

import msgspec

from clients.decode import UNREADABLE
from clients.letta.messages import MESSAGE_CLASSES, MessageRecord, OpaqueMessage, ToolReturnMessage, placed
from clients.owned import ConversationRef
from clients.shared import SharedList
from clients.stored import Stored, Unreadable

_PAGE = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {cls.__name__: msgspec.json.Decoder(cls) for cls in MESSAGE_CLASSES}
_WITH_JSON = (OpaqueMessage, ToolReturnMessage)
COMPLETED_FACTOR = 4
"""The maximum memory of a page's completed messages, as a multiple of the encoded page's size."""

_SHAPE = Stored[Any](None, types=MESSAGE_CLASSES)


class StoredMessages(Stored[list[MessageRecord]]):
    """Encodes a page of a conversation's messages. The encoded page does not name the conversation."""

    def __init__(self, conversation: ConversationRef) -> None:
        super().__init__(None)
        self._conversation = conversation

    @property
    def shape(self) -> str:
        """The digest of the messages' types."""
        return _SHAPE.shape

    def encoded(self, value: list[MessageRecord]) -> bytes:
        """Encode a page."""
        return msgspec.json.encode([(type(one).__name__, one) for one in value], enc_hook=_omitted)

    def decoded(self, data: bytes) -> list[MessageRecord]:
        """Decode a page. Raises Unreadable."""
        try:
            return [placed(_DECODERS[name].decode(raw), self._conversation) for name, raw in _PAGE.decode(data)]
        except (*UNREADABLE, KeyError) as error:
            raise Unreadable from error

    def can_share(self, value: list[MessageRecord]) -> bool:
        """Return whether no message has arbitrary JSON, which could be changed, and whose size in memory is unknown."""
        return not any(type(record) in _WITH_JSON and _has_json(record) for record in value)

    def shared(self, value: list[MessageRecord], size: int) -> SharedList[MessageRecord]:
        """Return a list for all readers. The loaded list may be changed by the reader who has loaded it."""
        return SharedList(value, COMPLETED_FACTOR * size)


def _has_json(record: MessageRecord) -> bool:
    if not isinstance(record, ToolReturnMessage):
        return True
    results = [record.tool_return, *(one.tool_return for one in record.tool_returns)]
    return any(one is not None and not isinstance(one, str) for one in results)


def _omitted(value: object) -> None:
    """Encode a message's conversation as null."""
    if not isinstance(value, ConversationRef):
        raise TypeError(f"a {type(value).__name__} in a message")
