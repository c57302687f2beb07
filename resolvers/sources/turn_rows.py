"""Encodes the events that only turns have, for the store that replicas share."""

import msgspec

from clients.letta.kept_messages import message_bytes, message_of
from clients.owned import ConversationRef
from resolvers.sources.turn_events import ApprovalRequested, MessageAdded, TurnStarted
from resolvers.streams.codec import EventKind
from resolvers.streams.events import Event


class _Row(msgspec.Struct, array_like=True):
    run_id: str | None = None
    message: bytes | None = None
    resumable: bool = False


_DECODER = msgspec.msgpack.Decoder(_Row)


class _Started:
    event: type[Event] = TurnStarted

    def encode(self, event: Event) -> bytes:
        if not isinstance(event, TurnStarted):
            raise TypeError(event)
        message = None if event.user_message is None else message_bytes(event.user_message)
        return msgspec.msgpack.encode(_Row(event.run_id, message, event.resumable))

    def decode(self, row: bytes, conversation: ConversationRef | None) -> Event:
        found = _DECODER.decode(row)
        message = None if found.message is None else message_of(found.message, conversation)
        return TurnStarted(run_id=found.run_id, user_message=message, resumable=found.resumable)


class _Added:
    event: type[Event] = MessageAdded

    def encode(self, event: Event) -> bytes:
        if not isinstance(event, MessageAdded):
            raise TypeError(event)
        run_id = event.run_id if isinstance(event, ApprovalRequested) else None
        return msgspec.msgpack.encode(_Row(run_id, message_bytes(event.message)))

    def decode(self, row: bytes, conversation: ConversationRef | None) -> Event:
        return MessageAdded(message=message_of(_DECODER.decode(row).message or b"", conversation))


class _Requested(_Added):
    event: type[Event] = ApprovalRequested

    def decode(self, row: bytes, conversation: ConversationRef | None) -> Event:
        found = _DECODER.decode(row)
        return ApprovalRequested(message=message_of(found.message or b"", conversation), run_id=found.run_id)


TURN_KINDS: tuple[EventKind, ...] = (_Started(), _Added(), _Requested())
