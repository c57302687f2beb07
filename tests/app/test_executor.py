from __future__ import annotations

import math
from typing import Any

import pytest
from graphql import ExecutionResult, build_schema, parse

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


def test_a_list_of_floats_is_sent_as_it_is() -> None:
    vector = [0.1] * 10_000
    result = executed(vector)
    assert result.data is not None
    assert result.data["vector"] is vector


@pytest.mark.parametrize(("vector", "sent"), [([1, 2.5], [1.0, 2.5]), ([], []), ([True], [1.0])])
def test_other_numbers_are_made_floats(vector: list[Any], sent: list[float]) -> None:
    assert executed(vector).data == {"vector": sent}


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "x"])
def test_what_is_no_number_is_an_error_at_its_place(bad: Any) -> None:
    result = executed([0.1, bad])
    assert result.errors
    assert result.errors[0].path == ["vector", 1]
