"""A document for each root field of the SDL, with arguments that name nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    Undefined,
    get_named_type,
    is_leaf_type,
)

from tests.support.ownership import SDL
from tests.support.rules import ROOTS

_LITERALS = {
    "ID": '"agent-00000000-0000-4000-8000-000000000000"',
    "String": '"00000000-0000-4000-8000-000000000000"',
    "Int": "1",
    "Float": "1",
    "Boolean": "true",
    "JSON": "{}",
    "Date": '"2026-01-01"',
}


def root_documents() -> dict[str, str]:
    """Return the documents by ``Type.field``."""
    return dict(_documents())


def _documents() -> Iterator[tuple[str, str]]:
    for root in ROOTS:
        kind: Any = SDL.type_map[root]
        for name, field in kind.fields.items():
            given = _given(field.args)
            selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
            yield f"{root}.{name}", f"{root.lower()} {{ {name}{f'({given})' if given else ''}{selection} }}"


def _given(taken: dict[str, Any]) -> str:
    """Return literals for the required arguments or input fields."""
    required = {
        name: one
        for name, one in taken.items()
        if isinstance(one.type, GraphQLNonNull) and one.default_value is Undefined
    }
    return " ".join(f"{name}: {_literal(one.type)}" for name, one in required.items())


def _literal(taken: Any) -> str:
    if isinstance(taken, GraphQLNonNull):
        return _literal(taken.of_type)
    if isinstance(taken, GraphQLList):
        return f"[{_literal(taken.of_type)}]"
    if isinstance(taken, GraphQLEnumType):
        return str(next(iter(taken.values)))
    if isinstance(taken, GraphQLInputObjectType):
        if taken.is_one_of:
            name, one = next(iter(taken.fields.items()))
            return f"{{{name}: {_literal(one.type)}}}"
        return f"{{{_given(taken.fields)}}}"
    return _LITERALS[taken.name]
