"""Finds the position at which another process continues a turn (decision 0062)."""

from collections.abc import Iterable

import msgspec

from resolvers.messages import message_node_id
from resolvers.sources.turn_events import MessageAdded
from resolvers.streams.events import Entry, Event, Started
from resolvers.streams.merging import split


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The position after the last entry of a turn's log.

    Attributes:
        run_id: the run's id, if an entry has the id.
        has_started: whether the log has its first event.
        mark: the number of the newest frame that the log has entries of; 0 if there is none.
        logged: the number of entries that the log has of this frame. The log may lack the frame's other entries.
        seen: the ids of the messages that the log has.
    """

    run_id: str | None = None
    has_started: bool = False
    mark: int = 0
    logged: int = 0
    seen: frozenset[str] = frozenset()

    def missing(self, seq_id: int | None, events: list[Event]) -> list[Event]:
        """Return those of a frame's events that the log lacks. The log has large deltas in pieces."""
        if seq_id is None or seq_id > self.mark:
            return events
        if seq_id < self.mark:
            return []
        return [piece for event in events for piece in split(event)][self.logged :]


BEGINNING = ResumePoint()


def resume_point(entries: Iterable[Entry]) -> ResumePoint:
    """Return the position after a turn's log entries. The entries must be unmerged, from the first entry on."""
    run_id, has_started, mark, logged = None, False, 0, 0
    seen: set[str] = set()
    for entry in entries:
        event = entry.event
        if entry.mark > mark:
            mark, logged = entry.mark, 1
        elif mark and entry.mark == mark:
            logged += 1
        elif isinstance(event, Started):
            has_started, run_id = True, event.run_id
        elif isinstance(event, MessageAdded):
            seen.add(message_node_id(event.message))
            run_id = run_id or event.message.run_id
    return ResumePoint(run_id=run_id, has_started=has_started, mark=mark, logged=logged, seen=frozenset(seen))
