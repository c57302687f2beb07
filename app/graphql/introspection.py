"""Answers introspection queries from caches.

graphql-core resolves every field of every introspection query. Tools' introspection query takes 110 ms. A short query
that nests types and fields takes seconds. This module caches the values of fields until the process ends. Within one
operation, it also caches the result of a selection on a type.
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
"""Maximum number of introspection values in a result. Tools' introspection queries return 10,500 values."""


def with_schema(
    execution: Executor[Any],
    root_type: GraphQLObjectType,
    fields: GroupedFieldSet,
    rest: Callable[[GroupedFieldSet], Any],
) -> Any:
    """Execute an operation's root fields. Return the values, or an awaitable of the values.

    Introspection fields are read from the cache. ``rest`` executes the other fields. An invalid argument, or more than
    ``MAX_VALUES`` values, causes an error of the introspection field.
    """
    introspection = {name: details for name, details in fields.items() if details[0].node.name.value in META_FIELDS}
    if not introspection:
        return rest(fields)
    read = _read(execution, root_type, introspection)
    others = rest({name: details for name, details in fields.items() if name not in introspection})

    def merged(data: dict[str, Any]) -> dict[str, Any]:
        both = read | data
        return {name: both[name] for name in fields if name in both}

    async def later() -> dict[str, Any]:
        return merged(await others)

    return later() if execution.is_awaitable(others) else merged(others)


def _read(execution: Executor[Any], root_type: GraphQLObjectType, fields: GroupedFieldSet) -> dict[str, Any]:
    reading, read = _Reading(execution, _values_of(execution.schema)), dict[str, Any]()
    for name, details in fields.items():
        try:
            read[name] = reading.root(details)
        except (GraphQLError, GatewayError) as error:
            kind = META_FIELDS[details[0].node.name.value].type
            execution.handle_field_error(error, kind, details, Path(None, name, root_type.name))
            read[name] = None
    return read


class _Values:
    """A cache of the values of one schema's introspection fields."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._info = SimpleNamespace(schema=schema)
        self._values: dict[tuple[int, str, tuple[Any, ...]], Any] = {}

    def value(self, source: Any, field: _Field) -> Any:
        """Return an introspection field's value for a schema element. Each call returns the same object."""
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
            self._values[key] = value  # this reference keeps the ids of the value's parts valid
            return value


@cache
def _values_of(schema: GraphQLSchema) -> _Values:
    return _Values(schema)


class _Field(NamedTuple):
    name: str
    definition: GraphQLField
    named: Any
    is_list: bool
    details: FieldDetailsList
    arguments: dict[str, Any]
    key: tuple[Any, ...]


class _Reading:
    def __init__(self, execution: Executor[Any], values: _Values) -> None:
        self._execution = execution
        self._values = values
        self._plans: dict[int, list[tuple[str, _Field]]] = {}
        self._results: dict[tuple[int, int], tuple[dict[str, Any], int]] = {}
        self._count = 0

    def root(self, details: FieldDetailsList) -> Any:
        """Return the value of ``__schema`` or ``__type``."""
        field = self._field(META_FIELDS[details[0].node.name.value], details)
        schema = self._execution.schema
        source = schema.get_type(field.arguments["name"]) if field.name == "__type" else schema
        if source is None:
            return None
        result, count = self._object(field, source)
        self._count = self._checked(self._count + count)
        return result

    def _object(self, field: _Field, source: Any) -> tuple[dict[str, Any], int]:
        key = (id(field.details), id(source))
        found = self._results.get(key)
        if found is not None:
            return found
        result, count = dict[str, Any](), 1
        for name, inner in self._plans.get(key[0]) or self._plan(field):
            value = field.named.name if inner.name == "__typename" else self._values.value(source, inner)
            if value is not None and isinstance(inner.named, GraphQLObjectType):
                value, more = self._objects(inner, value)
                count += more
            count = self._checked(count + 1)
            result[name] = value
        self._results[key] = result, count
        return result, count

    def _objects(self, field: _Field, value: Any) -> tuple[Any, int]:
        if not field.is_list:
            return self._object(field, value)
        results = [self._object(field, one) for one in value]
        return [result for result, _ in results], sum(count for _, count in results)

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
        arguments = get_argument_values(definition, node, self._execution.variable_values) if definition.args else {}
        is_list = is_list_type(get_nullable_type(definition.type))
        named = get_named_type(definition.type)
        return _Field(node.name.value, definition, named, is_list, details, arguments, tuple(arguments.items()))

    def _checked(self, count: int) -> int:
        if count > MAX_VALUES:
            message = f"The introspection query returns more than {MAX_VALUES:,} values. Request fewer fields at once."
            raise QueryTooComplex(message, reason=Reason.INTROSPECTION)
        return count
