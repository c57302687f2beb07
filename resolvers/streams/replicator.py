"""Copies the logs of this process's streams to the store that replicas share.

All new entries of a loop iteration are sent together. While the store is unavailable, readers can read new entries at
once; afterwards, the replicator sends the entries that the store does not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from clients.codes import Reason
from clients.errors import GatewayError, UpstreamError
from clients.state.errors import StateUnavailable
from clients.state.streams.records import Append, Appended, AppendStatus, Lease
from clients.state.streams.store import StreamStore
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import Ended
from resolvers.streams.registry import too_large
from resolvers.streams.shared_log import SharedLog
from resolvers.streams.stored import new_stream, outcome_bytes, progress_bytes
from resolvers.streams.stream import Stream

MOST_ENTRIES = 256
"""The maximum number of entries of one stream that are sent together."""

MOST_BYTES = 256 * 1024
"""The approximate maximum size of the entries of one stream that are sent together, in bytes."""

BATCH_ENTRIES = 4096
"""The approximate maximum number of entries of all streams that are sent together."""

BATCH_BYTES = 1024 * 1024
"""The approximate maximum size of the entries that are sent together, in bytes. More would exceed Redis's timeout."""

RETRY_SECONDS = 1.0
"""The time after which the replicator tries again to use the store, in seconds."""

CLOSE_SECONDS = 2.0
"""The maximum time for which a stopping process waits until the store has the last entries, in seconds."""


@dataclass(eq=False, slots=True)
class Held:
    """A stream that this process holds.

    Attributes:
        recipe: the recipe of the stream's source.
        lease: the right to append; ``None`` if the store does not know the stream yet.
        reported: the run id and the number of headers that the store knows.
        is_finished: whether the store has the whole stream.
        is_missing: whether the store has lost the stream's record.
        is_full: whether the store gets no more entries, except the last.
    """

    stream: Stream
    log: SharedLog
    recipe: bytes = b""
    lease: Lease | None = None
    reported: tuple[str | None, int] = (None, 0)
    is_finished: bool = False
    is_missing: bool = False
    is_full: bool = False

    @property
    def facts(self) -> tuple[str | None, int]:
        """The run id and the number of headers that are known."""
        return self.stream.run_id, len(self.stream.headers)

    async def append(self, lease: Lease, codec: EventCodec) -> Append | None:
        """Return the stream's next entries, or ``None`` if the store has everything."""
        log, stream = self.log, self.stream
        entries = await log.unstored(MOST_ENTRIES, MOST_BYTES)
        if self.is_full:
            entries = entries[-1:] if log.is_closed else []
        shares_raw = stream.key is not None and stream.keeps_raw
        rows = [codec.encode(event, raw if shares_raw else b"", mark) for event, raw, mark in entries]
        last = entries[-1].event if entries else log.ended
        is_last = log.is_closed and (self.is_full or log.stored + len(entries) == log.total)
        outcome = outcome_bytes(stream, last, codec) if is_last and isinstance(last, Ended) else None
        has_news = self.facts != self.reported and outcome is None
        if not rows and outcome is None and not has_news:
            return None
        return Append(
            lease=lease,
            after=log.stored,
            entries=rows,
            outcome=outcome,
            recipe=progress_bytes(stream, self.recipe) if has_news else None,
            is_retained=stream.retained and (stream.refusal is None or stream.unsure),
        )


class Holder(Protocol):
    """Decides what happens to a stream after an answer from the store. The methods return at once."""

    def lost(self, held: Held) -> None:
        """Another replica holds the stream now."""

    def refused(self, held: Held, error: GatewayError) -> None:
        """The store does not get more entries of the stream, except the last."""

    def cancelled(self, held: Held) -> None:
        """A client of another replica has cancelled the stream."""

    def broke(self, error: Exception) -> None:
        """Report an internal error."""


class Replicator:
    """Copies the streams that this process holds to the store.

    ``is_available`` is whether the store can be used.
    """

    def __init__(self, store: StreamStore, codec: EventCodec, holder: Holder) -> None:
        self._store = store
        self._codec = codec
        self._holder = holder
        self._held: dict[str, Held] = {}
        self._new: dict[str, Held] = {}
        self.is_available = True
        self._is_copying = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None

    def hold(self, held: Held) -> None:
        """Copy a stream from now on."""
        self._held[held.stream.id] = held
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def copy(self, stream_id: str) -> bool:
        """Copy a stream's new entries soon. Return False if the store is unavailable."""
        if not self.is_available or (held := self._held.get(stream_id)) is None:
            return False
        self._new[stream_id] = held
        self._wake.set()
        return True

    def resume(self, helds: Sequence[Held]) -> None:
        """Copy what the store does not have, because the store is available again.

        ``helds`` are streams that the store may have lost, even if the store had the whole stream.
        """
        for held in helds:
            if held.is_finished:
                held.is_finished, held.lease = False, None
            self._held[held.stream.id] = held
        self._copy_all()

    def _copy_all(self) -> None:
        self.is_available, self._retry = True, None
        for stream_id in list(self._held):
            self.copy(stream_id)

    def forget(self, held: Held) -> None:
        """Do not copy an ended stream, because this process has removed the stream."""
        if held.log.ended is not None:
            self._held.pop(held.stream.id, None)

    def restore(self, held: Held) -> None:
        """Copy a stream again, because the store has lost the stream's record or entries."""
        held.is_finished, held.is_missing = False, True
        self._held[held.stream.id] = held
        self.copy(held.stream.id)

    async def aclose(self) -> None:
        """Stop, after the store has the appended entries. Give up after ``CLOSE_SECONDS``."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while (self._new or self._is_copying) and self.is_available:
                    self._idle.clear()
                    await self._idle.wait()
        if self._retry is not None:
            self._retry.cancel()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            helds = list(self._new.values())
            self._new.clear()
            self._is_copying = True
            try:
                await self._copy(helds)
            except StateUnavailable:
                self._stop_waiting(helds)
            except Exception as error:  # noqa: BLE001 - the readers must not wait for ever
                self._holder.broke(error)
                self._stop_waiting(helds)
            self._is_copying = False
            self._idle.set()

    def _stop_waiting(self, helds: list[Held]) -> None:
        """Let readers read the entries that the store does not have."""
        self.is_available = False
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._copy_all)
        for held in [*helds, *self._new.values()]:
            held.log.show(held.log.total)
        self._new.clear()

    async def _copy(self, helds: list[Held]) -> None:
        missing = [held for held in helds if held.lease is None or held.is_missing]
        if missing:
            await asyncio.gather(*map(self._restore, missing))
        appends: list[tuple[Held, Append]] = []
        entries = size = 0
        for held in helds:
            if entries > BATCH_ENTRIES or size > BATCH_BYTES:
                self.copy(held.stream.id)
            elif (append := await self._next(held)) is not None:
                appends.append((held, append))
                entries += len(append.entries)
                size += sum(map(len, append.entries))
        if not appends:
            return
        answers = await self._store.append([append for _, append in appends])
        for (held, append), answer in zip(appends, answers, strict=True):
            self._appended(held, append, answer)

    async def _next(self, held: Held) -> Append | None:
        """Return a stream's next entries, if there are any. End a stream whose entries cannot be encoded."""
        if held.lease is None:
            return None
        try:
            return await held.append(held.lease, self._codec)
        except Exception as error:  # noqa: BLE001 - one bad event must not stop the copies of all streams
            self._holder.broke(error)
        if held.is_full:
            self._held.pop(held.stream.id, None)
            held.log.show(held.log.total)
        else:
            held.is_full = True
            self._holder.refused(held, not_encoded())
        return None

    def _appended(self, held: Held, append: Append, answer: Appended) -> None:
        log = held.log
        match answer.status:
            case AppendStatus.STORED:
                log.stored = answer.length
                if append.recipe is not None:
                    held.reported = held.facts
                if append.outcome is not None:
                    held.is_finished = True
                    self._held.pop(held.stream.id, None)
                log.show(log.total if held.is_finished else log.stored)
                if not held.is_finished and log.stored < log.total:
                    self.copy(held.stream.id)
            case AppendStatus.BEHIND:
                log.stored = answer.length
                self.copy(held.stream.id)
            case AppendStatus.MISSING:
                self.restore(held)
            case AppendStatus.FENCED:
                self.lose(held)
            case AppendStatus.OVER_QUOTA:
                held.is_full = True
                self._holder.refused(held, too_large())
        if answer.is_cancelled:
            self._holder.cancelled(held)

    async def _restore(self, held: Held) -> None:
        """Create the stream's record, which the store does not have."""
        stream = held.stream
        token = None if held.lease is None else held.lease.token
        recipe = progress_bytes(stream, held.recipe)
        restored = await self._store.restore(new_stream(stream, recipe), token)
        if restored is None:
            self.lose(held)
        else:
            held.lease, held.log.stored = restored
            held.is_missing = False

    def lose(self, held: Held) -> None:
        """Stop copying a stream, because another replica holds the stream."""
        self._held.pop(held.stream.id, None)
        self._new.pop(held.stream.id, None)
        held.lease = None
        self._holder.lost(held)


def not_encoded() -> UpstreamError:
    """Return the error that ends a stream with an event that the gateway cannot store."""
    message = (
        "The answer has a value that the gateway cannot store in Redis, so the gateway ended the stream. Report the "
        "error to the operator."
    )
    return UpstreamError(message, reason=Reason.DECODE, can_retry=False)
