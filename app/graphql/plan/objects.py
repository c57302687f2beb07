"""Completes objects: each object type and selection has its steps, and a function that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType
from graphql.execution.collect_fields import GroupedFieldSet
from graphql.execution.executor import invalid_return_type_error

from app.graphql.answers import BRACES_BYTES, PUNCTUATION_BYTES
from app.graphql.plan.fields import Field, is_absent
from app.graphql.plan.steps import Step, step_of, typename_step
from app.graphql.plan.values import Complete, ObjectKey
from schema.base import OfClass

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution
    from app.graphql.plan.places import Place

_PLANNED = 8
"""How many fields an execution completes in the time in which it plans one field."""

WARM_OBJECTS = 500
"""The number of objects of one kind after which a plan gets a generated function for the objects that follow.

To generate a field takes 100 µs, and saves 0.2 µs for each object.
"""


class ObjectPlan:
    """Completes the objects of one type with the selections of one field.

    Attributes:
        complete: completes one object. It is replaced by a generated function after ``WARM_OBJECTS`` objects.
        steps: the steps of the fields.
        size: an object's minimum size in JSON without the texts of its fields, in bytes.
        test: checks that a value is of the type.
    """

    __slots__ = ("complete", "size", "steps", "test")

    def __init__(self, x: Execution, kind: GraphQLObjectType, field: Field, key: ObjectKey) -> None:
        selected = x.executor.fields_of(kind, field.details)[0]
        self.steps = _steps(x, kind, selected)
        self.size = _size(selected)
        self.test = Test(kind, field)
        self.complete: Complete = self._running(key)

    @property
    def is_pure(self) -> bool:
        """Whether a completed object depends on the record alone, and never on the execution."""
        return self.test.attribute is None and bool(self.test.classes) and all(one.is_pure for one in self.steps)

    def _running(self, key: ObjectKey) -> Complete:
        """Return the function that runs the steps. It does not refer to this object, which would be a cycle."""
        runs, size, test, count = [(one.key, one.run) for one in self.steps], self.size, self.test, len(self.steps)
        known, is_null, attribute, seen = test.known, test.is_null, test.attribute, 0

        def run(record: Any, x: Execution, place: Place | None) -> dict[str, Any] | None:
            nonlocal seen
            one = record if attribute is None else getattr(record, attribute)
            if one.__class__ not in known and is_null(record, x, place):
                return None
            x.left -= size
            x.done += count
            if seen < WARM_OBJECTS or (seen == WARM_OBJECTS and x.plan.generate(key, x)):
                seen += 1
            out: dict[str, Any] = {}
            for name, step in runs:
                out[name] = step(record, x, place, out)
            return out

        return run


def root_plan(x: Execution, kind: GraphQLObjectType, selected: GroupedFieldSet) -> Complete:
    """Return the function that completes the operation's root fields."""
    runs, size = [(one.key, one.run) for one in _steps(x, kind, selected)], _size(selected)

    def run(record: Any, x: Execution, place: Place | None) -> dict[str, Any]:
        x.left -= size
        out: dict[str, Any] = {}
        for key, step in runs:
            out[key] = step(record, x, place, out)
        return out

    return run


def _steps(x: Execution, kind: GraphQLObjectType, selected: GroupedFieldSet) -> list[Step]:
    steps, schema = list[Step](), x.executor.schema
    for key, details in selected.items():
        name = details[0].node.name.value
        definition = schema.get_field(kind, name)
        if name == "__typename":
            steps.append(typename_step(key, kind.name))
        elif definition is not None:  # validation refuses unknown fields
            steps.append(step_of(x, Field(kind, definition, key, details)))
    x.plan.grow(len(steps))
    x.done += len(steps) * _PLANNED
    return steps


def _size(selected: GroupedFieldSet) -> int:
    """Return an object's minimum size in JSON without the texts of its fields, in bytes."""
    return BRACES_BYTES - 1 + sum(map(len, selected)) + PUNCTUATION_BYTES * len(selected)


class Test:
    """Checks that a value is of an object type.

    Attributes:
        classes: the classes that decide the type, if only the class does.
        known: the classes of which all values are of the type.
        attribute: the attribute whose class counts. If ``None``, the value's own class counts.
    """

    __slots__ = ("_field", "_is_type_of", "_kind", "attribute", "classes", "known")

    def __init__(self, kind: GraphQLObjectType, field: Field) -> None:
        self._kind = kind
        self._field = field
        self._is_type_of = test = kind.is_type_of
        self.classes = frozenset(test.classes if isinstance(test, OfClass) else ())
        self.known: set[type] = set(self.classes)
        self.attribute = test.attribute if isinstance(test, OfClass) else None

    @property
    def only(self) -> type | None:
        """The class of all values, if the type has exactly one class."""
        test = self._is_type_of
        if isinstance(test, OfClass) and test.attribute is None and len(test.classes) == 1:
            return test.classes[0]
        return None

    def is_null(self, value: Any, x: Execution, place: Place | None) -> bool:
        """Return whether a value of an unknown class is null. Raise an error if the value is not of the type."""
        if is_absent(value, place):
            return True
        if self._is_type_of is None:
            self.known.add(type(value))
        elif not self._is_type_of(value, x.raw_info(self._field)):
            raise invalid_return_type_error(self._kind, value, self._field.details)
        return False
