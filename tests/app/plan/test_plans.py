"""Which operations have plans, and how long plans live."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from app.graphql.executor import Executor
from app.graphql.plan import plans
from app.graphql.plan.plans import Plans
from schema.build import build_schema
from tests.support.planned import SCHEMA, Row, context
from tests.support.plans import Compared

REAL = build_schema()._schema


def plan_of(document: str, variables: dict[str, Any] | None = None, *, uses: int = 2, cost: int = 1) -> Any:
    """Return the plan that an operation gets at its last use."""
    compared = Compared(REAL, document)
    for _ in range(uses):
        executor = compared.executor(None, variables, None, paced=False)
        found = compared.plans.plan(executor, cost, at_once=False)
    return found


def test_an_operation_gets_a_plan_when_it_pays_off() -> None:
    assert plan_of("{ viewer { id } }", uses=1) is None
    assert plan_of("{ viewer { id } }", uses=2) is not None
    assert plan_of("{ viewer { id } }", uses=1, cost=100) is not None


@pytest.mark.parametrize(
    "document",
    [
        "{ __schema { queryType { name } } viewer { id } }",
        '{ ...F } fragment F on Query { __type(name: "Query") { name } }',
        'mutation { deleteAgent(input: {agentId: "agent-1"}) { deletedAgentId } }',
        "{ viewer { " + " ".join(f"a{number}: id" for number in range(500)) + " } }",
        "{ viewer { "
        + " ".join(f"a{number}: defaultAgent {{ ...F b: owner {{ x: id }} }}" for number in range(10))
        + " } } fragment F on Agent { b: owner { "
        + " ".join(f"c{number}: id" for number in range(60))
        + " } }",
    ],
)
def test_graphql_core_executes_what_plans_do_not_cover(document: str) -> None:
    assert plan_of(document) is None


def test_each_combination_of_conditions_has_a_plan_up_to_a_maximum() -> None:
    names = ["a", "b", "c"]
    declared = ", ".join(f"${name}: Boolean!" for name in names)
    document = f"query({declared}) {{ viewer {{ {' '.join(f'{name}: id @skip(if: ${name})' for name in names)} id }} }}"
    compared, found = Compared(REAL, document), list[Any]()
    for number in range(8):
        variables = {name: bool(number >> index & 1) for index, name in enumerate(names)}
        executor = compared.executor(None, variables, None, paced=False)
        found.append(compared.plans.plan(executor, 1, at_once=True))
    assert len({id(one) for one in found[:4]}) == 4
    assert found[4:] == [None] * 4


async def test_the_oldest_plans_are_cleared_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = plans.Cache()
    monkeypatch.setattr(plans, "CACHE", cache)
    monkeypatch.setattr(plans, "MAX_PLANNED", 10)
    documents = [Compared(SCHEMA, f"{{ row {{ a{number}: text b: text c: text }} }}") for number in range(5)]
    for _ in range(2):
        for number, one in enumerate(documents):
            result = await one.by_plan(context(Row("k")))
            assert result.data == {"row": {f"a{number}": "a", "b": "a", "c": "a"}}
            assert cache.size <= 10


async def test_a_plan_does_not_keep_its_document_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan refers to its document's nodes and text. Otherwise, 10,000 small plans would keep 10,000 documents."""
    cache = plans.Cache()
    monkeypatch.setattr(plans, "CACHE", cache)
    documents = [Compared(SCHEMA, f"{{ row {{ a{number}: text one rows {{ text }} }} }}") for number in range(5)]
    for one in documents:
        await one.by_plan(context(Row("k", [Row("k")])))
    assert len(cache) == 5
    assert cache.size == 25
    del documents[1:], one
    assert (len(cache), cache.size) == (1, 5)


async def test_plans_that_are_never_executed_are_not_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription that fails before its first event has a plan without fields."""
    cache = plans.Cache()
    monkeypatch.setattr(plans, "CACHE", cache)
    assert plan_of("{ viewer { id } }") is not None
    assert len(cache) == 0


def test_the_conditions_of_other_operations_do_not_count() -> None:
    document = "query A($x: Boolean!) { a: __typename @skip(if: $x) } query B { b: __typename }"
    _, second = [one for one in parse(document).definitions if isinstance(one, OperationDefinitionNode)]
    executor = Executor.build(REAL, parse(document), operation_name="B")
    assert isinstance(executor, Executor)
    assert Plans(parse(document), second).plan(executor, 1, at_once=True) is not None
