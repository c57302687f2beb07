"""The loads of an execution: all fields that need a record share one load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from app.graphql.plan.deferred import LoadedField
from app.graphql.plan.places import FieldPlace, Place
from resolvers.cache.stale import FIELD
from resolvers.loading import Joined, Loader

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution


class Reader(NamedTuple):
    """A field of one object that waits for a loader's record."""

    field: LoadedField
    source: Any
    out: dict[str, Any]
    place: Place

    def read(self, joined: Joined[Any, Any], x: Execution) -> None:
        """Complete the field with the loaded record, or report the load's error."""
        field, source, out, place = self
        if x.errors.has_nulled(place):
            return
        try:
            record = joined.future.result()
            if joined.is_stale:
                FIELD.set(FieldPlace(place))
                joined.report()
            field.derive(record, source, out, place, x)
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            field.fail(error, place, x)
        finally:
            del joined  # avoids a cycle: the future refers to the error, whose traceback refers to this frame


class _Load:
    """A record that is loading, and the fields that wait for it."""

    __slots__ = ("_x", "joined", "readers")

    def __init__(self, joined: Joined[Any, Any], x: Execution) -> None:
        self.joined = joined
        self.readers: list[Reader] = []
        self._x = x
        if not joined.future.done():
            joined.future.add_done_callback(self._done)

    @property
    def has_failed(self) -> bool:
        """Whether the load ended without a record. The loader has removed such a load."""
        future = self.joined.future
        return future.done() and (future.cancelled() or future.exception() is not None)

    def add(self, reader: Reader) -> None:
        """Complete a field when the record is loaded."""
        if self.joined.future.done() and not self.readers:
            self._x.queue(self._settle)
        self.readers.append(reader)

    def leave(self) -> None:
        """Release the load."""
        self.joined.future.remove_done_callback(self._done)
        self.joined.leave()

    def _done(self, _: object) -> None:
        self._x.queue(self._settle)

    def _settle(self) -> None:
        readers, self.readers = self.readers, []
        for reader in readers:
            self._x.queue(reader.read, self.joined, self._x)


class Loads:
    """The loads of one execution."""

    __slots__ = ("_loaders", "_loads")

    def __init__(self) -> None:
        self._loaders: dict[LoadedField, Loader[Any, Any]] = {}
        self._loads: dict[tuple[int, Any], _Load] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether a field waits for a record."""
        return any(load.readers for load in self._loads.values())

    def read(self, reader: Reader, key: Any, x: Execution) -> None:
        """Load a record, and complete the field that needs it."""
        loader = self._loaders.get(reader.field)
        if loader is None:
            loader = self._loaders[reader.field] = reader.field.loaded.loader(x.context)
        found = self._loads.get((loader.identity, key))
        if found is None or (found.has_failed and not found.readers):
            found = self._loads[loader.identity, key] = _Load(loader.join(key), x)
        found.add(reader)

    def clear_loaders(self) -> None:
        """Remove the cached loaders, because a resolver may replace the operation's loaders."""
        self._loaders.clear()

    def leave(self) -> None:
        """Release all loads."""
        for load in self._loads.values():
            load.leave()
        self._loads.clear()
