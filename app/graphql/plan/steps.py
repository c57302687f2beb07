"""Makes the steps of an object: a step computes one field.

A step's function has four arguments: the record, the execution, the object's position, and the object in the answer.
It returns the field's completed value, or ``None`` if the value is read later. It raises the error of a non-null field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from graphql import default_field_resolver, get_named_type, is_object_type
from strawberry.types.field import StrawberryField

from app.graphql.plan.deferred import Called, Deferred, LoadedField, Opaque
from app.graphql.plan.fields import Field
from app.graphql.plan.places import Place
from app.graphql.plan.values import Completer, completing
from schema.guards import needs_scopes
from schema.stream import EventField

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution

Run: TypeAlias = "Callable[[Any, Execution, Place | None, dict[str, Any]], Any]"

_Read: TypeAlias = Callable[[Any], Any]
_Call: TypeAlias = "Callable[[Any, Execution], Any]"


@dataclass(frozen=True, slots=True)
class Named:
    """The step of ``__typename``."""

    key: str
    name: str
    run: Run
    is_pure: ClassVar = True


@dataclass(frozen=True, slots=True)
class Later:
    """The step of a field that is read later."""

    key: str
    deferred: Deferred
    run: Run
    is_pure: ClassVar = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The step of a field whose value is read from the record. The value is not awaitable.

    Attributes:
        read: returns the value.
        path: the attributes that lead to the value, if ``read`` reads no more than these.
        completer: completes the value.
    """

    key: str
    field: Field
    read: _Read
    path: str | None
    completer: Completer
    run: Run

    @property
    def is_pure(self) -> bool:
        """Whether the field's completed value depends on the record alone."""
        return self.completer.is_pure


@dataclass(frozen=True, slots=True)
class Calling:
    """The step of a field with a resolver that is no coroutine function. It may return an awaitable nevertheless.

    Attributes:
        resolve: returns the value for a record alone, if the resolver has no other argument.
        call: returns the value.
        completer: completes the value.
        complete: completes the value, or defers the field if the value is awaitable. Like ``run``, but with the
            value instead of the record.
    """

    key: str
    field: Field
    resolve: _Read | None
    call: _Call
    completer: Completer
    complete: Run
    run: Run

    @property
    def is_pure(self) -> bool:
        """Whether the field's completed value depends on the record alone."""
        return self.resolve is not None and self.completer.is_pure


Step: TypeAlias = Named | Later | Reading | Calling


def typename_step(key: str, name: str) -> Step:
    """Return a step for ``__typename``."""

    def run(_record: Any, x: Execution, _place: Place | None, _out: dict[str, Any]) -> str:
        x.left -= len(name)
        return name

    return Named(key, name, run)


def step_of(x: Execution, field: Field) -> Step:
    """Return the step of a field: the record has the value, a synchronous resolver returns it, or it is read later."""
    declared = field.declared
    if declared is None or declared.extensions or needs_scopes(field.definition):
        return _by_graphql_core(x, field)
    if declared.is_subscription:
        return _reading(x, field, lambda event: event)
    resolver = declared.base_resolver
    if resolver is None:
        return _attribute(x, field, declared)
    if (held := _held(x, field, declared)) is not None:
        return _reading(x, field, held)
    if (loaded := getattr(resolver.wrapped_func, "loaded", None)) is not None:
        return _later(LoadedField(field, completing(x, field, field.definition.type), loaded))
    if resolver.is_async:
        return _later(Called(field, completing(x, field, field.definition.type), resolver))
    if _reads_only(resolver):
        resolve = cast("_Read", resolver.wrapped_func)
        return _calling(x, field, lambda record, _: resolve(record), resolve)
    return _calling(x, field, _call_of(field, resolver))


def _by_graphql_core(x: Execution, field: Field) -> Step:
    """Return a step that calls the field's resolver like graphql-core, with all checks around it."""
    resolve = field.definition.resolve or default_field_resolver
    return _calling(x, field, lambda record, x: resolve(record, x.raw_info(field), **x.arguments(field)))


def _attribute(x: Execution, field: Field, declared: StrawberryField) -> Step:
    if isinstance(declared, EventField):
        path = f"event.{declared.python_name}"
    elif type(declared).get_result is StrawberryField.get_result and declared.default_resolver is getattr:
        path = declared.python_name
    else:
        return _by_graphql_core(x, field)
    return _reading(x, field, attrgetter(path), path)


def _held(x: Execution, field: Field, declared: StrawberryField) -> _Read | None:
    """Return the function that returns the parent's part of an object, if the part has all selected fields."""
    held = declared.metadata.get("held")
    kind = get_named_type(field.definition.type)
    if held is None or not is_object_type(kind):
        return None
    selected = x.executor.fields_of(kind, field.details)[0].values()
    record: _Read = held.record
    return record if {one[0].node.name.value for one in selected} <= held.fields else None


def _sources(resolver: Any) -> list[Any]:
    """Return the parameters of a resolver that get the record."""
    return [one for one in (resolver.parent_parameter, resolver.root_parameter) if one]


def _reads_only(resolver: Any) -> bool:
    """Return whether the record is a resolver's only argument."""
    return len(resolver.signature.parameters) == 1 and len(_sources(resolver)) == 1


def _call_of(field: Field, resolver: Any) -> _Call:
    """Return a function that calls a synchronous resolver with more arguments than the record."""
    resolve = resolver.wrapped_func
    names = [one.name for one in _sources(resolver)]
    info = resolver.info_parameter.name if resolver.info_parameter else None
    is_method = bool(resolver.self_parameter)

    def call(record: Any, x: Execution) -> Any:
        given = dict(x.converted(field))
        for name in names:
            given[name] = record
        if info is not None:
            given[info] = x.info(field)
        return resolve(record, **given) if is_method else resolve(**given)

    return call


def _later(deferred: Deferred) -> Step:
    def run(record: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> None:
        x.pending.append((deferred, record, out, place))

    return Later(deferred.field.key, deferred, run)


def _calling(x: Execution, field: Field, call: _Call, resolve: _Read | None = None) -> Step:
    """Return a step that calls a resolver. If the resolver returns an awaitable, the value is completed later."""
    completer, failed, key, nullable = (
        completing(x, field, field.definition.type),
        field.failed,
        field.key,
        field.nullable,
    )
    opaque, plain = Opaque(field, completer), x.plan.plain_classes

    def complete(value: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> Any:
        if value.__class__ not in plain and x.awaits(value):
            x.pending.append((opaque, value, out, place))
            return None
        return completer.complete(value, x, (place, key, nullable))

    def run(record: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> Any:
        try:
            return complete(call(record, x), x, place, out)
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return Calling(key, field, resolve, call, completer, complete, run)


def _reading(x: Execution, field: Field, read: _Read, path: str | None = None) -> Step:
    """Return a step that reads the value from the record."""
    completer, failed, key, nullable = (
        completing(x, field, field.definition.type),
        field.failed,
        field.key,
        field.nullable,
    )

    def run(record: Any, x: Execution, place: Place | None, _out: dict[str, Any]) -> Any:
        try:
            value = read(record)
            if value is None and nullable:
                return None
            return completer.complete(value, x, (place, key, nullable))
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return Reading(key, field, read, path, completer, run)
