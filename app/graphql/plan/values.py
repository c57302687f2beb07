"""Complete the values of lists, of abstract types, and of leaves that need more than a class check (GraphQL, 6.4.3).

Every ``complete`` has three arguments: the value, the execution, and the value's position. It returns the completed
value, or raises the error of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from graphql import GraphQLError, Undefined, is_abstract_type, is_leaf_type, is_list_type, is_non_null_type
from graphql.pyutils import is_iterable

from app.graphql.answers import json_size
from app.graphql.plan.fields import Field, NullError
from app.graphql.plan.places import Place
from schema.base import OfClass
from schema.guards import NEEDS_SCOPES

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution

Complete: TypeAlias = "Callable[[Any, Execution, Place | None], Any]"


def is_absent(value: object, place: Place | None) -> bool:
    """Return whether a value is null. Raise a value that is an exception, and NullError if null is not allowed."""
    if isinstance(value, Exception):
        raise value
    if value is None or value is Undefined:
        if place is not None and not place[2]:
            raise NullError
        return True
    return False


def completing(x: Execution, field: Field, kind: Any) -> Complete:
    """Return the function that completes the values of a type."""
    named = kind.of_type if is_non_null_type(kind) else kind
    if is_leaf_type(named):
        return Leaf(named).complete
    if is_list_type(named):
        inner = named.of_type
        if is_leaf_type(inner.of_type if is_non_null_type(inner) else inner):
            return Leaves(field, inner).complete
        return Items(field, completing(x, field, inner), nullable=not is_non_null_type(inner)).complete
    if is_abstract_type(named):
        return Abstract(field, named, x).complete
    return x.plan.object(x, named, field)


class Leaf:
    """Completes the values of a scalar or enum."""

    __slots__ = ("_coerce", "_kind")

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._coerce = kind.coerce_output_value

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one value."""
        if is_absent(value, place):
            return None
        coerced = self._coerce(value)
        if coerced is None or coerced is Undefined:
            return x.executor.complete_leaf_value(self._kind, value)  # raises the error
        if isinstance(coerced, str):
            x.left -= len(coerced)
        elif isinstance(coerced, dict | list):
            x.left -= json_size(coerced)
        return coerced


class Leaves:
    """Completes a list of scalars or enums."""

    __slots__ = ("_complete", "_field", "_nullable", "_plain")

    def __init__(self, field: Field, kind: Any) -> None:
        self._field = field
        self._nullable = not is_non_null_type(kind)
        named = kind if self._nullable else kind.of_type
        self._complete = Leaf(named).complete
        self._plain = {"String": str, "ID": str, "Boolean": bool, "Float": float}.get(named.name)

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one list. A list whose items need no coercion is not copied."""
        if value.__class__ is list and self._plain is not None and {*map(type, value)} <= {self._plain}:
            if self._plain is str:
                x.left -= sum(map(len, value)) + 2 * len(value)
                return value
            if self._plain is bool or sum(value) - sum(value) == 0:  # infinities and NaN are invalid
                x.left -= 20 * len(value)
                return value
        if is_absent(value, place):
            return None
        nullable, complete, out = self._nullable, self._complete, list[Any]()
        for index, item in enumerate(listed(self._field, value)):
            at = (place, index, nullable)
            try:
                out.append(complete(item, x, at))
            except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
                x.failed(self._field.described(error), self._field.nodes, at)
                out.append(None)
        return out


class Items:
    """Completes a list of objects or lists."""

    __slots__ = ("_complete", "_field", "_nullable")

    def __init__(self, field: Field, complete: Complete, *, nullable: bool) -> None:
        self._field = field
        self._complete = complete
        self._nullable = nullable

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one list. If the list is long, the remaining items are completed later."""
        if is_absent(value, place):
            return None
        if value.__class__ is not list:
            value = listed(self._field, value)
        if x.done > x.most and value:
            out: list[Any] = [None] * len(value)
            x.later(self, value, 0, out, place)
            return out
        return self._items(value, x, place)

    def _items(self, value: list[Any], x: Execution, place: Place | None) -> list[Any]:
        out: list[Any] = []
        nullable, complete, add = self._nullable, self._complete, out.append
        for index, item in enumerate(value):
            if item is None and nullable:
                add(None)
                continue
            at = (place, index, nullable)
            try:
                add(complete(item, x, at))
            except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
                x.failed(self._field.described(error), self._field.nodes, at)
                add(None)
            if x.done > x.most and len(out) < len(value):
                x.later(self, value, len(out), out, place)
                out += [None] * (len(value) - len(out))
                break
        return out

    def resume(self, value: list[Any], start: int, out: list[Any], place: Place | None, x: Execution) -> None:
        """Complete the items from ``start`` of a list that is already in the answer."""
        nullable, complete = self._nullable, self._complete
        for index in range(start, len(value)):
            if x.done > x.most:
                x.later(self, value, index, out, place)
                return
            at = (place, index, nullable)
            try:
                item = value[index]
                out[index] = None if item is None and nullable else complete(item, x, at)
            except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
                x.broke(self._field.described(error), self._field.nodes, at)
                if x.errors.has_nulled(place):
                    return


class Abstract:
    """Completes the values of an interface or union. The class of a value decides the value's object type."""

    __slots__ = ("_by_class", "_field", "_kind", "_of", "_runs")

    def __init__(self, field: Field, kind: Any, x: Execution) -> None:
        self._field = field
        self._kind = kind
        self._runs: dict[type, Complete] = {}
        tests = [one.is_type_of for one in x.executor.schema.get_possible_types(kind)]
        found = {test.attribute for test in tests if isinstance(test, OfClass)}
        # types that need scopes have another test, which must run for each value: such types are not in ``_runs``
        self._by_class = len(found) == 1 and all(test is not None for test in tests)
        self._of = found.pop() if self._by_class else None

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one value."""
        try:
            run = self._runs.get(value.__class__ if self._of is None else getattr(value, self._of).__class__)
        except AttributeError:
            run = None
        if run is None:
            if is_absent(value, place):
                return None
            run = self._run(value, x)
        return run(value, x, place)

    def _run(self, value: Any, x: Execution) -> Complete:
        """Return the function that completes a value, after graphql-core has chosen the value's type."""
        executor, info, field = x.executor, x.raw_info(self._field), self._field
        name = (self._kind.resolve_type or executor.type_resolver)(value, info, self._kind)
        kind = executor.ensure_valid_runtime_type(name, self._kind, field.details, info, value)
        run = x.plan.object(x, kind, field)
        test = kind.is_type_of
        if self._by_class and isinstance(test, OfClass) and NEEDS_SCOPES not in kind.extensions:
            one = value if test.attribute is None else getattr(value, test.attribute)
            if type(one) in test.classes:
                self._runs[type(one)] = run
        return run


def listed(field: Field, value: Any) -> list[Any]:
    """Return the items of a value as a list. Raise GraphQLError if the value has no items."""
    if not is_iterable(value):
        raise GraphQLError(f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'.")
    return list(value)
