"""The position of a turn's log, and the events that the log lacks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clients.letta.messages import AssistantMessage
from resolvers.sources.positions import resume_point
from resolvers.sources.turn_events import MessageAdded, TurnStarted
from resolvers.streams.events import Entry, Event, ReasoningDelta, TextDelta, ToolCallDelta
from resolvers.streams.merging import MAX_FRAME_BYTES, split
from tests.support.owned import conversation

RUN = "run-00000000-0000-4000-8000-000000000001"
Frames = list[tuple[int | None, list[Event]]]


def message(number: int) -> MessageAdded:
    return MessageAdded(message=AssistantMessage(otid=f"o{number}", read_in=conversation(), run_id=RUN))


TEXTS = st.sampled_from(["", "a", "é" * 3, "x" * (2 * MAX_FRAME_BYTES + 1)])
DELTAS: st.SearchStrategy[Event] = st.one_of(
    TEXTS.map(lambda text: TextDelta(message_id="m", text=text)),
    TEXTS.map(lambda text: ReasoningDelta(message_id="m", text=text)),
    TEXTS.map(lambda text: ToolCallDelta(message_id="m", tool_call_id="c", arguments_delta=text)),
)


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    """Frames with increasing numbers, some without events, and messages without a number in between."""
    made: Frames = []
    number = 0
    for index, deltas in enumerate(draw(st.lists(st.lists(DELTAS, max_size=3), max_size=6))):
        number += draw(st.integers(1, 3))
        made.append((number, deltas))
        if draw(st.booleans()):
            made.append((None, [message(index)]))
    return made


def logged(made: Frames) -> list[Entry]:
    """Return the entries of the frames' events, as the log stores them."""
    entries = [Entry(1, TurnStarted(run_id=RUN))]
    for number, events in made:
        for piece in (piece for event in events for piece in split(event)):
            entries.append(Entry(len(entries) + 1, piece, mark=number or 0))
    return entries


@given(made=frames(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_log_and_its_missing_events_are_the_whole_turn(made: Frames, data: st.DataObject) -> None:
    whole = logged(made)
    kept = whole[: data.draw(st.integers(0, len(whole)))]
    point = resume_point(kept)
    rest: list[Event] = [] if point.has_started else [whole[0].event]
    for number, events in made:
        if number is not None:
            rest += [piece for event in point.missing(number, events) for piece in split(event)]
        else:
            rest += [one for one in events if isinstance(one, MessageAdded) and not seen(point.seen, one)]
    both = [entry.event for entry in kept] + rest
    numbered = [entry.event for entry in whole if entry.mark]
    assert [one for one in both if isinstance(one, TextDelta | ToolCallDelta)] == numbered
    added = [one for one in both if isinstance(one, MessageAdded)]
    assert sorted(one.message.otid or "" for one in added) == sorted({one.message.otid or "" for one in added})
    assert len(added) == sum(number is None for number, _ in made)
    assert [one for one in both if isinstance(one, TurnStarted)] == [whole[0].event]


def seen(ids: frozenset[str], added: MessageAdded) -> bool:
    return any(str(added.message.otid) == one.rpartition(":")[2] for one in ids)


def test_the_run_is_known_from_a_message_if_the_first_event_has_no_run() -> None:
    assert resume_point([Entry(1, TurnStarted())]).run_id is None
    assert resume_point([Entry(1, TurnStarted()), Entry(2, message(1))]).run_id == RUN


def test_an_empty_log_is_continued_from_the_beginning() -> None:
    point = resume_point([])
    assert (point.run_id, point.has_started, point.mark) == (None, False, 0)
    delta = TextDelta(text="x")
    assert point.missing(1, [delta]) == point.missing(None, [delta]) == [delta]
