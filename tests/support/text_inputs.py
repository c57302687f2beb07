"""Every argument and input field that takes text, each in an operation that is valid but for that text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
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

from tests.support import things
from tests.support.schema import SCHEMA
from tests.support.stack import ADA, Stack

WHOLE = {"Int": "1", "Float": "1", "Boolean": "true", "JSON": "{}", "Date": '"2026-01-01"', "_Any": "{}"}
TEXTS = {"String", "ID", "JSON", "Date", "DateTime", "Decimal", "_Any"}
"""Scalars that are a text, or contain one."""


@dataclass(frozen=True)
class TextInput:
    """An argument or input field. ``name`` is its path, ``kind`` its type.

    ``operation`` contains ``%s`` for a variable's definition and for the text.
    """

    name: str
    kind: str
    operation: str

    def by_variable(self, text: str) -> tuple[str, dict[str, Any]]:
        """Return the operation and its variables."""
        value: Any = {"a": [text]} if self.kind in {"JSON", "_Any"} else text
        return self.operation % (f"($t: {self.kind}!)", "$t"), {"t": value}

    def by_literal(self, written: str) -> str:
        """Return the operation with a GraphQL string literal."""
        return self.operation % ("", f"{{a: [{written}]}}" if self.kind in {"JSON", "_Any"} else written)


def text_inputs(schema: GraphQLSchema, ids: Mapping[str, str]) -> Iterator[TextInput]:
    """Return all text inputs. ``ids`` are by argument name without ``Id``, or by type name."""
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
                yield TextInput(where, leaf, f"{roots.get(kind, 'query')} %s {{ {call} }}")


def _leaves(taken: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, one in taken.items():
        kind = get_named_type(one.type)
        if isinstance(kind, GraphQLInputObjectType):
            yield from (((name, *path), leaf) for path, leaf in _leaves(kind.fields))
        elif isinstance(kind, GraphQLScalarType) and kind.name in TEXTS:
            yield (name,), kind.name


def _given(taken: Mapping[str, Any], path: tuple[str, ...], ids: Mapping[str, str], *, alone: bool = False) -> str:
    """Return the required arguments and the path to the text."""
    given = []
    for name, one in taken.items():
        if path and name == path[0]:
            given.append(f"{name}: {_value(one.type, name, path[1:], ids)}")
        elif not alone and isinstance(one.type, GraphQLNonNull) and one.default_value is Undefined:
            given.append(f"{name}: {_value(one.type, name, None, ids)}")
    return " ".join(given)


def _value(taken: Any, name: str, path: tuple[str, ...] | None, ids: Mapping[str, str]) -> str:
    """Return a valid value; with a path, one that contains the text."""
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


async def all_text_inputs(stack: Stack) -> list[TextInput]:
    """Return the text inputs of the schema, with ids of objects made for them."""
    makers = [things.agent, things.conversation, things.message, things.run, things.stream, things.block]
    mine = {make.__name__: await make(stack) for make in [*makers, things.passage]}
    mine |= {"request": mine["message"], "template": "template:support-bot", "model": stack.chat_model}
    named = {name.title(): given for name, given in mine.items()} | {"User": f"user:{ADA}"}
    found = list(text_inputs(SCHEMA, mine | named))
    assert len(found) > 100
    return found


async def ask(stack: Stack, query: str, variables: dict[str, Any] | None = None, *, raw: bytes = b"") -> httpx.Response:
    """Send an operation as an administrator, or the raw body of one."""
    accept = "text/event-stream" if query.startswith("subscription") else "application/json"
    headers = {
        "authorization": f"Bearer {stack.token(admin=True)}",
        "accept": accept,
        "content-type": "application/json",
    }
    if raw:
        return await stack.client.post("/graphql", content=raw, headers=headers)
    return await stack.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
