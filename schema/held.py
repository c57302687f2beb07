"""Fields whose objects are partly held by the parent's record (decision 0072).

For example, a message holds the id of its run. If a selection on the run needs only the id, the gateway does not read
the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
)

from resolvers.context import RequestContext
from resolvers.loaded import Loaded

P = TypeVar("P")
R = TypeVar("R")

HELD = "held"
"""The metadata key of a field's ``Held``."""


class _Info(Protocol):
    """The attributes of ``info`` on which a selection depends. ``variable_values`` are the coerced variables."""

    schema: GraphQLSchema
    field_nodes: list[FieldNode]
    fragments: dict[str, FragmentDefinitionNode]
    variable_values: dict[str, Any]
    context: RequestContext


@dataclass(frozen=True, slots=True, init=False)
class Held(Generic[P, R]):
    """Describes which data of a field's object the parent holds.

    Attributes:
        fields: the names of the object's fields that can be read from ``record``'s result, including ``__typename``.
        record: returns a record with the held data, or ``None`` if the field is null. Makes no call. Raises the same
            errors for a malformed id as the field's resolver.
    """

    fields: frozenset[str]
    record: Callable[[P], R | None]

    def __init__(self, fields: Collection[str], record: Callable[[P], R | None]) -> None:
        object.__setattr__(self, "fields", frozenset(fields) | {"__typename"})
        object.__setattr__(self, "record", record)


def held_of(field: GraphQLField) -> Held[Any, Any] | None:
    """Return the field's ``Held``, or ``None`` if the parent holds no data of the field's object."""
    definition = field.extensions.get("strawberry-definition")
    held: Held[Any, Any] | None = None if definition is None else definition.metadata.get(HELD)
    return held


def loaded_of(field: GraphQLField) -> Loaded[Any, Any, Any, Any] | None:
    """Return the ``Loaded`` of the field's resolver, or ``None`` if the field has no resolver with ``loaded``."""
    definition = field.extensions.get("strawberry-definition")
    resolver = getattr(definition, "base_resolver", None)
    found: Loaded[Any, Any, Any, Any] | None = getattr(getattr(resolver, "wrapped_func", None), "loaded", None)
    return found


def is_held(
    held: Held[Any, Any],
    schema: GraphQLSchema,
    kind: GraphQLObjectType,
    nodes: Sequence[FieldNode],
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> bool:
    """Return whether the parent holds all fields that are selected on a field's object.

    Args:
        held: the data that the parent holds.
        schema: the schema that has ``kind``.
        kind: the type of the field's object.
        nodes: all nodes of the field, which are merged (GraphQL, 6.3.2).
        fragments: the document's fragments, by name.
        variables: the coerced variables, by name. Only the variables in ``@skip`` and ``@include`` are read.
    """
    pending: list[SelectionNode] = [
        one for node in nodes if node.selection_set for one in node.selection_set.selections
    ]
    visited: set[str] = set()
    while pending:
        node = pending.pop()
        if not _is_included(node, variables):
            continue
        if isinstance(node, FieldNode):
            if node.name.value not in held.fields:
                return False
            continue
        fragment: Any = node
        if isinstance(node, FragmentSpreadNode):
            if node.name.value in visited:
                continue
            visited.add(node.name.value)
            fragment = fragments[node.name.value]
        if _applies(schema, kind, fragment):
            pending.extend(fragment.selection_set.selections)
    return True


def _is_included(node: SelectionNode, variables: Mapping[str, Any]) -> bool:
    for directive in node.directives or ():
        if directive.name.value in {"skip", "include"}:
            [condition] = directive.arguments or ()
            given: Any = condition.value
            holds = variables.get(given.name.value) if isinstance(given, VariableNode) else given.value
            if bool(holds) is (directive.name.value == "skip"):
                return False
    return True


def _applies(
    schema: GraphQLSchema, kind: GraphQLObjectType, fragment: InlineFragmentNode | FragmentDefinitionNode
) -> bool:
    condition = fragment.type_condition
    if condition is None or condition.name.value == kind.name:
        return True
    named = schema.get_type(condition.name.value)
    return is_abstract_type(named) and schema.is_sub_type(named, kind)


def look_ahead(schema: GraphQLSchema) -> None:
    """Wrap the resolver of each field that has a ``Held``.

    If the parent holds all selected fields, the new resolver returns the held record, and makes no call.

    Raises:
        TypeError: a field's type is not an object type, or has no field with a name in ``Held.fields``.
    """
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for name, field in kind.fields.items():
                if (held := held_of(field)) is not None and field.resolve is not None:
                    named = get_named_type(field.type)
                    if not isinstance(named, GraphQLObjectType) or held.fields - {"__typename"} - named.fields.keys():
                        fields = sorted(held.fields)
                        raise TypeError(
                            f"{kind}.{name} cannot hold {fields}: {named} is no object type with all fields"
                        )
                    field.resolve = _looking_ahead(field.resolve, held, named)


def _looking_ahead(resolve: Callable[..., Any], held: Held[Any, Any], kind: GraphQLObjectType) -> Callable[..., Any]:
    def looking_ahead(source: Any, info: _Info, **arguments: Any) -> Any:
        known = info.context.held_selections
        key = (id(held), *map(id, info.field_nodes))  # the nodes live as long as the operation
        is_sufficient = known.get(key)
        if is_sufficient is None:
            is_sufficient = known[key] = is_held(
                held, info.schema, kind, info.field_nodes, info.fragments, info.variable_values
            )
        return held.record(source) if is_sufficient else resolve(source, info, **arguments)

    return looking_ahead
