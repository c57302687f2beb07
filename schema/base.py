"""Functions that declare GraphQL types, fields and enums, and the directive ``@semanticNonNull``.

Resolvers return records, and never instances of GraphQL types. A type declares its record classes. A field is an
attribute of the record, or has one resolver.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import EnumMeta
from types import MappingProxyType
from typing import Any, TypeVar

import strawberry
from strawberry import UNSET
from strawberry.schema_directive import Location

from schema.access import SIGNED_IN, Access
from schema.held import HELD, Held

T = TypeVar("T", bound=type)

LEVELS = "The list depths that the directive covers: 0 is the field itself, 1 is each item of its list."
"""The description of the argument ``levels`` of ``@semanticNonNull``."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="semanticNonNull",
    description="The field is null only if `errors` has an error with the field's path.",
)
class SemanticNonNull:
    levels: Sequence[int] = strawberry.field(default=(0,), graphql_type=list[int])


@dataclass(frozen=True, slots=True)
class OfClass:
    """An ``is_type_of`` that depends only on a class. An executor can read which classes belong to a type.

    Attributes:
        classes: the classes that belong to the type.
        attribute: the value's attribute whose class counts. If ``None``, the value's own class counts.
    """

    classes: tuple[type, ...]
    attribute: str | None = None

    def __call__(self, value: object, _info: object) -> bool:
        """Return whether a value is of the type."""
        return type(value if self.attribute is None else getattr(value, self.attribute)) in self.classes


def reads(*records: type) -> Callable[[T], T]:
    """Return a class decorator that sets which record classes a GraphQL type represents.

    The decorator goes below ``strawberry.type``.
    """

    def bind(cls: T) -> T:
        cls.records = records  # type: ignore[attr-defined]
        cls.is_type_of = OfClass(records)  # type: ignore[attr-defined]
        return cls

    return bind


def object_type(description: str, *, name: str | None = None, access: Access = SIGNED_IN) -> Callable[[T], T]:
    """Declare an object type whose fields need ``access``. Use this instead of ``strawberry.type``."""
    return lambda cls: strawberry.type(cls, name=name, description=description, directives=[access])


def shows(description: str, *records: type, name: str | None = None, access: Access = SIGNED_IN) -> Callable[[T], T]:
    """Declare an object type that represents the given record classes. Use this instead of ``strawberry.type``."""
    return lambda cls: object_type(description, name=name, access=access)(reads(*records)(cls))


def entity(description: str, *records: type, access: Access = SIGNED_IN) -> Callable[[T], T]:
    """Declare an Apollo Federation entity that represents the given record classes.

    ``schema.node.resolve`` reads an entity by its id.
    """
    return lambda cls: strawberry.federation.type(
        reads(*records)(cls), keys=["id"], description=description, directives=[access]
    )


def answered_by(
    resolver: Callable[..., Any],
    description: str,
    *,
    optional: bool = False,
    levels: Sequence[int] = UNSET,
    arguments: Mapping[str, str] = MappingProxyType({}),
    costs: Sequence[object] = (),
    access: Access | None = None,
    held: Held[Any, Any] | None = None,
    metadata: Mapping[Any, Any] = MappingProxyType({}),
    **more: Any,
) -> Any:
    """Declare a field that has a resolver.

    Args:
        resolver: returns the field's value.
        description: the field's description.
        optional: whether the value can be absent. If not, the field has ``@semanticNonNull``.
        levels: the list depths of ``@semanticNonNull``.
        arguments: descriptions of the resolver's arguments, by Python name.
        costs: directives of ``schema.costs``.
        access: who may read the field. Required for a root field. Other fields have the rule of their type, and
            ``access`` adds a rule.
        held: what the parent holds of the object that the field returns.
        metadata: data about the field for other modules.
        more: further arguments of ``strawberry.field``.
    """
    directives = [*_rules(access), *([] if optional else [SemanticNonNull(levels=levels)]), *costs]
    data = {**metadata, HELD: held} if held else metadata
    field = strawberry.field(resolver=resolver, description=description, directives=directives, metadata=data, **more)
    return _explained(field, arguments)


def derived(
    resolver: Callable[..., Any],
    description: str,
    *,
    arguments: Mapping[str, str] = MappingProxyType({}),
    costs: Sequence[object] = (),
    access: Access | None = None,
) -> Any:
    """Declare a field with a resolver and without ``@semanticNonNull``. For the arguments see ``answered_by``."""
    directives = [*_rules(access), *costs]
    return _explained(strawberry.field(resolver=resolver, description=description, directives=directives), arguments)


def _rules(access: Access | None) -> Sequence[object]:
    return () if access is None else (access,)


def _explained(field: Any, arguments: Mapping[str, str]) -> Any:
    for argument in field.arguments:
        argument.description = arguments.get(argument.python_name, argument.description)
    return field


def described(description: str, *, costs: Sequence[object] = ()) -> Any:
    """Declare a field that is a record's attribute, or a required input field."""
    return strawberry.field(description=description, directives=costs)


def optional(description: str, *, default: object = None, costs: Sequence[object] = ()) -> Any:
    """Declare an optional input field."""
    return strawberry.field(default=default, description=description, directives=costs)


def enum(cls: EnumMeta, description: str, *, name: str | None = None, **values: str) -> None:
    """Declare an enum, with a description for each value.

    Raises:
        TypeError: a value has no description, or a description has no value.
    """
    if values.keys() != cls.__members__.keys():
        raise TypeError(f"{cls.__name__}: {sorted(values.keys() ^ cls.__members__.keys())}")
    strawberry.enum(cls, name=name, description=description)
    for value in cls.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values[value.name]
