"""The cases of graphql-js's execution tests that apply: a plan gives graphql-core's answer, which is written here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from graphql import GraphQLError, GraphQLSchema, build_schema

from tests.support.plans import Compared, described, text

pytestmark = pytest.mark.usefixtures("each_way")

NULLS = """
type Query { data: Data }
type Data {
  sync: String syncNonNull: String! promise: String promiseNonNull: String!
  syncNest: Data syncNonNullNest: Data! promiseNest: Data promiseNonNullNest: Data!
  list: [Int] listOfReq: [Int!] reqList: [Int]! reqListOfReq: [Int!]!
  argued(cannotBeNull: String! = "default"): String
}
"""

PETS = """
interface Being { name: String }
interface Pet implements Being { name: String }
type Dog implements Being & Pet { name: String barks: Boolean }
type Cat implements Being & Pet { name: String meows: Boolean }
type Person implements Being { name: String pets: [Pet] either: Either friends: [Being] }
union Either = Dog | Cat
enum Color { RED GREEN }
input Point { x: Int! y: Int = 7 color: Color }
type Query {
  person: Person being: Being either: Either pet: Pet
  echo(text: String = "hello", n: Int, point: Point, points: [Point!], id: ID, color: Color, flag: Boolean!): String
}
"""


def data(*, fails: bool) -> dict[str, Any]:
    """Return a record whose fields are null, or fail."""

    def now(_info: Any) -> Any:
        if fails:
            raise RuntimeError("failed")
        return None

    async def later(_info: Any) -> Any:
        await asyncio.sleep(0)
        return now(_info)

    def nested(_info: Any) -> Any:
        return record

    async def nested_later(_info: Any) -> Any:
        return record

    record: dict[str, Any] = {
        "sync": now,
        "syncNonNull": now,
        "promise": later,
        "promiseNonNull": later,
        "syncNest": nested,
        "syncNonNullNest": nested,
        "promiseNest": nested_later,
        "promiseNonNullNest": nested_later,
    }
    return record


async def agree(schema: GraphQLSchema, document: str, root: Any, **variables: Any) -> tuple[Any, list[Any]]:
    """Return the data, and the path and message of each error. A plan and graphql-core must agree."""
    compared = Compared(schema, document)
    core, plan = [await by(None, variables, root) for by in (compared.by_core, compared.by_plan)]
    assert text(plan) == text(core)
    assert described(plan) == described(core)
    return plan.data, [(list(path), message) for path, message, *_ in described(plan)]


NULLABILITY = build_schema(NULLS)
ANIMALS = build_schema(PETS)


@pytest.mark.parametrize(
    ("document", "expected", "paths"),
    [
        ("{ data { sync } }", {"data": {"sync": None}}, [["data", "sync"]]),
        ("{ data { promise } }", {"data": {"promise": None}}, [["data", "promise"]]),
        ("{ data { syncNonNull } }", {"data": None}, [["data", "syncNonNull"]]),
        ("{ data { promiseNonNull } }", {"data": None}, [["data", "promiseNonNull"]]),
        (
            "{ data { syncNest { syncNonNull } } }",
            {"data": {"syncNest": None}},
            [["data", "syncNest", "syncNonNull"]],
        ),
        (
            "{ data { promiseNest { promiseNonNull } } }",
            {"data": {"promiseNest": None}},
            [["data", "promiseNest", "promiseNonNull"]],
        ),
        (
            "{ data { syncNonNullNest { promiseNonNullNest { syncNonNull } } } }",
            {"data": None},
            [["data", "syncNonNullNest", "promiseNonNullNest", "syncNonNull"]],
        ),
        (
            "{ data { syncNest { promiseNonNullNest { syncNonNullNest { promiseNonNull } } } } }",
            {"data": {"syncNest": None}},
            [["data", "syncNest", "promiseNonNullNest", "syncNonNullNest", "promiseNonNull"]],
        ),
    ],
)
async def test_nulls_propagate(document: str, expected: Any, paths: list[Any]) -> None:
    root = {"data": data(fails=True)}
    found, errors = await agree(NULLABILITY, document, root)
    assert found == expected
    assert errors == [(path, "failed") for path in paths]
    found, errors = await agree(NULLABILITY, document, {"data": data(fails=False)})
    assert found == expected
    if "NonNull }" in document:
        name = paths[0][-1]
        assert errors == [(paths[0], f"Cannot return null for non-nullable field Data.{name}.")]


@pytest.mark.parametrize(
    ("field", "value", "expected", "path"),
    [
        ("list", [1, 2], [1, 2], None),
        ("list", (1, None), [1, None], None),
        ("list", None, None, None),
        ("list", [1, "x"], [1, None], ["data", "list", 1]),
        ("list", [1, RuntimeError("bad")], [1, None], ["data", "list", 1]),
        ("list", "text", None, ["data", "list"]),
        ("list", 5, None, ["data", "list"]),
        ("list", RuntimeError("bad"), None, ["data", "list"]),
        ("listOfReq", [1, None], None, ["data", "listOfReq", 1]),
        ("reqList", [None], [None], None),
        ("reqList", None, ..., ["data", "reqList"]),
        ("reqListOfReq", [1, None], ..., ["data", "reqListOfReq", 1]),
        ("list", {1: 2}.keys(), [1], None),
    ],
)
async def test_lists(field: str, value: Any, expected: Any, path: Any) -> None:
    found, errors = await agree(NULLABILITY, f"{{ data {{ {field} }} }}", {"data": {field: value}})
    assert found == {"data": None if expected is ... else {field: expected}}
    assert [one for one, _ in errors] == ([] if path is None else [path])


DOG, CAT = {"__typename": "Dog", "name": "Odie", "barks": True}, {"__typename": "Cat", "name": "Tom", "meows": False}
PERSON = {"__typename": "Person", "name": "Jon", "pets": [DOG, CAT], "either": CAT, "friends": [DOG, None]}


@pytest.mark.parametrize(
    ("document", "root", "expected"),
    [
        (
            "{ person { pets { __typename name ... on Dog { barks } ... on Cat { meows } } } }",
            {"person": PERSON},
            {
                "person": {
                    "pets": [
                        {"__typename": "Dog", "name": "Odie", "barks": True},
                        {"__typename": "Cat", "name": "Tom", "meows": False},
                    ]
                }
            },
        ),
        (
            "{ person { either { ...P } } } fragment P on Pet { name ... on Being { n: name } }",
            {"person": PERSON},
            {"person": {"either": {"name": "Tom", "n": "Tom"}}},
        ),
        ("{ being { ... on Person { pets { name } } name } }", {"being": DOG}, {"being": {"name": "Odie"}}),
        ("{ being { name } }", {"being": {"__typename": "Nothing"}}, {"being": None}),
        ("{ being { name } }", {"being": {"__typename": "Query"}}, {"being": None}),
        ("{ being { name } }", {"being": {"__typename": "Being"}}, {"being": None}),
        ("{ being { name } }", {"being": object()}, {"being": None}),
        ("{ either { ... on Pet { name } } }", {"either": {"__typename": "Person"}}, {"either": None}),
        (
            "{ person { name } person { n: name pets { name } } person { pets { __typename } } }",
            {"person": PERSON},
            ...,
        ),
    ],
)
async def test_abstract_types_and_merged_fields(document: str, root: Any, expected: Any) -> None:
    found, errors = await agree(ANIMALS, document, root)
    if expected is not ...:
        assert found == expected
        assert len(errors) == list(expected.values()).count(None)


async def test_merged_fields_keep_the_order_of_their_first_selection() -> None:
    fragment = "fragment F on Query { person { n: name } }"
    document = f"{{ person {{ name }} ...F a: __typename person {{ pets {{ __typename }} }} }} {fragment}"
    found, _ = await agree(ANIMALS, document, {"person": PERSON})
    assert list(found) == ["person", "a"]
    assert list(found["person"]) == ["name", "n", "pets"]


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("include", [True, False])
async def test_skip_and_include(skip: bool, include: bool) -> None:
    document = """query($skip: Boolean!, $include: Boolean!) {
      person {
        name @skip(if: $skip) @include(if: $include)
        ... @include(if: $include) { n: name }
        ...F @skip(if: $skip)
      }
    } fragment F on Person { pets { name } }"""
    found, _ = await agree(ANIMALS, document, {"person": PERSON}, skip=skip, include=include)
    names = [*(["name"] if include and not skip else []), *(["n"] if include else []), *([] if skip else ["pets"])]
    assert list(found["person"]) == names


def echo(_info: Any, **arguments: Any) -> str:
    return str(sorted(arguments.items()))


@pytest.mark.parametrize(
    ("declared", "given", "variables"),
    [
        ("", "flag: true", {}),
        ("($flag: Boolean!, $n: Int)", "flag: $flag, n: $n", {"flag": False}),
        ("($flag: Boolean!, $n: Int = 3)", "flag: $flag, n: $n", {"flag": False, "n": None}),
        ("($p: Point)", "flag: true, point: $p", {"p": {"x": 1, "color": "RED"}}),
        ("($x: Int!)", "flag: true, point: {x: $x, color: GREEN}, points: [{x: 2, y: $x}]", {"x": 5}),
        ("($x: Int!)", "flag: true, points: {x: $x}, id: 4, color: RED, text: null", {"x": 5}),
        ("($flag: Boolean = true)", "flag: $flag", {"flag": None}),
    ],
)
async def test_arguments(declared: str, given: str, variables: dict[str, Any]) -> None:
    document = f"query{declared} {{ a: echo({given}) echo(flag: false) }}"
    found, errors = await agree(ANIMALS, document, {"echo": echo}, **variables)
    assert found["echo"] == "[('flag', False), ('text', 'hello')]"
    assert [path for path, _ in errors] == ([["a"]] if variables == {"flag": None} else [])


async def test_the_first_error_below_a_null_stays_and_later_ones_are_dropped() -> None:
    document = "{ data { syncNest { syncNonNull again: syncNonNull promise } promise } }"
    found, errors = await agree(NULLABILITY, document, {"data": data(fails=True)})
    assert found == {"data": {"syncNest": None, "promise": None}}
    assert [path for path, _ in errors] == [["data", "syncNest", "syncNonNull"], ["data", "promise"]]


async def test_an_error_with_positions_of_its_own_keeps_them() -> None:
    def fails(_info: Any) -> Any:
        raise GraphQLError("mine", extensions={"a": 1})

    _, errors = await agree(NULLABILITY, "{ data { sync } }", {"data": {"sync": fails}})
    assert errors == [(["data", "sync"], "mine")]
