"""Deferred fields: tasks or loaders read their values after the synchronous fields are completed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from app.graphql.plan.fields import Field
from app.graphql.plan.places import FieldPlace, Place
from resolvers.cache.stale import FIELD

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution
    from app.graphql.plan.values import Completer


class Deferred(ABC):
    """A field whose value is read after the synchronous fields are completed.

    Attributes:
        completer: completes the value.
    """

    __slots__ = ("completer", "field")

    def __init__(self, field: Field, completer: Completer) -> None:
        self.field = field
        self.completer = completer

    def start(self, source: Any, out: dict[str, Any], parent: Place | None, x: Execution) -> None:
        """Begin to read the value of one object. ``out`` is the object in the answer."""
        field = self.field
        place = (parent, field.key, field.nullable)
        try:
            self._begin(source, out, place, x)
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            self.fail(error, place, x)

    def settle(self, value: Any, out: dict[str, Any], place: Place, x: Execution) -> None:
        """Complete a value that was read, and put it into the answer."""
        out[self.field.key] = self.completer.complete(value, x, place)

    def fail(self, error: Exception, place: Place, x: Execution) -> None:
        """Record the field's error."""
        x.broke(self.field.described(error), self.field.nodes, place)

    @abstractmethod
    def _begin(self, source: Any, out: dict[str, Any], place: Place, x: Execution) -> None:
        """Begin to read the value of one object at a position."""


class Opaque(Deferred):
    """A field whose synchronous resolver has returned an awaitable, which is the source."""

    __slots__ = ()

    def _begin(self, source: Awaitable[Any], out: dict[str, Any], place: Place, x: Execution) -> None:
        FIELD.set(FieldPlace(place))
        x.run(self, source, out, place)


class Called(Deferred):
    """A field with an asynchronous resolver, which runs in a task: resolvers use timeouts, which need a task."""

    __slots__ = ("_info", "_is_method", "_resolve", "_sources")

    def __init__(self, field: Field, completer: Completer, resolver: Any) -> None:
        super().__init__(field, completer)
        self._resolve = resolver.wrapped_func
        self._is_method = bool(resolver.self_parameter)
        self._sources = [one.name for one in (resolver.parent_parameter, resolver.root_parameter) if one]
        self._info: str | None = resolver.info_parameter.name if resolver.info_parameter else None

    def _begin(self, source: Any, out: dict[str, Any], place: Place, x: Execution) -> None:
        given = dict(x.converted(self.field))
        for name in self._sources:
            given[name] = source
        if self._info is not None:
            given[self._info] = x.info(self.field)
        FIELD.set(FieldPlace(place))
        x.run(self, self._resolve(source, **given) if self._is_method else self._resolve(**given), out, place)


class LoadedField(Deferred):
    """A field that loads one record by a key of the parent, and derives its value from the record."""

    __slots__ = ("loaded",)

    def __init__(self, field: Field, completer: Completer, loaded: Any) -> None:
        super().__init__(field, completer)
        self.loaded = loaded

    def _begin(self, source: Any, out: dict[str, Any], place: Place, x: Execution) -> None:
        key = self.loaded.key(source, **x.converted(self.field))
        if key is None:
            self.settle(None, out, place, x)
        else:
            x.load(self, key, source, out, place)

    def derive(self, record: Any, source: Any, out: dict[str, Any], place: Place, x: Execution) -> None:
        """Derive and complete the value of one object from the loaded record."""
        value = self.loaded.value(record, source, x.context, **x.converted(self.field))
        self.settle(value, out, place, x)
