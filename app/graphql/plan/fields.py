"""The selected fields of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import FieldNode, GraphQLError, GraphQLField, GraphQLObjectType, Undefined, is_non_null_type
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import get_argument_values
from graphql.pyutils import is_iterable
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from app.graphql.executor import Executor
from app.graphql.plan.places import Place

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution
    from app.graphql.plan.inputs import Inputs


class NullError(Exception):
    """Raised if a value is null at a non-null position. ``Field.described`` returns an error with the field's name."""


def is_absent(value: object, place: Place | None) -> bool:
    """Return whether a value is null. Raise a value that is an exception, and NullError if null is not allowed."""
    if isinstance(value, Exception):
        raise value
    if value is None or value is Undefined:
        if place is not None and not place[2]:
            raise NullError
        return True
    return False


class Field:
    """A field of an object type, with all the nodes that select it under one response name.

    Attributes:
        key: the response name.
        details: the nodes, as graphql-core collects them.
        declared: Strawberry's field, or ``None`` if the schema was not built by Strawberry.
    """

    __slots__ = ("declared", "definition", "details", "key", "name", "nodes", "nullable", "parent")

    def __init__(
        self, parent: GraphQLObjectType, definition: GraphQLField, key: str, details: FieldDetailsList
    ) -> None:
        self.parent = parent
        self.definition = definition
        self.key = key
        self.details = details
        self.nodes: list[FieldNode] = [one.node for one in details]
        self.name = self.nodes[0].name.value
        self.nullable = not is_non_null_type(definition.type)
        self.declared: StrawberryField | None = definition.extensions.get("strawberry-definition")

    def failed(self, error: Exception, x: Execution, parent: Place | None) -> None:
        """Record the field's error, or raise the error with its position if the field is non-null."""
        try:
            x.failed(self.described(error), self.nodes, (parent, self.key, self.nullable))
        finally:
            del error  # avoids a cycle: the raised error's traceback refers to this frame

    def described(self, error: Exception) -> Exception:
        """Return the error to report: graphql-core's error instead of ``NullError``, or else the error itself."""
        if isinstance(error, NullError):
            return TypeError(f"Cannot return null for non-nullable field {self.parent}.{self.name}.")
        return error

    def arguments(self, x: Inputs) -> dict[str, Any]:
        """Return the coerced arguments, by GraphQL name. Raise GraphQLError if an argument is invalid."""
        node, executor = self.nodes[0], x.executor
        if not self.definition.args and not node.arguments:
            return {}
        return get_argument_values(self.definition, node, executor.variable_values, None, executor.hide_suggestions)

    def converted(self, x: Inputs) -> dict[str, Any]:
        """Return the arguments as Strawberry passes them to a resolver, by Python name."""
        declared = self.declared
        if declared is None or not declared.arguments:
            return {}
        strawberry = built_by(x.executor)
        return convert_arguments(
            self.arguments(x),
            declared.arguments,
            scalar_registry=strawberry.schema_converter.scalar_registry,
            config=strawberry.config,
            info=x.info(self),
        )


def listed(field: Field, value: Any) -> list[Any]:
    """Return the items of a value as a list. Raise GraphQLError if the value has no items."""
    if not is_iterable(value):
        raise GraphQLError(f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'.")
    return list(value)


def built_by(executor: Executor) -> Any:
    """Return the Strawberry schema from which the executor's schema was built."""
    schema: Any = executor.schema
    return schema._strawberry_schema  # noqa: SLF001 - Strawberry reads it in the same way, and has no public name
