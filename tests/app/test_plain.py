"""Events rendered without the executor are equal to those that the executor renders."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import ExecutionResult, parse
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.answers import AnswerLimits
from app.graphql.executor import Executor
from app.graphql.plain import PlainEvents
from resolvers.streams.events import (
    Delivery,
    Detached,
    DetachReason,
    Ended,
    Event,
    FinishReason,
    ReasoningDelta,
    Started,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from schema.build import build_schema
from schema.guards import NEEDS_SCOPES

SCHEMA = build_schema()._schema
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.one_of(st.none(), TEXTS)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, message_id=NAMES, text=TEXTS),
    st.builds(ReasoningDelta, message_id=NAMES, text=TEXTS),
    st.builds(
        ToolCallDelta,
        message_id=NAMES,
        index=st.integers(-(2**33), 2**33),
        tool_call_id=NAMES,
        name=NAMES,
        arguments_delta=TEXTS,
    ),
    st.builds(
        Ended,
        outcome=st.sampled_from(StreamOutcome),
        finish_reason=st.one_of(st.none(), st.sampled_from(FinishReason)),
    ),
    st.builds(Detached, reason=st.sampled_from(DetachReason)),
)

DELIVERIES = st.builds(Delivery, st.just("stream:1"), TEXTS, EVENTS)

SELECTIONS = [
    "__typename",
    "cursor",
    "c: cursor",
    "kind: __typename",
    "cursor @include(if: $yes)",
    "no: cursor @skip(if: $yes)",
    "...Told",
    "... on TextDelta { text messageId t: text }",
    "... on ReasoningDelta { text }",
    "... on ToolCallDelta { index toolCallId name argumentsDelta __typename }",
    "... on ReaderDetached { reason }",
    "... on StreamEnded { outcome finishReason }",
    "... on StreamEnded { usage { totalTokens } }",
    "... on StreamEvent @skip(if: $yes) { cursor }",
]
FRAGMENT = " fragment Told on StreamEvent { told: cursor ... on TextDelta { text } }"


def delivery(event: Event) -> Delivery[Event]:
    return Delivery("stream:1", "7", event)


def executor(selected: str, max_bytes: int = 1_000_000) -> tuple[Executor, AnswerLimits]:
    fragment = FRAGMENT if "...Told" in selected else ""
    variables = "($yes: Boolean = true)" if "$yes" in selected else ""
    document = parse(f'subscription {variables} {{ said: stream(id: "stream:1") {{ {selected} }} }}{fragment}')
    built, limits = Executor.build(SCHEMA, document, raw_variable_values={}), AnswerLimits(SCHEMA, max_bytes)
    assert isinstance(built, Executor)
    return built.bound(limits, paced=False), limits


def executed(built: Executor, delivery: Delivery[Event]) -> ExecutionResult:
    result = built.build_per_event_executor(delivery).execute_operation(False)
    assert isinstance(result, ExecutionResult)
    return result


def reader(selected: str, max_bytes: int = 1_000_000) -> tuple[PlainEvents, Executor]:
    built, limits = executor(selected, max_bytes)
    executed(built, delivery(TextDelta(text="first")))
    return PlainEvents(built, limits), built


@given(st.lists(st.sampled_from(SELECTIONS), min_size=1), st.lists(DELIVERIES, min_size=1, max_size=5))
def test_plain_reading_agrees_with_the_executor(selected: list[str], deliveries: list[Delivery[Event]]) -> None:
    plain, built = reader(" ".join(selected))
    for one in deliveries:
        read, answered = plain.data(one), executed(built, one)
        if read is not None:
            assert answered.errors is None
            assert read == answered.data
            assert answered.data is not None
            assert list(read["said"]) == list(answered.data["said"])


@pytest.mark.parametrize(
    ("event", "selected"),
    [
        (TextDelta(text="a\ud800"), "__typename cursor ... on TextDelta { text messageId }"),
        (ReasoningDelta(text="a"), "__typename cursor ... on ReasoningDelta { text }"),
        (ToolCallDelta(index=3), "cursor ... on ToolCallDelta { index name toolCallId argumentsDelta }"),
        (Ended(outcome=StreamOutcome.FAILED), "cursor ... on StreamEnded { outcome finishReason }"),
    ],
)
def test_attributes_are_read_without_the_executor(event: Event, selected: str) -> None:
    plain, built = reader(selected)
    read = plain.data(delivery(event))
    assert read is not None
    assert read == executed(built, delivery(event)).data


@pytest.mark.parametrize(
    ("event", "selected"),
    [
        (Started(), "... on StreamStarted { stream { id } }"),
        (Ended(outcome=StreamOutcome.COMPLETED), "... on StreamEnded { usage { totalTokens } }"),
        (ToolCallDelta(index=2**40), "... on ToolCallDelta { index }"),
        (object(), "cursor"),
    ],
)
def test_fields_with_resolvers_are_left_to_the_executor(event: Any, selected: str) -> None:
    plain, _ = reader(selected)
    assert plain.data(delivery(event)) is None


def test_the_first_event_is_left_to_the_executor_and_the_next_of_its_class_is_read() -> None:
    built, limits = executor("cursor")
    plain, event = PlainEvents(built, limits), delivery(TextDelta(text="a"))
    assert plain.data(event) is None
    executed(built, event)
    assert plain.data(event) == {"said": {"cursor": "7"}}


def test_an_answer_that_may_have_too_many_bytes_is_left_to_the_executor() -> None:
    plain, _ = reader("... on TextDelta { text again: text }", max_bytes=2_000)
    assert plain.data(delivery(TextDelta(text="a" * 20))) is not None
    assert plain.data(delivery(TextDelta(text="a" * 150))) is None


def test_events_that_need_scopes_are_left_to_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMA.type_map["TextDelta"].extensions, NEEDS_SCOPES, True)
    plain, _ = reader("__typename")
    assert plain.data(delivery(TextDelta(text="a"))) is None
    assert plain.data(delivery(ReasoningDelta(text="a"))) is not None
