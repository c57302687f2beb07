"""Subscription events by a plan are equal to those that graphql-core's executor completes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from graphql import ExecutionResult, parse
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.answers import AnswerAborted, AnswerLimits
from app.graphql.executor import Executor
from app.graphql.plan.execution import EventExecution
from app.graphql.plan.plans import Plan, Plans
from resolvers.streams.events import (
    Delivery,
    Detached,
    DetachReason,
    Ended,
    Event,
    FinishReason,
    ReasoningDelta,
    StreamOutcome,
    TextDelta,
    ToolCallDelta,
)
from schema.build import build_schema
from tests.support.plans import described, text

pytestmark = pytest.mark.usefixtures("each_way")

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
    st.just(object()),
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
    "... on StreamEnded { usage { totalTokens } error { code } }",
    "... on StreamEvent @skip(if: $yes) { cursor }",
]
FRAGMENT = " fragment Told on StreamEvent { told: cursor ... on TextDelta { text } }"


class Subscription:
    """A subscription with its plan."""

    def __init__(self, selected: str, max_bytes: int = 1_000_000) -> None:
        fragment = FRAGMENT if "...Told" in selected else ""
        variables = "($yes: Boolean = true)" if "$yes" in selected else ""
        document = parse(f'subscription {variables} {{ said: stream(id: "stream:1") {{ {selected} }} }}{fragment}')
        self.limits = AnswerLimits(SCHEMA, max_bytes)
        self.renewed = 0
        context = SimpleNamespace(renewed=self._renewed)
        built = Executor.build(SCHEMA, document, context_value=context, raw_variable_values={})
        assert isinstance(built, Executor)
        self.executor = built.bound(self.limits, paced=False)
        [operation, *_] = document.definitions
        plan = Plans(document, operation).plan(built, 0, at_once=True)  # type: ignore[arg-type]
        assert plan is not None
        self.plan: Plan = plan

    def _renewed(self) -> object:
        self.renewed += 1
        return object()

    def by_plan(self, event: Event) -> ExecutionResult:
        root = event if isinstance(event, Delivery) else Delivery("stream:1", "7", event)
        result = EventExecution(self.plan, self.executor, self.limits, paced=False, root=root).execute()
        assert isinstance(result, ExecutionResult)
        return result

    def by_core(self, delivery: Delivery[Event]) -> ExecutionResult:
        result = self.executor.build_per_event_executor(delivery).execute_operation(False)
        assert isinstance(result, ExecutionResult)
        return result


@given(st.lists(st.sampled_from(SELECTIONS), min_size=1), st.lists(DELIVERIES, min_size=1, max_size=5))
def test_events_by_a_plan_are_equal_to_the_executors(selected: list[str], deliveries: list[Delivery[Event]]) -> None:
    subscription = Subscription(" ".join(selected))
    for one in deliveries:
        planned, executed = subscription.by_plan(one), subscription.by_core(one)  # type: ignore[arg-type]
        assert text(planned) == text(executed)
        assert described(planned) == described(executed)


@pytest.mark.parametrize(
    ("event", "selected"),
    [
        (TextDelta(text="a\ud800"), "__typename cursor ... on TextDelta { text messageId }"),
        (ReasoningDelta(text="a"), "__typename cursor ... on ReasoningDelta { text }"),
        (ToolCallDelta(index=3), "cursor ... on ToolCallDelta { index name toolCallId argumentsDelta }"),
        (Ended(outcome=StreamOutcome.FAILED), "cursor ... on StreamEnded { outcome finishReason }"),
    ],
)
def test_events_of_attributes_need_neither_an_executor_nor_a_context(event: Event, selected: str) -> None:
    subscription = Subscription(selected)
    subscription.by_plan(event)
    renewed = subscription.renewed
    for _ in range(3):
        assert subscription.by_plan(event).errors is None
    assert subscription.renewed == renewed


def test_an_event_with_too_many_bytes_is_refused() -> None:
    subscription = Subscription("... on TextDelta { text again: text }", max_bytes=1_000)
    assert subscription.by_plan(TextDelta(text="a" * 400)).errors is None
    with pytest.raises(AnswerAborted):
        subscription.by_plan(TextDelta(text="a" * 600))
    with pytest.raises(AnswerAborted):  # a character that JSON escapes has six bytes
        subscription.by_plan(TextDelta(text="\x01" * 200))
