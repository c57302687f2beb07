"""Every place of the schema where a text can be given, each in an operation that is right but for that text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_leaf_type,
)

WHOLE = {"Int": "1", "Float": "1", "Boolean": "true", "JSON": "{}", "Date": '"2026-01-01"', "_Any": "{}"}
TEXTS = {"String", "ID", "JSON", "Date", "DateTime", "Decimal", "_Any"}
"""Scalars that are a text, or hold one."""


@dataclass(frozen=True)
class Place:
    """``name`` says where it is; ``kind`` is the type of what is given there.

    ``operation`` has ``%s`` before its selections, for a variable's definition, and where the text goes.
    """

    name: str
    kind: str
    operation: str

    def by_variable(self, text: str) -> tuple[str, dict[str, Any]]:
        """The operation and its variables."""
        value: Any = {"a": [text]} if self.kind in {"JSON", "_Any"} else text
        return self.operation % (f"($t: {self.kind}!)", "$t"), {"t": value}

    def by_literal(self, written: str) -> str:
        """The operation with a text as GraphQL writes it, quotes and all."""
        return self.operation % ("", f"{{a: [{written}]}}" if self.kind in {"JSON", "_Any"} else written)


def places(schema: GraphQLSchema, ids: Mapping[str, str]) -> Iterator[Place]:
    """All of them. ``ids`` are those of things, by an argument's name without ``Id``, or by the name of a type."""
    roots = {schema.query_type: "query", schema.mutation_type: "mutation", schema.subscription_type: "subscription"}
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("__"):
            continue
        for name, field in kind.fields.items():
            selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
            for path, leaf in _leaves(field.args):
                call = f"{name}({_given(field.args, path, ids)}){selection}"
                if kind not in roots:
                    call = f'node(id: "{ids[kind.name]}") {{ ... on {kind.name} {{ {call} }} }}'
                where = f"{kind.name}.{name}({'.'.join(path)})"
                yield Place(where, leaf, f"{roots.get(kind, 'query')} %s {{ {call} }}")


def _leaves(taken: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, one in taken.items():
        kind = get_named_type(one.type)
        if isinstance(kind, GraphQLInputObjectType):
            yield from (((name, *path), leaf) for path, leaf in _leaves(kind.fields))
        elif isinstance(kind, GraphQLScalarType) and kind.name in TEXTS:
            yield (name,), kind.name


def _given(taken: Mapping[str, Any], path: tuple[str, ...], ids: Mapping[str, str], *, alone: bool = False) -> str:
    """What must be given, and the way to the text."""
    given = []
    for name, one in taken.items():
        if path and name == path[0]:
            given.append(f"{name}: {_value(one.type, name, path[1:], ids)}")
        elif not alone and isinstance(one.type, GraphQLNonNull) and one.default_value is Undefined:
            given.append(f"{name}: {_value(one.type, name, None, ids)}")
    return " ".join(given)


def _value(taken: Any, name: str, path: tuple[str, ...] | None, ids: Mapping[str, str]) -> str:
    """A value that is right; with a path, one that leads to the text."""
    if isinstance(taken, GraphQLNonNull):
        return _value(taken.of_type, name, path, ids)
    if isinstance(taken, GraphQLList):
        return f"[{_value(taken.of_type, name, path, ids)}]"
    if isinstance(taken, GraphQLInputObjectType):
        if taken.is_one_of and path is None:
            first = min(taken.fields)
            return f"{{{first}: {_value(taken.fields[first].type, first, None, ids)}}}"
        return f"{{{_given(taken.fields, path or (), ids, alone=taken.is_one_of)}}}"
    if path is not None:
        return "%s"
    if isinstance(taken, GraphQLEnumType):
        return str(next(iter(taken.values)))
    known = ids.get(name.removesuffix("Id"), "x")
    return WHOLE.get(taken.name, json.dumps(known))
