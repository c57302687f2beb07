from __future__ import annotations

import gc
import math
from typing import Any

import pytest
from graphql import ExecutionResult, build_schema, parse
from graphql.execution import execute_subscription_event

from app.graphql.answers import AnswerLimits
from app.graphql.executor import Executor

SCHEMA = build_schema("type Query { vector: [Float!]! }")

LIMITS = AnswerLimits(SCHEMA, 1_000_000)


def executed(vector: list[Any]) -> ExecutionResult:
    built = Executor.build(SCHEMA, parse("{ vector }"), {"vector": vector})
    assert isinstance(built, Executor)
    result = built.bound(LIMITS, paced=False).execute_operation()
    assert isinstance(result, ExecutionResult)
    return result


def test_a_list_of_floats_is_not_copied() -> None:
    vector = [0.1] * 10_000
    result = executed(vector)
    assert result.data is not None
    assert result.data["vector"] is vector


@pytest.mark.parametrize(("vector", "sent"), [([1, 2.5], [1.0, 2.5]), ([], []), ([True], [1.0])])
def test_other_numbers_become_floats(vector: list[Any], sent: list[float]) -> None:
    assert executed(vector).data == {"vector": sent}


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "x"])
def test_an_invalid_float_is_an_error_at_its_index(bad: Any) -> None:
    result = executed([0.1, bad])
    assert result.errors
    assert result.errors[0].path == ["vector", 1]


def test_a_subscription_does_not_keep_earlier_events() -> None:
    schema = build_schema(
        """type Query { no: Int } type Subscription { told: Told! }
        interface Told { text: String } type Delta implements Told { text: String, more: [Told!] }"""
    )
    document = parse("subscription { told { __typename text ... on Delta { more { text } } } }")
    built = Executor.build(schema, document)
    assert isinstance(built, Executor)
    executor = built.bound(AnswerLimits(schema, 1_000_000), paced=False)
    delta = {"__typename": "Delta", "text": "a"}

    def tell(times: int) -> int:
        for _ in range(times):
            event = executor.build_per_event_executor({"told": {**delta, "more": [delta]}})
            result = execute_subscription_event(event)
            assert isinstance(result, ExecutionResult)
            assert result.data == {"told": {**delta, "more": [{"text": "a"}]}}
        gc.collect()
        return len(gc.get_objects())

    before = tell(1)
    assert tell(100) - before < 100
