"""What every type module uses: how a type is bound to its record, how a field is answered, the shared directives.

A GraphQL type is never instantiated for data. Resolvers return records; ``reads`` says which record class a type
shows, and abstract types choose by it. A field is an attribute of the record or *answered by* one resolver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from strawberry.schema_directive import Location

T = TypeVar("T", bound=type)


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="semanticNonNull",
    description="Null here means an error at this path, never the absence of a value.",
)
class SemanticNonNull:
    """Marks a nullable field that is null only where an error says why (semantic nullability)."""

    levels: list[int] = strawberry.field(default_factory=lambda: [0])


def reads(*records: type) -> Callable[[T], T]:
    """Class decorator, under ``strawberry.type``: the type shows records of exactly these classes."""

    def bind(cls: T) -> T:
        cls.records = records  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda obj, _info: type(obj) in records)  # type: ignore[attr-defined]
        return cls

    return bind


def answered_by(resolver: Callable[..., Any], description: str, *, optional: bool = False) -> Any:
    """A field that one resolver answers.

    ``optional`` fields can be null because there is nothing; the others carry ``@semanticNonNull``.
    """
    directives = [] if optional else [SemanticNonNull()]
    return strawberry.field(resolver=resolver, description=description, directives=directives)


def derived(resolver: Callable[..., Any], description: str) -> Any:
    """A non-null field computed from the record alone."""
    return strawberry.field(resolver=resolver, description=description)


def described(description: str) -> Any:
    """A field that is an attribute of the record."""
    return strawberry.field(description=description)
