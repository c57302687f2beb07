"""Makes the functions that compute one field of an object: a step.

A step has four arguments: the record, the execution, the object's position, and the object in the answer. It returns
the field's completed value, or ``None`` if the value is read later. It raises the error of a non-null field.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from graphql import GraphQLEnumType, default_field_resolver, get_named_type, is_non_null_type, is_object_type
from strawberry.types.field import StrawberryField

from app.graphql.plan.deferred import Called, Deferred, LoadedField, Opaque
from app.graphql.plan.fields import Field
from app.graphql.plan.places import Place
from app.graphql.plan.values import Complete, completing
from schema.guards import needs_scopes
from schema.stream import EventField

if TYPE_CHECKING:
    from app.graphql.plan.execution import Execution

Step: TypeAlias = "Callable[[Any, Execution, Place | None, dict[str, Any]], Any]"

_Read: TypeAlias = Callable[[Any], Any]
_Call: TypeAlias = "Callable[[Any, Execution], Any]"
_Failed: TypeAlias = "Callable[[Exception, Execution, Place | None], None]"

_TEXTS = {"DateTime": datetime, "Date": date, "Decimal": Decimal}
"""Custom scalars whose values are written as text, and the class of their values."""


def typename_step(name: str) -> Step:
    """Return a step for ``__typename``."""

    def step(_record: Any, x: Execution, _place: Place | None, _out: dict[str, Any]) -> str:
        x.left -= len(name)
        return name

    return step


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
    if _is_text(field) and _reads_only(resolver):
        return _calling_for_text(x, field, cast("Callable[..., Any]", resolver.wrapped_func))
    return _calling(x, field, _call_of(field, resolver))


def _by_graphql_core(x: Execution, field: Field) -> Step:
    """Return a step that calls the field's resolver like graphql-core, with all checks around it."""
    resolve = field.definition.resolve or default_field_resolver
    return _calling(x, field, lambda record, x: resolve(record, x.raw_info(field), **x.arguments(field)))


def _attribute(x: Execution, field: Field, declared: StrawberryField) -> Step:
    if isinstance(declared, EventField):
        return _reading(x, field, attrgetter(f"event.{declared.python_name}"))
    if type(declared).get_result is StrawberryField.get_result and declared.default_resolver is getattr:
        return _reading(x, field, attrgetter(declared.python_name))
    return _by_graphql_core(x, field)


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


def _is_text(field: Field) -> bool:
    return _named(field).name in {"String", "ID"}


def _call_of(field: Field, resolver: Any) -> _Call:
    """Return a function that calls a synchronous resolver."""
    resolve = resolver.wrapped_func
    if _reads_only(resolver):
        return lambda record, _: resolve(record)
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
    def step(record: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> None:
        x.pending.append((deferred, record, out, place))

    return step


def _parts(x: Execution, field: Field) -> tuple[Complete, _Failed, str, bool]:
    """Return what most steps need. Local names of a closure are faster than attributes."""
    return completing(x, field, field.definition.type), field.failed, field.key, field.nullable


def _calling(x: Execution, field: Field, call: _Call) -> Step:
    """Return a step that calls a resolver. If the resolver returns an awaitable, the value is completed later."""
    complete, failed, key, nullable = _parts(x, field)
    opaque, plain = Opaque(field, complete), x.plan.plain_classes

    def step(record: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> Any:
        try:
            value = call(record, x)
            if value.__class__ not in plain and x.awaits(value):
                x.pending.append((opaque, value, out, place))
                return None
            return complete(value, x, (place, key, nullable))
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return step


def _calling_for_text(x: Execution, field: Field, resolve: Callable[..., Any]) -> Step:
    """Return a step that calls a resolver of the record alone, such as the resolver of a global id."""
    failed, completed = field.failed, _calling(x, field, lambda value, _: value)

    def step(record: Any, x: Execution, place: Place | None, out: dict[str, Any]) -> Any:
        try:
            value = resolve(record)
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)
        if value.__class__ is str:
            x.left -= len(value)
            return value
        return completed(value, x, place, out)

    return step


def _reading(x: Execution, field: Field, read: _Read) -> Step:
    """Return a step that reads the value from the record."""
    named = _named(field)
    if _is_text(field):
        return _reading_text(x, field, read)
    if isinstance(named, GraphQLEnumType) and (members := getattr(named, "wrapped_cls", None)) is not None:
        return _reading_mapped(x, field, read, members, _names_of(named).__getitem__)
    if (text := _TEXTS.get(named.name)) is not None:
        return _reading_mapped(x, field, read, text, named.coerce_output_value)
    complete, failed, key, nullable = _parts(x, field)

    def step(record: Any, x: Execution, place: Place | None, _out: dict[str, Any]) -> Any:
        try:
            value = read(record)
            if value is None and nullable:
                return None
            return complete(value, x, (place, key, nullable))
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return step


def _reading_text(x: Execution, field: Field, read: _Read) -> Step:
    complete, failed, key, nullable = _parts(x, field)

    def step(record: Any, x: Execution, place: Place | None, _out: dict[str, Any]) -> Any:
        try:
            value = read(record)
            if value.__class__ is str:
                x.left -= len(value)
                return value
            if value is None and nullable:
                return None
            return complete(value, x, (place, key, nullable))
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return step


def _reading_mapped(x: Execution, field: Field, read: _Read, expected: type, convert: _Read) -> Step:
    """Return a step that converts values of the class ``expected`` to texts. Other values get all checks."""
    complete, failed, key, nullable = _parts(x, field)

    def step(record: Any, x: Execution, place: Place | None, _out: dict[str, Any]) -> Any:
        try:
            value = read(record)
            if value.__class__ is expected:
                text = convert(value)
                x.left -= len(text)
                return text
            if value is None and nullable:
                return None
            return complete(value, x, (place, key, nullable))
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            return failed(error, x, place)

    return step


@cache
def _names_of(kind: Any) -> dict[Any, str]:
    """Return the names of an enum's values, by value."""
    return {one: kind.coerce_output_value(one) for one in kind.wrapped_cls}


def _named(field: Field) -> Any:
    """Return a field's type without non-null. A list is not a named type, and has no name."""
    kind: Any = field.definition.type
    named = kind.of_type if is_non_null_type(kind) else kind
    return named if hasattr(named, "name") else _LIST


class _List:
    name = ""


_LIST = _List()
