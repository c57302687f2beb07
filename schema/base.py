"""What every type module uses: how a type is bound to its record, how a field is answered, the shared directives.

A GraphQL type is never instantiated for data. Resolvers return records; ``reads`` says which record class a type
shows, and abstract types choose by it. A field is an attribute of the record or *answered by* one resolver.
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

LEVELS = "Where: 0 is the field itself, 1 the items of its list."
"""What ``levels`` of ``@semanticNonNull`` means."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="semanticNonNull",
    description="Null here means an error at this path, never the absence of a value.",
)
class SemanticNonNull:
    """Marks a nullable field that is null only where an error says why (semantic nullability)."""

    levels: Sequence[int] = strawberry.field(default=(0,), graphql_type=list[int])


def reads(*records: type) -> Callable[[T], T]:
    """Class decorator, under ``strawberry.type``: the type shows records of exactly these classes."""

    def bind(cls: T) -> T:
        cls.records = records  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda obj, _info: type(obj) in records)  # type: ignore[attr-defined]
        return cls

    return bind


def entity(description: str) -> Callable[[T], T]:
    """Class decorator in ``strawberry.type``'s place, for a node: another subgraph can refer to it by its id alone.

    Whatever has this is an entity of Apollo Federation, and ``schema.node.resolve`` can read it again.
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
    """A field that one resolver answers.

    ``optional`` fields can be null because there is nothing; the others carry ``@semanticNonNull``, for the field
    itself or, at other ``levels``, for the items of its list. ``arguments`` describes those of a resolver that lives
    in ``resolvers``. ``costs`` are directives of ``schema.costs``; ``more`` goes to ``strawberry.field``.
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
    """A non-null field computed from the record alone. ``arguments`` and ``costs`` are as in ``answered_by``."""
    return _explained(strawberry.field(resolver=resolver, description=description, directives=costs), arguments)


def _explained(field: Any, arguments: Mapping[str, str]) -> Any:
    for argument in field.arguments:
        argument.description = arguments.get(argument.python_name, argument.description)
    return field


def described(description: str, *, costs: Sequence[object] = ()) -> Any:
    """A field that is an attribute of the record. ``costs`` is as in ``answered_by``."""
    return strawberry.field(description=description, directives=costs)


def enum(cls: EnumMeta, description: str, *, name: str | None = None, **values: str) -> None:
    """Show an enum in the graph, with a description for each of its values, by their names.

    Raises:
        TypeError: where a value has none, or there is no such value.
    """
    if values.keys() != cls.__members__.keys():
        raise TypeError(f"{cls.__name__}: {sorted(values.keys() ^ cls.__members__.keys())}")
    strawberry.enum(cls, name=name, description=description)
    for value in cls.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values[value.name]
