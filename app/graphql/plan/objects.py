"""Makes the functions that complete objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType
from graphql.execution.collect_fields import GroupedFieldSet
from graphql.execution.executor import invalid_return_type_error

from app.graphql.answers import BRACES_BYTES, PUNCTUATION_BYTES
from app.graphql.plan.fields import Field
from app.graphql.plan.steps import Step, step_of, typename_step
from app.graphql.plan.values import Complete, is_absent
from schema.base import OfClass

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution
    from app.graphql.plan.places import Place

_PLANNED = 8
"""How many fields an execution completes in the time in which it plans one field."""


def object_plan(x: Execution, kind: GraphQLObjectType, field: Field) -> Complete:
    """Return the function that completes objects of a type with the selections of a field."""
    selected = x.executor.fields_of(kind, field.details)[0]
    steps, size, test = _steps(x, kind, selected), _size(selected), _Test(kind, field)
    known, is_null, attribute, count = test.known, test.is_null, test.attribute, len(steps)

    def run(record: Any, x: Execution, place: Place | None) -> dict[str, Any] | None:
        one = record if attribute is None else getattr(record, attribute)
        if one.__class__ not in known and is_null(record, x, place):
            return None
        x.left -= size
        x.done += count
        out: dict[str, Any] = {}
        for key, step in steps:
            out[key] = step(record, x, place, out)
        return out

    return run


def root_plan(x: Execution, kind: GraphQLObjectType, selected: GroupedFieldSet) -> Complete:
    """Return the function that completes the operation's root fields."""
    steps, size = _steps(x, kind, selected), _size(selected)

    def run(record: Any, x: Execution, place: Place | None) -> dict[str, Any]:
        x.left -= size
        out: dict[str, Any] = {}
        for key, step in steps:
            out[key] = step(record, x, place, out)
        return out

    return run


def _steps(x: Execution, kind: GraphQLObjectType, selected: GroupedFieldSet) -> list[tuple[str, Step]]:
    steps, schema = list[tuple[str, Step]](), x.executor.schema
    for key, details in selected.items():
        name = details[0].node.name.value
        definition = schema.get_field(kind, name)
        if name == "__typename":
            steps.append((key, typename_step(kind.name)))
        elif definition is not None:  # validation refuses unknown fields
            steps.append((key, step_of(x, Field(kind, definition, key, details))))
    x.plan.grow(len(steps))
    x.done += len(steps) * _PLANNED
    return steps


def _size(selected: GroupedFieldSet) -> int:
    """Return an object's minimum size in JSON without the texts of its fields, in bytes."""
    return BRACES_BYTES - 1 + sum(map(len, selected)) + PUNCTUATION_BYTES * len(selected)


class _Test:
    """Checks that a value is of an object type.

    Attributes:
        known: the classes of which all values are of the type.
        attribute: the attribute whose class counts. If ``None``, the value's own class counts.
    """

    __slots__ = ("_field", "_is_type_of", "_kind", "attribute", "known")

    def __init__(self, kind: GraphQLObjectType, field: Field) -> None:
        self._kind = kind
        self._field = field
        self._is_type_of = test = kind.is_type_of
        self.known: set[type] = set(test.classes) if isinstance(test, OfClass) else set()
        self.attribute = test.attribute if isinstance(test, OfClass) else None

    def is_null(self, value: Any, x: Execution, place: Place | None) -> bool:
        """Return whether a value of an unknown class is null. Raise an error if the value is not of the type."""
        if is_absent(value, place):
            return True
        if self._is_type_of is None:
            self.known.add(type(value))
        elif not self._is_type_of(value, x.raw_info(self._field)):
            raise invalid_return_type_error(self._kind, value, self._field.details)
        return False
