"""Decodes the records of streams in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from clients.codes import Reason
from clients.errors import Service, UpstreamError
from clients.state.streams.records import Lease, NewStream, Opened, StreamRecord, StreamState, Token

if TYPE_CHECKING:
    from clients.state.link import Reply

_NEW = msgspec.msgpack.Decoder(NewStream)


def record_of(reply: Reply) -> StreamRecord:
    """Decode a record: its fields, and the number of entries. Raises UpstreamError (``DECODE``)."""
    try:
        return _decoded(reply)
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise unreadable() from error


def readable(replies: Sequence[Reply]) -> list[StreamRecord]:
    """Decode records. Leave evicted streams out, and records that only a different version of the gateway can read."""
    records: list[StreamRecord] = []
    for reply in replies:
        with suppress(UpstreamError):
            records.append(record_of(reply))
    return [record for record in records if record.state is not StreamState.EVICTED]


def opened_of(record: StreamRecord) -> Opened:
    """Return the answer for the holder of a stream."""
    return Opened(record, Lease(record.owner, record.id, record.token))


def unreadable() -> UpstreamError:
    """Return the error for a stream that a different version of the gateway wrote."""
    message = "The gateway cannot read the stream, because a different version of the gateway runs the stream."
    return UpstreamError(message, reason=Reason.DECODE, service=Service.REDIS)


def _decoded(reply: Reply) -> StreamRecord:
    names = iter(reply[0])
    fields: dict[bytes, bytes] = dict(zip(names, names, strict=True))
    expires = fields.get(b"expires")
    new = msgspec.structs.asdict(_NEW.decode(fields[b"new"]))
    state, length = StreamState(fields[b"state"].decode()), reply[1]
    if state is StreamState.ENDED and not length:  # Redis can evict a log alone
        state = StreamState.EVICTED
    return StreamRecord(
        **new | {"recipe": fields[b"recipe"]},
        holder=fields[b"holder"].decode(),
        token=Token(int(fields[b"token"])),
        state=state,
        length=length,
        is_cancelled=fields[b"cancelled"] == b"1",
        outcome=fields.get(b"outcome"),
        started_at=float(fields[b"started"]) / 1000,
        first_began=float(fields[b"first"]) / 1000,
        expires_at=None if expires is None else float(expires) / 1000,
    )
