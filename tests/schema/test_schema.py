from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    Undefined,
    ast_from_value,
    build_ast_schema,
    parse,
    print_ast,
)
from strawberry.types.base import StrawberryObjectDefinition

from resolvers.streams.events import Delivery, Event
from schema.base import enum
from schema.build import build_schema
from schema.federation import entities, graph_sdl, subgraph_sdl
from schema.stream import EventField
from tests.support.schema import possible_types

SCHEMA = build_schema()
FOLDER = Path(__file__).parents[2] / "schema"
FEDERATIONS = {"_Any", "_FieldSet", "link__Import", "link__Purpose"}
TYPES = [
    kind for name, kind in SCHEMA._schema.type_map.items() if not name.startswith("__") and name not in FEDERATIONS
]
OBJECTS = [kind for kind in TYPES if isinstance(kind, GraphQLObjectType)]
ROOTS = {"Query", "Mutation", "Subscription"}
UNIONS = {Union, UnionType}
SCALARS: dict[str, type | tuple[type, ...]] = {
    "String": str,
    "ID": str,
    "Int": int,
    "Float": (int, float),
    "Boolean": bool,
    "Date": date,
    "DateTime": datetime,
    "Decimal": Decimal,
}


@pytest.mark.parametrize(("name", "printed"), [("schema", graph_sdl), ("subgraph", subgraph_sdl)])
def test_the_checked_in_schemas_are_the_schema(name: str, printed: Any) -> None:
    assert (FOLDER / f"{name}.graphql").read_text() == printed(SCHEMA), "make generated"


def test_the_schema_for_clients_is_complete_without_federation() -> None:
    given = build_ast_schema(parse(graph_sdl(SCHEMA)))
    served = SCHEMA._schema
    assert served.type_map.keys() - given.type_map.keys() == FEDERATIONS | {"_Entity", "_Service"}
    assert given.type_map.keys() <= served.type_map.keys()
    for name, kind in given.type_map.items():
        fields = getattr(served.type_map[name], "fields", {})
        assert getattr(kind, "fields", {}).keys() == fields.keys() - {"_entities", "_service"}, name
    assert not {"key", "link", "shareable"} & {directive.name for directive in given.directives}


def test_every_node_except_a_stream_is_an_entity() -> None:
    assert set(entities()) == possible_types("Node") - {"Stream"}
    union = SCHEMA._schema.type_map["_Entity"]
    assert isinstance(union, GraphQLUnionType)
    assert {kind.name for kind in union.types} == set(entities())


def attribute_type(record: type, name: str) -> Any:
    """Return the type of a record's attribute, from its annotation or its property's."""
    attribute = getattr(record, name, None)
    if isinstance(attribute, property):
        return get_type_hints(attribute.fget)["return"]
    hints = get_type_hints(record) | get_type_hints(vars(record).get("__init__", object.__init__))
    assert name in hints, f"{record.__name__} has no {name}"
    hint = hints[name]
    return get_args(hint)[0] if get_origin(hint) is ClassVar else hint


def agrees(shown: Any, held: Any) -> bool:
    """Return whether a record's attribute always fits a GraphQL type."""
    if held is Any or isinstance(held, TypeVar):
        return True
    if isinstance(shown, GraphQLNonNull):
        return not nullable(held) and agrees(shown.of_type, held)
    parts = [part for part in get_args(held) if part is not NoneType] if get_origin(held) in UNIONS else [held]
    return all(agrees_whole(shown, part) for part in parts)


def agrees_whole(shown: Any, held: Any) -> bool:
    if isinstance(held, TypeVar):
        return True
    if isinstance(shown, GraphQLList):
        return get_origin(held) is list and agrees(shown.of_type, get_args(held)[0])
    origin = get_origin(held) or held
    if isinstance(shown, GraphQLScalarType):
        return issubclass(origin, SCALARS[shown.name])
    if isinstance(shown, GraphQLEnumType):
        return shown.extensions["strawberry-definition"].wrapped_cls is origin
    kinds = [shown] if isinstance(shown, GraphQLObjectType) else SCHEMA._schema.get_possible_types(shown)
    records = {record for kind in kinds for record in kind.extensions["strawberry-definition"].origin.records}
    return any(issubclass(record, origin) or issubclass(origin, record) for record in records)


def nullable(held: Any) -> bool:
    return held is NoneType or (get_origin(held) in UNIONS and NoneType in get_args(held))


@pytest.mark.parametrize("kind", [kind for kind in OBJECTS if kind.name not in ROOTS], ids=lambda kind: kind.name)
def test_each_field_has_an_attribute_or_a_resolver(kind: GraphQLObjectType) -> None:
    definition = kind.extensions["strawberry-definition"]
    assert isinstance(definition, StrawberryObjectDefinition)
    fields = {field.extensions["strawberry-definition"].python_name: field for field in kind.fields.values()}
    for field in definition.fields:
        if field.base_resolver is not None:
            continue
        for record in definition.origin.records:
            is_delivery = issubclass(record, Event) and not isinstance(field, EventField)
            held = attribute_type(Delivery if is_delivery else record, field.python_name)
            assert agrees(fields[field.python_name].type, held), (
                f"{kind.name}.{field.name} of {record.__name__}: {held}"
            )


@pytest.mark.parametrize(
    ("shown", "held", "agree"),
    [
        ("Agent.version", str, True),
        ("Agent.version", int, False),
        ("Template.versions", list[str], True),
        ("Template.versions", list[str] | None, False),
        ("Template.versions", list[str | None], False),
        ("Run.status", str, False),
        ("Page", dict, False),
    ],
)
def test_a_field_that_does_not_fit_its_attribute_is_found(shown: str, held: Any, agree: bool) -> None:
    name, _, field = shown.partition(".")
    if name == "Page":
        name, field = "AgentConnection", "edges"
    kind = SCHEMA._schema.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    assert agrees(kind.fields[field].type, held) is agree


def undescribed(kind: GraphQLNamedType) -> set[str]:
    """Return the parts of a type without a description: itself, its fields, their arguments, its values."""
    parts: dict[str, Any] = {kind.name: kind}
    for name, part in (getattr(kind, "fields", None) or getattr(kind, "values", None) or {}).items():
        parts[f"{kind.name}.{name}"] = part
        parts |= {f"{kind.name}.{name}({given})": argument for given, argument in getattr(part, "args", {}).items()}
    return {name for name, part in parts.items() if not part.description}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_every_type_and_field_is_described(kind: GraphQLNamedType) -> None:
    assert undescribed(kind) == set()


def test_directives_are_described() -> None:
    directive = SCHEMA._schema.get_directive("semanticNonNull")
    assert directive is not None
    assert directive.description
    assert directive.args["levels"].description


def test_a_missing_description_is_found() -> None:
    given = build_ast_schema(
        parse(
            '"A" type Query { "f" f("a" a: E, b: I): U } "E" enum E { "X" X Y } '
            'input I { "x" x: Int y: Int } union U = Query'
        )
    )
    seen = set().union(*(undescribed(given.type_map[name]) for name in ("Query", "E", "I", "U")))
    assert seen == {"Query.f(b)", "E.Y", "I", "I.y", "U"}


def test_an_enum_describes_each_value() -> None:
    class Colour(StrEnum):
        RED = "red"
        BLUE = "blue"

    with pytest.raises(TypeError, match="BLUE"):
        enum(Colour, "A colour.", RED="As blood.")
    with pytest.raises(TypeError, match="GREEN"):
        enum(Colour, "A colour.", RED="As blood.", BLUE="As the sea.", GREEN="As grass.")
    enum(Colour, "A colour.", RED="As blood.", BLUE="As the sea.")


async def test_optional_inputs_have_no_default_null() -> None:
    given = {
        f"{kind.name}.{name}({argument})": print_value(value)
        for kind in OBJECTS
        for name, field in kind.fields.items()
        for argument, value in field.args.items()
        if value.default_value is not Undefined
    }
    assert given == {"Agent.searchMemory(limit)": "20", "User.usage(groupBy)": "[DAY]"}
    assert "null" not in {
        print_value(field)
        for kind in TYPES
        if isinstance(kind, GraphQLInputObjectType)
        for field in kind.fields.values()
    }
    shown = await SCHEMA.execute('{ __type(name: "Agent") { fields { name args { name defaultValue } } } }')
    assert shown.data is not None
    fields = {
        field["name"]: {arg["name"]: arg["defaultValue"] for arg in field["args"]}
        for field in shown.data["__type"]["fields"]
    }
    assert fields["searchMemory"] == {"query": None, "limit": "20"}
    assert fields["messages"] == dict.fromkeys(("first", "after", "last", "before"))


def print_value(given: GraphQLArgument | GraphQLInputField) -> str | None:
    """Return a default value as the schema prints it."""
    value = None if given.default_value is Undefined else ast_from_value(given.default_value, given.type)
    return None if value is None else print_ast(value)


def test_mutations_are_in_the_order_of_use() -> None:
    mutations = SCHEMA._schema.mutation_type
    assert mutations is not None
    assert [*mutations.fields] == [
        *("createAgent", "upgradeAgent", "updateAgent", "deleteAgent", "publishTemplate"),
        *("createConversation", "updateConversation", "forkConversation", "deleteConversation"),
        *("sendMessage", "startCompletion", "complete", "embed", "respondToApproval", "cancelRun", "cancelStream"),
        *("updateMemoryBlock", "insertPassage", "deletePassage", "revokeSession"),
    ]


def test_mutations_name_every_user_error_and_no_other_type() -> None:
    mutations = SCHEMA._schema.mutation_type
    assert mutations is not None
    named = {
        outcome
        for field in mutations.fields.values()
        for outcome in re.findall(r"`(\w+)`", (field.description or "").partition("Possible `errors`: ")[2])
    }
    assert named == possible_types("UserError")
