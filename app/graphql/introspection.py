"""What the schema says of itself, resolved once in a process.

graphql-core resolves every field of every introspection anew: 110 ms for the query that tools send, and seconds for a
short document that asks for the fields of the types of the fields. Here what a field of introspection resolves to is
remembered, and a selection on a type is written out once, wherever it leads to that type again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path

from clients.codes import Reason
from clients.errors import GatewayError, QueryTooComplex

META_FIELDS = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}

MAX_VALUES = 50_000
"""How many values an operation's introspection may come to. The query that tools send comes to 10,500."""


def with_schema(
    execution: Executor[Any],
    root_type: GraphQLObjectType,
    fields: GroupedFieldSet,
    rest: Callable[[GroupedFieldSet], Any],
) -> Any:
    """Execute the fields at the root of an operation; what is asked of the schema is read from what is remembered.

    Args:
        execution: the operation, as it is executed.
        root_type: the type at its root.
        fields: its fields there, by their names in the answer.
        rest: executes the others.

    Returns:
        Their values, or what they are awaited by.

    Raises:
        GraphQLError: for an argument of the wrong type. With QueryTooComplex behind it, reason ``INTROSPECTION``, where
            it comes to more than ``MAX_VALUES`` values.
    """
    ours = {name: details for name, details in fields.items() if details[0].node.name.value in META_FIELDS}
    if not ours:
        return rest(fields)
    read = _read(execution, root_type, ours)
    others = rest({name: details for name, details in fields.items() if name not in ours})

    def merged(data: dict[str, Any]) -> dict[str, Any]:
        both = read | data
        return {name: both[name] for name in fields if name in both}

    async def later() -> dict[str, Any]:
        return merged(await others)

    return later() if execution.is_awaitable(others) else merged(others)


def _read(execution: Executor[Any], root_type: GraphQLObjectType, fields: GroupedFieldSet) -> dict[str, Any]:
    reading, read = _Reading(execution, _known(execution.schema)), dict[str, Any]()
    for name, details in fields.items():
        try:
            read[name] = reading.root(details)
        except (GraphQLError, GatewayError) as error:
            kind = META_FIELDS[details[0].node.name.value].type
            execution.handle_field_error(error, kind, details, Path(None, name, root_type.name))
            read[name] = None
    return read


class _Known:
    """What fields of introspection resolve to."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._info = SimpleNamespace(schema=schema)
        self._values: dict[tuple[int, str, tuple[Any, ...]], Any] = {}

    def value(self, source: Any, field: _Field) -> Any:
        """What a field of a part of the schema resolves to; a list is a tuple, and the same one each time."""
        key = (id(source), field.name, field.key)
        try:
            return self._values[key]
        except KeyError:
            resolve: Any = field.definition.resolve
            value = resolve(source, self._info, **field.arguments)
            if field.is_list and value is not None:
                value = tuple(value)
            if isinstance(field.named, GraphQLEnumType):
                serialize = field.named.serialize
                value = [serialize(one) for one in value] if field.is_list else serialize(value)
            self._values[key] = value  # and so what is in it lives, and no id is used again
            return value


@cache
def _known(schema: GraphQLSchema) -> _Known:
    return _Known(schema)


class _Field(NamedTuple):
    """A field of introspection as an operation selects it."""

    name: str
    definition: GraphQLField
    named: Any
    is_list: bool
    details: FieldDetailsList
    arguments: dict[str, Any]
    key: tuple[Any, ...]


class _Reading:
    """The introspection of one operation."""

    def __init__(self, execution: Executor[Any], known: _Known) -> None:
        self._execution = execution
        self._known = known
        self._plans: dict[int, list[tuple[str, _Field]]] = {}
        self._written: dict[tuple[int, int], tuple[dict[str, Any], int]] = {}
        self._count = 0

    def root(self, details: FieldDetailsList) -> Any:
        """The answer to one field at the root."""
        field = self._field(META_FIELDS[details[0].node.name.value], details)
        schema = self._execution.schema
        source = schema.get_type(field.arguments["name"]) if field.name == "__type" else schema
        if source is None:
            return None
        written, count = self._object(field, source)
        self._count = self._within(self._count + count)
        return written

    def _object(self, field: _Field, source: Any) -> tuple[dict[str, Any], int]:
        """A part of the schema as it is selected, and how many values that comes to."""
        key = (id(field.details), id(source))
        found = self._written.get(key)
        if found is not None:
            return found
        written, count = dict[str, Any](), 1
        for name, inner in self._plans.get(key[0]) or self._plan(field):
            value = field.named.name if inner.name == "__typename" else self._known.value(source, inner)
            if value is not None and isinstance(inner.named, GraphQLObjectType):
                value, more = self._objects(inner, value)
                count += more
            count = self._within(count + 1)
            written[name] = value
        self._written[key] = written, count
        return written, count

    def _objects(self, field: _Field, value: Any) -> tuple[Any, int]:
        """A part of the schema, or a list of them, as it is selected."""
        if not field.is_list:
            return self._object(field, value)
        done = [self._object(field, one) for one in value]
        return [written for written, _ in done], sum(count for _, count in done)

    def _plan(self, field: _Field) -> list[tuple[str, _Field]]:
        fields = self._execution.collect_subfields(field.named, field.details)[0]
        definitions = {**field.named.fields, "__typename": TypeNameMetaFieldDef}
        plan = [
            (name, self._field(definitions[details[0].node.name.value], details)) for name, details in fields.items()
        ]
        self._plans[id(field.details)] = plan
        return plan

    def _field(self, definition: GraphQLField, details: FieldDetailsList) -> _Field:
        node = details[0].node
        given = get_argument_values(definition, node, self._execution.variable_values) if definition.args else {}
        is_list = is_list_type(get_nullable_type(definition.type))
        named = get_named_type(definition.type)
        return _Field(node.name.value, definition, named, is_list, details, given, tuple(given.items()))

    def _within(self, count: int) -> int:
        if count > MAX_VALUES:
            message = f"The introspection query has more than {MAX_VALUES:,} values. Request fewer fields at once."
            raise QueryTooComplex(message, reason=Reason.INTROSPECTION)
        return count
