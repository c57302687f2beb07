from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    InputObjectTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    OperationDefinitionNode,
    build_schema,
    get_named_type,
    is_leaf_type,
    parse,
    value_from_ast_untyped,
)

from app.graphql.cost import CostModel
from app.graphql.documents import Documents, Operation
from app.settings import Settings
from clients.errors import QueryTooComplex
from schema import build
from schema.costs import CALL, Costs, FieldCost, costs_of

ROOT = Path(__file__).parents[2]
DIRECTIVES = """
directive @cost(weight: String!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(
  assumedSize: Int slicingArguments: [String!] sizedFields: [String!] requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
"""  # noqa: E501 - as the specification writes it
OURS = build.build_schema()
MODEL = CostModel(OURS._schema, costs_of(OURS))
DOCUMENTS = Documents(OURS._schema, max_tokens=5000, max_depth=15)


def written(sdl: str) -> Costs:
    """Return the costs that the directives in a schema's SDL give."""
    found: dict[tuple[str, str], FieldCost] = {}
    for kind in parse(sdl).definitions:
        if isinstance(kind, ObjectTypeDefinitionNode | InputObjectTypeDefinitionNode):
            for field in kind.fields or ():
                given = _directives(field)
                arguments = {
                    one.name.value: _directives(one).get("cost") for one in getattr(field, "arguments", None) or ()
                }
                size = given.get("listSize", {})
                found[kind.name.value, field.name.value] = FieldCost(
                    weight=_weight(given.get("cost")),
                    arguments={name: weight for name, one in arguments.items() if (weight := _weight(one)) is not None},
                    assumed_size=size.get("assumedSize"),
                    slicing=tuple(size.get("slicingArguments", ())),
                    sized_fields=frozenset(size.get("sizedFields", ())),
                )
    return found


def _directives(node: Any) -> dict[str, dict[str, Any]]:
    return {
        one.name.value: {given.name.value: value_from_ast_untyped(given.value) for given in one.arguments or ()}
        for one in node.directives or ()
    }


def _weight(cost: dict[str, Any] | None) -> int | None:
    return None if cost is None else int(float(cost["weight"]))


class Case:
    """A schema with costs, with the defaults of the cost specification."""

    def __init__(self, sdl: str, **options: Any) -> None:
        self.schema: GraphQLSchema = build_schema(DIRECTIVES + sdl)
        self._documents = Documents(self.schema, max_tokens=50_000, max_depth=100)
        self.model = CostModel(
            self.schema, written(DIRECTIVES + sdl), **{"leaf_weight": 0, "longest": 10**9, **options}
        )

    def operation(self, query: str) -> Operation:
        return self._documents.operation(query, None)

    def cost(self, query: str, **variables: Any) -> int:
        return self.model.cost(self.operation(query), variables)

    def unbounded_cost(self, query: str) -> int:
        """Return the cost of a document that exceeds the bounds on documents."""
        document = parse(query)
        [node, *_] = document.definitions
        assert isinstance(node, OperationDefinitionNode)
        return self.model.cost(Operation(document, node, frozenset()), {})


SPECIFIED = Case("""
type User { name: String age: Int @cost(weight: "2.0") }
type Query { users(max: Int): [User] @listSize(slicingArguments: ["max"]) }
""")


def test_the_cost_of_the_specifications_example() -> None:
    """Type cost: a Query and five Users. Field cost: `users` once and `age`, which weighs 2, five times."""
    assert SPECIFIED.cost("query Example { users(max: 5) { age } }") == (1 + 5) + (1 + 5 * 2)


@pytest.mark.parametrize(
    ("arguments", "variables", "size"),
    [
        ("(max: 5)", {}, 5),
        ("(max: $n)", {"n": 7}, 7),
        ("(max: $n)", {"n": 7.0}, 7),
        ("(max: $n)", {}, 3),
        ("(max: $m)", {}, 1),
        ("(max: $m)", {"m": None}, 1),
        ("(max: null)", {}, 1),
        ("(max: 0)", {}, 0),
        ("(max: -4)", {}, 0),
        ("(max: $m)", {"m": "no number"}, 1),
        ("(max: $m)", {"m": True}, 1),
        ("", {}, 1),
    ],
)
def test_the_size_of_a_list_follows_its_arguments(arguments: str, variables: dict[str, Any], size: int) -> None:
    head = "query($n: Int = 3, $m: Int)"
    used = f"{{ users{arguments} {{ age }} a: users(max: $n) {{ __typename }} b: users(max: $m) {{ __typename }} }}"
    without = "{ a: users(max: $n) { __typename } b: users(max: $m) { __typename } }"
    added = SPECIFIED.cost(head + used, **variables) - SPECIFIED.cost(head + without, **variables)
    assert added == 1 + size * (1 + 2)


PAGED = Case("""
input Slice { first: Int = 4 }
input Filter { tag: String @cost(weight: "50") inner: Filter }
interface Named { name: String }
type Dog implements Named { name: String friends: [Dog] @listSize(assumedSize: 9) puppies: Int @cost(weight: "30") }
type Cat implements Named { name: String lives: Int @cost(weight: "7") }
union Pet = Dog | Cat
type Edge { node: Dog }
type Dogs { edges: [Edge] nodes: [Dog] total: Int }
type Query {
  dogs(first: Int, last: Int, filter: Filter): Dogs @cost(weight: "10") @listSize(
    assumedSize: 20 slicingArguments: ["first", "last"] sizedFields: ["edges", "nodes"] requireOneSlicingArgument: false
  )
  sliced(slice: Slice = { first: 6 }): [Dog] @listSize(slicingArguments: ["slice.first"])
  limited(limit: Int = 8): [Dog] @listSize(slicingArguments: ["limit"])
  pet: Pet
  named: Named
  byIds(ids: [ID!] @cost(weight: "50")): [Dog] @listSize(assumedSize: 100)
}
""")


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        ("{ dogs { total } }", 10 + 1),
        ("{ dogs { nodes { name } } }", 10 + 1 + (1 + 20)),
        ("{ dogs(first: 3) { nodes { puppies } } }", 10 + 1 + (1 + 3 * (1 + 30))),
        ("{ dogs(first: 3, last: 5) { nodes { name } } }", 10 + 1 + (1 + 5)),
        ("{ dogs(last: 2) { edges { node { puppies } } nodes { name } } }", 10 + 1 + (1 + 2 * (1 + 1 + 31)) + (1 + 2)),
        ("{ dogs(first: 2) { nodes { friends { puppies } } } }", 10 + 1 + (1 + 2 * (1 + 1 + 9 * 31))),
        ("{ sliced { name } }", 1 + 6),
        ("{ sliced(slice: {first: 2}) { name } }", 1 + 2),
        ("{ limited { name } }", 1 + 8),
        ("{ limited(limit: 3) { name } }", 1 + 3),
        ("{ pet { ... on Dog { puppies } ... on Cat { lives } } }", 1 + 1 + 30),
        ("{ pet { ... on Cat { lives } } }", 1 + 1 + 7),
        ("{ named { name ... on Cat { lives } ... on Named { ... on Cat { again: lives } } } }", 1 + 1 + 14),
        ("{ byIds(ids: [1, 2, 3]) { name } }", 1 + 3 * 50 + 100),
        ("{ byIds(ids: 1) { name } }", 1 + 50 + 100),
        ('{ dogs(filter: {tag: "a"}) { total } }', 10 + 50 + 1),
        ('{ dogs(filter: {tag: "a", inner: {tag: "b"}}) { total } }', 10 + 100 + 1),
        ("{ dogs(filter: {tag: null}) { total } }", 10 + 1),
        ("{ dogs { total } dogs { again: total nodes { name } } }", 10 + 1 + (1 + 20)),
        ("{ dogs { nodes { puppies } } ...A } fragment A on Query { dogs { nodes { puppies more: name } } }", 632),
        ("{ dogs { total @include(if: false) nodes @skip(if: true) { puppies } } }", 10 + 1),
    ],
)
def test_each_document_has_its_cost(query: str, cost: int) -> None:
    assert PAGED.cost(query) == 1 + cost


def test_skipped_fields_cost_nothing() -> None:
    operation = PAGED.operation(
        "query($with: Boolean! = true, $n: Int) { dogs(first: $n) { total nodes @include(if: $with) { puppies } } }"
    )
    for _ in range(2):
        assert PAGED.model.cost(operation, {"n": 4}) == 1 + 10 + 1 + 1 + 4 * 31
        assert PAGED.model.cost(operation, {"n": 4, "with": False}) == 1 + 10 + 1
        assert PAGED.model.cost(operation, {"n": 9, "with": True}) == 1 + 10 + 1 + 1 + 9 * 31


def test_inputs_in_variables_cost_as_much_as_literals() -> None:
    query = "query($f: Filter, $t: String) { a: dogs(filter: $f) { total } b: dogs(filter: {tag: $t}) { total } }"
    assert PAGED.cost(query) == 1 + 22
    assert PAGED.cost(query, f={"tag": "x"}, t="y") == 1 + 22 + 100
    assert PAGED.cost(query, f="no object", t=None) == 1 + 22


def bomb(levels: int, spread: int = 9) -> str:
    """Return a document whose fragments multiply into ``spread ** levels`` fields."""
    parts = [f"fragment F{levels} on Dog {{ name }}"]
    parts += [
        f"fragment F{at} on Dog {{ {' '.join(f'a{one}: friends {{ ...F{at + 1} }}' for one in range(spread))} }}"
        for at in range(levels)
    ]
    return "{ pet { ...F0 } } " + " ".join(parts)


def test_fragments_that_multiply_are_counted_once_each() -> None:
    levels = 12
    cost = 0
    for _ in range(levels):
        cost = 9 * (1 + 9 * (1 + cost))
    assert PAGED.unbounded_cost(bomb(levels)) == 1 + 1 + 1 + cost


def test_fragments_that_merge_into_too_many_fields_are_refused() -> None:
    """Each level asks for every subset of the fragments of the next one."""
    parts = []
    for level in range(14):
        for half in "ab":
            other = " ".join(f"{key}: friends {{ ...{half}{level + 1} }}" for key in ("x", half))
            parts.append(f"fragment {half}{level} on Dog {{ {other} }}")
    parts += [f"fragment {half}14 on Dog {{ name }}" for half in "ab"]
    many = " ".join(f"k{one}: name" for one in range(400))
    query = (
        "{ pet { ...a0 ...b0 } "
        + " ".join(f"p{at}: pet {{ ... on Dog {{ {many} }} }}" for at in range(40))
        + " } "
        + " ".join(parts)
    )
    with pytest.raises(QueryTooComplex) as refused:
        PAGED.unbounded_cost(query)
    assert refused.value.reason == "COST"


def test_a_list_longer_than_the_most_costs_as_the_longest() -> None:
    query = "{ viewer { agents(first: %s) { nodes { id } } } }"
    assert ours(query % 2_000_000_000) == ours(query % 100) == ours(query % 99) + 2


def ours(query: str, **variables: Any) -> int:
    return MODEL.cost(DOCUMENTS.operation(query, None), variables)


def test_every_list_of_objects_in_the_schema_has_a_size() -> None:
    costs, sized = costs_of(OURS), set[tuple[str, str]]()
    lists = []
    for kind in OURS._schema.type_map.values():
        for name, field in kind.fields.items() if isinstance(kind, GraphQLObjectType) else ():
            cost, named = costs.get((kind.name, name), FieldCost()), get_named_type(field.type)
            sized |= {(named.name, one) for one in cost.sized_fields}
            inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
            if isinstance(inner, GraphQLList) and not is_leaf_type(named) and not kind.name.startswith("__"):
                lists.append((kind.name, name, cost.assumed_size))
    assert [(kind, name) for kind, name, size in lists if size is None and (kind, name) not in sized] == []


def call_counts(cell: str) -> list[int]:
    """Return the number of times of each call in a cell of ``docs/calls.md``."""
    return [int(count or 1) for count in re.findall(r"(?:(\d+) times )?\w+ `", cell)]


def test_a_field_weighs_at_least_the_calls_that_it_makes() -> None:
    """The calls in ``docs/calls.md`` are counted on a running gateway."""
    cells = re.findall(r"^\| (`[^|]*) \| ([^|]*) \| ([^|]*) \|", (ROOT / "docs" / "calls.md").read_text(), re.MULTILINE)
    rows = [
        (kind, name, call_counts(once), call_counts(each))
        for names, once, each in cells
        for kind, name in re.findall(r"`(\w+)\.(\w+)`(?! of)", names)
    ]
    assert len(rows) > 60
    costs = costs_of(OURS)
    for kind, name, once, each in rows:
        types = OURS._schema.get_possible_types(OURS._schema.type_map[kind]) if kind == "Message" else [kind]  # type: ignore[arg-type]
        for one in types:
            weight = costs[str(one), name].weight or 0
            least = CALL * sum(each) if kind not in {"Step", "Run"} else 1
            assert weight >= max(len(once + each), least), (kind, name, weight)
    mutation, subscription = OURS._schema.mutation_type, OURS._schema.subscription_type
    assert mutation is not None
    assert subscription is not None
    for kind, name, once, _ in rows:
        if kind == "Mutation":
            assert (costs[kind, name].weight or 0) >= CALL * min(sum(once), 6), (name, once)
    assert all(costs[mutation.name, name].weight for name in mutation.fields)
    assert all(costs[subscription.name, name].weight for name in subscription.fields)


@pytest.mark.parametrize(
    ("selection", "cost"),
    [
        ("run { id }", 3),
        ("run { id __typename }", 4),
        ("run { ...OfRun }", 3),
        ("run { status }", 52),
        ("run { id } run { status }", 53),
        ("run { status @skip(if: true) id }", 3),
        ("run { id status @include(if: $yes) }", 53),
        ("run { id status @skip(if: $yes) }", 3),
        ("conversation { id agent { id } }", 6),
        ("conversation { id agent { name } }", 7),
        ("conversation { summary agent { name } }", 56),
    ],
)
def test_a_selection_that_the_parent_holds_costs_no_call(selection: str, cost: int) -> None:
    document = """query($yes: Boolean = true) {{ used: __typename @skip(if: $yes) viewer {{ agents(first: 1) {{ nodes {{
      messages(last: 1) {{ nodes {{ role {} }} }} }} }} }} }} {}"""
    fragment = "fragment OfRun on Run { id }" if "OfRun" in selection else ""
    added = ours(document.format(selection, fragment)) - ours(document.format("", ""))
    assert added == cost


DASHBOARD = """query($agents: Int = 50, $messages: Int = 20) {
  viewer { email agents(first: $agents) { edges { cursor node {
  id name description modelName status tags template { id name } model { name }
  messages(last: $messages) { edges { cursor node { __typename id role text createdAt
    ... on ToolCallMessage { toolCalls { name arguments } } ... on ToolReturnMessage { toolReturns { status text } } } }
    pageInfo { hasPreviousPage startCursor } } } } pageInfo { hasNextPage endCursor } } } }"""


def test_the_dashboard_costs_a_fraction_of_the_default_limit() -> None:
    limit = Settings.model_fields["max_query_cost"].default
    assert ours(DASHBOARD) * 3 < limit
    assert ours(DASHBOARD, agents=100, messages=100) > limit


def test_a_nested_query_without_sizes_is_within_the_default_limit() -> None:
    query = (
        "{ viewer { agents { nodes { name conversations { nodes { summary messages { nodes { id text } } } } } } } }"
    )
    assert ours(query) < Settings.model_fields["max_query_cost"].default
