"""Joins consecutive deltas, and splits deltas that are too large for one frame."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from resolvers.streams.events import Entry, Event, Raw, TextDelta, ToolCallDelta

MAX_FRAME_BYTES = 64 * 1024
"""The maximum size of one delta's text in UTF-8, in bytes."""

_WIDEST = 4
"""The maximum size of a character in UTF-8, in bytes."""


def merged(entries: Sequence[Entry]) -> list[Entry]:
    """Join consecutive deltas of the same text or tool call. Omit ``Raw`` events and upstream bytes.

    A joined delta has the last delta's number, so the text after any cursor is exact.
    """
    if len(entries) == 1:
        return [] if type(entries[0].event) is Raw else [entries[0]]
    runs: list[list[Entry]] = []
    run: list[Entry] = []
    call_id: str | None = None
    for entry in entries:
        event = entry.event
        kind = type(event)
        if kind is Raw:
            continue
        if run and kind is type(run[0].event) and _continues(run[0].event, call_id, event):
            run.append(entry)
        else:
            run, call_id = [entry], None
            runs.append(run)
        if kind is ToolCallDelta and call_id is None:
            call_id = cast("ToolCallDelta", event).tool_call_id
    return [run[0] if len(run) == 1 else Entry(run[-1].seq, _joined([one.event for one in run])) for run in runs]


def joined_calls(events: Iterable[Event]) -> list[ToolCallDelta]:
    """Join the pieces of each tool call in a completion. Return the tool calls sorted by index."""
    calls: dict[int, list[ToolCallDelta]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            calls.setdefault(event.index, []).append(event)
    return [_joined_call(calls[index]) for index in sorted(calls)]


def split(event: Event) -> Iterator[Event]:
    """Split a delta into deltas of at most ``MAX_FRAME_BYTES`` each. Other events are not split."""
    if event.size <= MAX_FRAME_BYTES:
        yield event
    elif isinstance(event, TextDelta):
        for piece in _pieces(event.text):
            yield type(event)(message_id=event.message_id, text=piece)
    elif isinstance(event, ToolCallDelta):
        first, *others = _pieces(event.arguments_delta)
        yield ToolCallDelta(
            message_id=event.message_id,
            index=event.index,
            tool_call_id=event.tool_call_id,
            name=event.name,
            arguments_delta=first,
        )
        for piece in others:
            yield ToolCallDelta(message_id=event.message_id, index=event.index, arguments_delta=piece)
    else:
        yield event


def _pieces(text: str) -> Iterator[str]:
    step = MAX_FRAME_BYTES // (1 if text.isascii() else _WIDEST)
    return (text[start : start + step] for start in range(0, len(text), step))


def _continues(first: Event, call_id: str | None, event: Event) -> bool:
    """Return whether an event continues the delta ``first``. ``call_id`` is the tool call's id, if known."""
    if isinstance(first, TextDelta):
        return first.message_id == cast("TextDelta", event).message_id
    if isinstance(first, ToolCallDelta):
        piece = cast("ToolCallDelta", event)
        same = first.message_id == piece.message_id and first.index == piece.index
        return same and (call_id is None or piece.tool_call_id in {None, call_id})
    return False


def _joined(run: Sequence[Event]) -> Event:
    first = run[0]
    if isinstance(first, TextDelta):
        text = "".join(cast("TextDelta", event).text for event in run)
        return type(first)(message_id=first.message_id, text=text)
    return _joined_call(cast("Sequence[ToolCallDelta]", run))


def _joined_call(pieces: Sequence[ToolCallDelta]) -> ToolCallDelta:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    return ToolCallDelta(
        message_id=first.message_id,
        index=first.index,
        tool_call_id=next((piece.tool_call_id for piece in pieces if piece.tool_call_id is not None), None),
        name=next((piece.name for piece in pieces if piece.name is not None), None),
        arguments_delta="".join(piece.arguments_delta for piece in pieces),
    )
