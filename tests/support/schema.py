"""The gateway's schema as an object of graphql-core."""

from __future__ import annotations

from graphql import GraphQLInterfaceType, GraphQLUnionType

from schema.build import build_schema

SCHEMA = build_schema()._schema


def possible_types(name: str) -> set[str]:
    """Return the names of the objects of an interface or union."""
    kind = SCHEMA.type_map[name]
    assert isinstance(kind, GraphQLInterfaceType | GraphQLUnionType)
    return {one.name for one in SCHEMA.get_possible_types(kind)}
