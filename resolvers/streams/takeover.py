"""Continues the streams of replicas that have stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

from clients.errors import GatewayError
from clients.state.errors import StateUnavailable
from clients.state.streams.records import Opened, StreamRecord
from clients.state.streams.store import StreamStore
from clients.usage import Usage
from resolvers.streams.events import Batch, Entry, Started, batch_of
from resolvers.streams.log import StreamLog
from resolvers.streams.mirrors import Mirrors, log_of
from resolvers.streams.replicator import Held
from resolvers.streams.shared_log import Copier
from resolvers.streams.stored import source_recipe
from resolvers.streams.stream import Source

AT_ONCE = 16
"""The maximum number of streams that are taken over at the same time."""

RETRY_SECONDS = 1.0
"""The time between two attempts to read the entries of a stream that was taken over, in seconds."""

Resume: TypeAlias = Callable[[bytes, Iterable[Entry]], Source]
"""Makes the source that continues a stream, from the recipe of the earlier source and from the log's entries."""


class Takeover:
    """Takes over streams that no living replica holds.

    Args:
        store: the store.
        mirrors: the streams that this process reads.
        copier: copies the streams that this process holds to the store.
        resume: makes the sources.
        run: copies and runs a stream that was taken over.
        report: receives internal errors.
    """

    def __init__(
        self,
        store: StreamStore,
        mirrors: Mirrors,
        copier: Copier,
        resume: Resume,
        run: Callable[[Held], None],
        report: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._mirrors = mirrors
        self._copier = copier
        self._resume = resume
        self._run = run
        self._report = report
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def take_over(self, records: Sequence[StreamRecord]) -> None:
        """Take over streams in the background. Ignore streams for which an attempt is in progress."""
        for record in records:
            if record.id not in self._tasks:
                task = self._tasks[record.id] = asyncio.create_task(self._take_over(record))
                task.add_done_callback(partial(self._done, record.id))

    def _done(self, stream_id: str, _: asyncio.Task[None]) -> None:
        del self._tasks[stream_id]

    async def aclose(self) -> None:
        """Stop. Another replica takes the streams over."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_over(self, record: StreamRecord) -> None:
        async with self._slots:
            try:
                stream = self._mirrors.of(record)
                await stream.log.filled()
                opened = await self._store.take_over(record)
                if opened is not None:
                    await self._continue(opened)
            except (StateUnavailable, GatewayError):
                return  # the store reports the stream again; a replica with the stream's version can read the stream
            except Exception as error:  # noqa: BLE001 - one stream must not stop the others
                self._report(error)

    async def _continue(self, opened: Opened) -> None:
        stream = self._mirrors.of(opened.record)
        log = log_of(stream)
        while True:
            try:
                await log.filled()
                break
            except GatewayError:  # this replica holds the stream, so no other replica tries
                await asyncio.sleep(RETRY_SECONDS)
        source = self._source(opened.record, await log.entries())
        self._mirrors.drop(stream)
        log.hold(self._store.replica, self._copier)
        stream.source, stream.is_mirrored = source, False
        if not stream.opened.done():
            stream.opened.set_result(None)
        self._run(Held(stream, log, source.recipe(), opened.lease))

    def _source(self, record: StreamRecord, entries: Sequence[Entry]) -> Source:
        try:
            return self._resume(source_recipe(record), entries)
        except Exception as error:  # noqa: BLE001 - this replica holds the stream, so the stream must end
            self._report(error)
            return _Failing(error)


class _Failing:
    """The source of a stream that cannot be continued."""

    def __init__(self, error: Exception) -> None:
        self._error: Exception | None = error
        self.mark = 0
        self.run_id: str | None = None
        self.usage: Usage | None = None
        self.headers: dict[str, str] = {}

    def recipe(self) -> bytes:
        """Return nothing, because no replica can continue the stream."""
        return b""

    async def events(self) -> AsyncGenerator[Batch]:
        """Fail."""
        if self._error is not None:
            raise self._error
        yield batch_of(Started())  # a function without ``yield`` would be no generator

    async def settle(self, log: StreamLog) -> None:
        """Do nothing."""

    async def abandoned(self) -> None:
        """Do nothing."""
