"""What every type module uses: how a type is bound to its record, how a field is answered, the shared directives.

A GraphQL type is never instantiated for data. Resolvers return records; ``reads`` says which record class a type
shows, and abstract types choose by it. A field is an attribute of the record or *answered by* one resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def entity(description: str) -> Callable[[T], T]:
    """Class decorator in ``strawberry.type``'s place, for a node: another subgraph can refer to it by its id alone.

    Whatever has this is an entity of Apollo Federation, and ``schema.node.resolve`` can read it again.
    """
    return strawberry.federation.type(keys=["id"], description=description)


def answered_by(
    resolver: Callable[..., Any], description: str, *, optional: bool = False, levels: Sequence[int] = (0,)
) -> Any:
    """A field that one resolver answers.

    ``optional`` fields can be null because there is nothing; the others carry ``@semanticNonNull``, for the field
    itself or, at other ``levels``, for the items of its list.
    """
    directives = [] if optional else [SemanticNonNull(levels=list(levels))]
    return strawberry.field(resolver=resolver, description=description, directives=directives)


def derived(resolver: Callable[..., Any], description: str) -> Any:
    """A non-null field computed from the record alone."""
    return strawberry.field(resolver=resolver, description=description)


def described(description: str) -> Any:
    """A field that is an attribute of the record."""
    return strawberry.field(description=description)
