"""Converts streams to and from the records of the store that replicas share."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from clients.owned import ConversationRef
from clients.state.streams.records import NewStream, StreamRecord, StreamState
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import Ended, OnDisconnect, StreamFailure
from resolvers.streams.log import StreamLog
from resolvers.streams.stream import Stream


class _Conversation(msgspec.Struct, array_like=True, frozen=True):
    agent_id: str
    conversation_id: str | None


class _Terms(msgspec.Struct, array_like=True):
    """The facts about a stream that never change."""

    kind: str
    on_disconnect: OnDisconnect
    conversation: _Conversation | None
    unknown: str | None
    can_search: bool
    keeps_raw: bool


class Progress(msgspec.Struct, array_like=True):
    """The facts that are known when the service has begun to answer. ``source`` is the source's recipe."""

    run_id: str | None
    headers: dict[str, str]
    source: bytes


class _Outcome(msgspec.Struct, array_like=True):
    """How a stream has ended.

    ``settled_at`` is a Unix time. ``refusal`` is the error of a stream that never began. ``answered`` is the field of
    ``Stream`` at the holder when the stream ended; older versions of the gateway do not write it.
    """

    ended: bytes
    abandoned: bool
    unsure: bool
    settled_at: float | None
    refusal: StreamFailure | None
    answered: bool = False


_TERMS = msgspec.msgpack.Decoder(_Terms)
_PROGRESS = msgspec.msgpack.Decoder(Progress)
_OUTCOME = msgspec.msgpack.Decoder(_Outcome)


def new_stream(stream: Stream, recipe: bytes) -> NewStream:
    """Return a stream as the store needs it."""
    conversation = stream.conversation
    where = None
    if isinstance(conversation, ConversationRef):
        where = _Conversation(str(conversation.agent_id), _text(conversation.conversation_id))
    terms = _Terms(stream.kind, stream.on_disconnect, where, stream.unknown, stream.can_search, stream.keeps_raw)
    return NewStream(
        id=stream.id,
        owner=stream.owner,
        key=stream.key,
        fingerprint=stream.fingerprint,
        conversation=_text(conversation),
        is_retained=stream.retained,
        terms=msgspec.msgpack.encode(terms),
        recipe=recipe,
    )


def progress_bytes(stream: Stream, recipe: bytes) -> bytes:
    """Encode what is known about a running stream. ``recipe`` is the recipe of the stream's source."""
    return msgspec.msgpack.encode(Progress(stream.run_id, stream.headers, recipe))


def outcome_bytes(stream: Stream, ended: Ended, codec: EventCodec) -> bytes:
    """Encode how a stream has ended."""
    refusal = stream.refusal
    settled = None if stream.settled_at is None else stream.settled_at - time.monotonic() + time.time()
    outcome = _Outcome(
        codec.encode(ended),
        stream.abandoned,
        stream.unsure,
        settled,
        None if refusal is None else StreamFailure.of(refusal),
        stream.answered,
    )
    return msgspec.msgpack.encode(outcome)


def mirrored(record: StreamRecord, log: StreamLog, codec: EventCodec) -> Stream:
    """Return a stream that another replica holds. The caller then calls ``renew`` with the record."""
    terms = _TERMS.decode(record.terms)
    conversation: str | None = record.conversation
    if terms.conversation is not None and codec.conversation_of is not None:
        conversation = codec.conversation_of(terms.conversation.agent_id, terms.conversation.conversation_id)
    return Stream(
        id=record.id,
        owner=record.owner,
        source=None,
        log=log,
        kind=terms.kind,
        on_disconnect=terms.on_disconnect,
        key=record.key,
        fingerprint=record.fingerprint,
        conversation=conversation,
        unknown=terms.unknown,
        can_search=terms.can_search,
        keeps_raw=terms.keeps_raw,
        restarted=record.has_replaced,
        was_read=True,
        started_at=datetime.fromtimestamp(record.started_at, UTC),
        first_began=datetime.fromtimestamp(record.first_began, UTC),
    )


def renew(stream: Stream, record: StreamRecord, codec: EventCodec) -> Ended | None:
    """Update a mirrored stream from its record. Return the last event of a stream that has ended."""
    if record.recipe:
        progress = _PROGRESS.decode(record.recipe)
        stream.reported_run_id, stream.headers = progress.run_id, progress.headers
    stream.cancelled = stream.cancelled or record.is_cancelled
    stream.evicted = record.state is StreamState.EVICTED
    if record.expires_at is not None:
        stream.expires_at = datetime.fromtimestamp(record.expires_at, UTC)
    ended = None if record.outcome is None else finish(stream, record.outcome, codec)
    stream.begun = stream.begun or (record.length > 0 and stream.refusal is None)
    return ended


def finish(stream: Stream, outcome: bytes, codec: EventCodec) -> Ended | None:
    """Update a mirrored stream that has ended. Return the last event."""
    found = _OUTCOME.decode(outcome)
    stream.abandoned, stream.unsure = found.abandoned, found.unsure
    stream.answered = stream.answered or found.answered
    if found.settled_at is not None:
        stream.settled_at = found.settled_at - time.time() + time.monotonic()
    if found.refusal is not None:
        stream.refusal = found.refusal.error()
    conversation = stream.conversation if isinstance(stream.conversation, ConversationRef) else None
    event = codec.decode(0, found.ended, conversation).event
    return event if isinstance(event, Ended) else None


def source_recipe(record: StreamRecord) -> bytes:
    """Return the recipe of the source of a stream that has lost its holder."""
    return _PROGRESS.decode(record.recipe).source if record.recipe else b""


def _text(value: str | None) -> str | None:
    """Return a plain string, because msgspec does not accept a subclass of ``str``."""
    return None if value is None else str.__str__(value)
