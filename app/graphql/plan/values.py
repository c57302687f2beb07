"""Complete the values of lists and of abstract types (GraphQL, 6.4.3).

Every ``complete`` has three arguments: the value, the execution, and the value's position. It returns the completed
value, or raises the error of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from graphql import is_abstract_type, is_leaf_type, is_list_type, is_non_null_type

from app.graphql.plan.fields import Field, is_absent, listed
from app.graphql.plan.leaves import Leaf, Leaves
from app.graphql.plan.places import Place
from clients.shared import Completed, SharedList
from schema.base import OfClass
from schema.guards import NEEDS_SCOPES

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution

ObjectKey: TypeAlias = tuple[str, tuple[int, ...]]
"""The name of an object type, and the identities of the nodes that select the object."""

Complete: TypeAlias = "Callable[[Any, Execution, Place | None], Any]"


class Completer(Protocol):
    """Completes the values of a type. ``complete`` may be replaced by a faster function, so nothing keeps it."""

    @property
    def complete(self) -> Complete:
        """The function that completes one value."""

    @property
    def is_pure(self) -> bool:
        """Whether a completed value depends on the value alone, and never on the execution."""


def completing(x: Execution, field: Field, kind: Any) -> Completer:
    """Return what completes the values of a type."""
    named = kind.of_type if is_non_null_type(kind) else kind
    if is_leaf_type(named):
        return Leaf(named)
    if is_list_type(named):
        inner = named.of_type
        if is_leaf_type(inner.of_type if is_non_null_type(inner) else inner):
            return Leaves(field, inner)
        return Items(field, completing(x, field, inner), nullable=not is_non_null_type(inner))
    if is_abstract_type(named):
        return Abstract(field, named, x)
    return x.plan.object(x, named, field)


class Items:
    """Completes a list of objects or lists."""

    __slots__ = ("__weakref__", "_completer", "_field", "_nullable", "_runs")

    def __init__(self, field: Field, completer: Completer, *, nullable: bool) -> None:
        self._field = field
        self._completer = completer
        self._nullable = nullable
        self._runs = completer.runs if isinstance(completer, Abstract) else {}

    def complete(self, value: Any, x: Execution, place: Place | None) -> Any:
        """Complete one list."""
        if value.__class__ is SharedList:
            return self._shared(value, x, place)
        if is_absent(value, place):
            return None
        if value.__class__ is not list:
            value = listed(self._field, value)
        return self.complete_list(value, x, place)

    def _shared(self, value: SharedList[Any], x: Execution, place: Place | None) -> list[Any]:
        """Complete a list of the cache, unless this plan has completed it before (decision 0080)."""
        if (known := value.completed(self)) is not None:
            x.left -= known.size
            x.done += known.fields
            return known.answer
        is_pure = all(map(self._is_pure, set(map(type, value))))  # false while the plan does not know a class
        left, done, errors, pending = x.left, x.done, len(x.errors.errors), len(x.pending)
        planned = x.plan.planned
        out = self.complete_list(value, x, place)
        has_failed = None in out or len(x.errors.errors) != errors or len(x.pending) != pending
        has_failed = has_failed or x.errors.has_nulled(place)  # errors below a null are not recorded
        if is_pure and not has_failed and x.plan.planned == planned:  # else ``x.done`` has the time to plan fields
            value.keep(self, Completed(out, left - x.left, x.done - done))
        return out

    def _is_pure(self, kind: type) -> bool:
        """Return whether the completed value of an item of a class depends on the item alone."""
        return self._runs.get(kind, self._completer).is_pure

    @property
    def is_pure(self) -> bool:
        """Whether a completed list depends on the value alone: never, because later iterations may complete items."""
        return False

    def complete_list(self, value: list[Any], x: Execution, place: Place | None) -> list[Any]:
        """Complete the items of a list. If the list is long, the remaining items are completed later."""
        if x.done > x.most and value:
            out: list[Any] = [None] * len(value)
            x.later(self, value, 0, out, place)
            return out
        return self._items(value, x, place)

    def _items(self, value: list[Any], x: Execution, place: Place | None) -> list[Any]:
        out: list[Any] = []
        nullable, complete, add, run_of = self._nullable, self._completer.complete, out.append, self._runs.get
        for index, item in enumerate(value):
            at = (place, index, nullable)
            try:
                if (run := run_of(item.__class__)) is not None:
                    add(run.complete(item, x, at))
                else:
                    add(None if item is None and nullable else complete(item, x, at))
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
        nullable, complete = self._nullable, self._completer.complete
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
    """Completes the values of an interface or union. The class of a value decides the value's object type.

    Attributes:
        runs: what completes the values of a class, if the class of the value itself decides.
    """

    __slots__ = ("_by_class", "_field", "_kind", "_of", "_runs", "runs")

    def __init__(self, field: Field, kind: Any, x: Execution) -> None:
        self._field = field
        self._kind = kind
        self._runs: dict[type, Completer] = {}
        tests = [one.is_type_of for one in x.executor.schema.get_possible_types(kind)]
        found = {test.attribute for test in tests if isinstance(test, OfClass)}
        # types that need scopes have another test, which must run for each value: such types are not in ``_runs``
        self._by_class = len(found) == 1 and all(test is not None for test in tests)
        self._of = found.pop() if self._by_class else None
        self.runs = self._runs if self._of is None else {}

    @property
    def is_pure(self) -> bool:
        """Whether a completed value depends on the value alone: unknown, because each class has a plan."""
        return False

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
        return run.complete(value, x, place)

    def _run(self, value: Any, x: Execution) -> Completer:
        """Return what completes a value, after graphql-core has chosen the value's type."""
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
