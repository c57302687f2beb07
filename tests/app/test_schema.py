from __future__ import annotations

from pathlib import Path

import pytest
from graphql import GraphQLObjectType
from strawberry.types.base import StrawberryObjectDefinition

from schema.build import build_schema

SCHEMA = build_schema()
SDL = Path(__file__).parents[2] / "schema" / "schema.graphql"
OBJECTS = [
    kind
    for name, kind in SCHEMA._schema.type_map.items()
    if isinstance(kind, GraphQLObjectType) and not name.startswith("__")
]
ROOTS = {"Query", "Mutation", "Subscription"}


def test_the_checked_in_schema_is_the_schema() -> None:
    assert SDL.read_text() == SCHEMA.as_str() + "\n", "make schema"


@pytest.mark.parametrize("kind", [kind for kind in OBJECTS if kind.name not in ROOTS], ids=lambda kind: kind.name)
def test_each_field_is_an_attribute_of_the_record_or_answered_by_a_resolver(kind: GraphQLObjectType) -> None:
    definition = kind.extensions["strawberry-definition"]
    assert isinstance(definition, StrawberryObjectDefinition)
    records = definition.origin.records
    for field in definition.fields:
        if field.base_resolver is not None:
            continue
        for record in records:
            has = hasattr(record, field.python_name) or field.python_name in getattr(record, "__annotations__", {})
            assert has or record.__name__ == "_Payload", f"{record.__name__} has no {field.python_name}"


@pytest.mark.parametrize("kind", OBJECTS, ids=lambda kind: kind.name)
def test_everything_is_described(kind: GraphQLObjectType) -> None:
    assert kind.description
    for name, field in kind.fields.items():
        assert field.description, f"{kind.name}.{name}"
