"""Encodes log entries and other data of streams for the store that replicas share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from clients.owned import ConversationRef
from resolvers.streams.events import Ended, Entry, Event, Raw, ReasoningDelta, Started, TextDelta, ToolCallDelta

_Plain = Started | TextDelta | ReasoningDelta | ToolCallDelta | Raw | Ended
_PLAIN = (Started, TextDelta, ReasoningDelta, ToolCallDelta, Raw, Ended)


class EventKind(Protocol):
    """Encodes and decodes the events of one class that a source defines.

    Attributes:
        event: the class of the events.
    """

    event: type[Event]

    def encode(self, event: Event) -> bytes:
        """Encode an event without the event's conversation."""

    def decode(self, row: bytes, conversation: ConversationRef | None) -> Event:
        """Decode an event of a stream with the given conversation."""


class _Row(msgspec.Struct, array_like=True):
    """An entry without its number. ``kind`` and ``more`` encode an event whose class a source defines."""

    event: _Plain | None
    raw: bytes = b""
    mark: int = 0
    kind: str = ""
    more: bytes = b""


def _plain(value: object) -> str:
    """Encode a ``ConversationRef``, which msgspec does not accept as a string."""
    if isinstance(value, ConversationRef):
        return str.__str__(value)
    raise NotImplementedError  # msgspec then reports the value's type


class EventCodec:
    """Encodes entries.

    Args:
        kinds: encode the events whose classes the sources define.
        conversation_of: makes a turn's conversation from the ids of an agent and a conversation.
    """

    def __init__(
        self,
        kinds: Sequence[EventKind] = (),
        conversation_of: Callable[[str, str | None], ConversationRef] | None = None,
    ) -> None:
        self.conversation_of = conversation_of
        self._kinds = {kind.event.__name__: kind for kind in kinds}
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
        self._decoder = msgspec.msgpack.Decoder(_Row)

    def encode(self, event: Event, raw: bytes = b"", mark: int = 0) -> bytes:
        """Encode an entry."""
        if type(event) in _PLAIN:
            return self._encoder.encode(_Row(event, raw, mark))  # type: ignore[arg-type]
        kind = type(event).__name__
        return self._encoder.encode(_Row(None, raw, mark, kind, self._kinds[kind].encode(event)))

    def decode(self, seq: int, row: bytes, conversation: ConversationRef | None) -> Entry:
        """Decode the entry with a number.

        Raises:
            msgspec.MsgspecError: the row is not an entry.
            KeyError: this version of the gateway does not know the event's class.
        """
        found = self._decoder.decode(row)
        event: Event | None = found.event
        if event is None:
            event = self._kinds[found.kind].decode(found.more, conversation)
        elif type(event) is Ended and event.conversation is not None:
            event = msgspec.structs.replace(event, conversation=conversation)
        return Entry(seq, event, found.raw, found.mark)
