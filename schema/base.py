"""How types are bound to records and fields to resolvers; the shared directives.

A GraphQL type is never instantiated. Resolvers return records; ``reads`` declares the record classes of a type, and
abstract types are resolved by them. A field is either an attribute of the record or has one resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import EnumMeta
from types import MappingProxyType
from typing import Any, TypeVar

import strawberry
from strawberry import UNSET
from strawberry.schema_directive import Location

T = TypeVar("T", bound=type)

LEVELS = "The positions that the directive covers: 0 is the field itself, 1 the items of its list."
"""The description of the argument ``levels`` of ``@semanticNonNull``."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="semanticNonNull",
    description="The field is null only if an error with its path is in `errors`.",
)
class SemanticNonNull:
    levels: Sequence[int] = strawberry.field(default=(0,), graphql_type=list[int])


def reads(*records: type) -> Callable[[T], T]:
    """Bind a type to the record classes that it shows. A class decorator, applied below ``strawberry.type``."""

    def bind(cls: T) -> T:
        cls.records = records  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda obj, _info: type(obj) in records)  # type: ignore[attr-defined]
        return cls

    return bind


def entity(description: str) -> Callable[[T], T]:
    """Declare a node type that other subgraphs can refer to by id. Replaces ``strawberry.type``.

    The type is an Apollo Federation entity, which ``schema.node.resolve`` reads by its id.
    """
    return strawberry.federation.type(keys=["id"], description=description)


def answered_by(
    resolver: Callable[..., Any],
    description: str,
    *,
    optional: bool = False,
    levels: Sequence[int] = UNSET,
    arguments: Mapping[str, str] = MappingProxyType({}),
    costs: Sequence[object] = (),
    **more: Any,
) -> Any:
    """Declare a field that has a resolver.

    Args:
        resolver: returns the field's value.
        description: the field's description.
        optional: whether the value can be absent. Other fields have ``@semanticNonNull``.
        levels: the list depths of ``@semanticNonNull``.
        arguments: descriptions of the resolver's arguments, by Python name.
        costs: directives of ``schema.costs``.
        more: further arguments of ``strawberry.field``.
    """
    directives = [*([] if optional else [SemanticNonNull(levels=levels)]), *costs]
    field = strawberry.field(resolver=resolver, description=description, directives=directives, **more)
    return _explained(field, arguments)


def derived(
    resolver: Callable[..., Any],
    description: str,
    *,
    arguments: Mapping[str, str] = MappingProxyType({}),
    costs: Sequence[object] = (),
) -> Any:
    """Declare a non-null field that is computed from the record alone. For the arguments see ``answered_by``."""
    return _explained(strawberry.field(resolver=resolver, description=description, directives=costs), arguments)


def _explained(field: Any, arguments: Mapping[str, str]) -> Any:
    for argument in field.arguments:
        argument.description = arguments.get(argument.python_name, argument.description)
    return field


def described(description: str, *, costs: Sequence[object] = ()) -> Any:
    """Declare a field that is an attribute of the record, or a required field of an input."""
    return strawberry.field(description=description, directives=costs)


def optional(description: str, *, default: object = None, costs: Sequence[object] = ()) -> Any:
    """Declare a field of an input that need not be set."""
    return strawberry.field(default=default, description=description, directives=costs)


def enum(cls: EnumMeta, description: str, *, name: str | None = None, **values: str) -> None:
    """Add an enum to the schema, with a description for each value.

    Raises:
        TypeError: a value has no description, or a description no value.
    """
    if values.keys() != cls.__members__.keys():
        raise TypeError(f"{cls.__name__}: {sorted(values.keys() ^ cls.__members__.keys())}")
    strawberry.enum(cls, name=name, description=description)
    for value in cls.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values[value.name]
