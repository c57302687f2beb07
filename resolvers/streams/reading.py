"""Reads a log for the GraphQL endpoint: joins deltas and detaches slow readers."""

import asyncio
from collections.abc import AsyncGenerator

from resolvers.streams.events import Delivery, Detached, DetachReason, Ended, Event, Raw
from resolvers.streams.log import Leave, StreamLog

MOST_IN_A_ROW = 16
"""The maximum number of events that a reader receives before other tasks can run."""


async def read_events(
    log: StreamLog,
    after: str | None,
    *,
    coalesce: float,
    max_waiting: int,
    slow_after: float = 0.0,
    leave: Leave | None = None,
    replayed: bool = False,
) -> AsyncGenerator[Delivery[Event]]:
    """Read a log's events after a cursor, until the log ends. Raises BadUserInput (``CURSOR``).

    Events are delivered at intervals of at least ``coalesce`` seconds, with the deltas in between joined up to
    ``MAX_FRAME_BYTES``. If ``coalesce`` is 0, no deltas are joined. Events that have arrived together are delivered
    together, so that the transport sends them together. Other tasks can run after ``MOST_IN_A_ROW`` events. A reader
    that attaches after the end receives the last event again.

    A reader is detached if it took ``slow_after`` seconds for an event, and more than ``max_waiting`` bytes wait.
    Before ``leave`` detaches a reader, the reader receives the events that have arrived.
    """
    position = await log.position(after)
    if log.is_whole:
        position = min(position, log.length - 1)
    clock = asyncio.get_running_loop().time
    away, sent = 0.0, clock() - coalesce
    began, behind, in_a_row = position, False, 0
    with log.reading(position) as reader:
        while True:
            if position > began and away >= slow_after and log.size_after(position) > max_waiting:
                yield _detached(log, position, DetachReason.SLOW)
                return
            await log.more(position, leave)
            reason = None if leave is None else leave.reason
            rest = sent + coalesce - clock()
            if reason is None and coalesce and rest > 0 and not log.is_whole and not behind:
                await asyncio.sleep(rest)
            if coalesce > 0:
                entries, position = await log.frame(position)
            else:
                batch = await log.after(position)
                entries, position = [entry for entry in batch if type(entry.event) is not Raw], position + len(batch)
            log.moved(reader, position)
            in_a_row, behind = in_a_row if behind else 0, position < log.length
            away = 0.0
            for entry in entries:
                if in_a_row == MOST_IN_A_ROW:
                    await asyncio.sleep(0)
                    in_a_row = 0
                in_a_row += 1
                delivered = clock()
                yield Delivery(log.stream_id, log.cursor(entry.seq), entry.event, replayed)
                if isinstance(entry.event, Ended):
                    return
                sent = clock()
                away = max(away, sent - delivered)
            if reason is not None and not behind:
                yield _detached(log, position, reason)
                return


def _detached(log: StreamLog, position: int, reason: DetachReason) -> Delivery[Event]:
    log.reader_may_return = True
    return Delivery(log.stream_id, log.cursor(position), Detached(reason=reason))
