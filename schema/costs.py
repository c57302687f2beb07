"""What fields cost: the weights of ``@cost`` and the sizes of ``@listSize`` (GraphQL Cost Directives, IBM).

A value weighs 1, so a weight is in values: completing one takes about a fiftieth of the CPU of a call upstream.
``docs/calls.md`` has the calls that each field makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import strawberry
from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType
from strawberry import UNSET
from strawberry.federation.schema_directives import Cost, ListSize

from resolvers.paging import DEFAULT_PAGE

CALL = 50
"""The weight of a call upstream that is made for each object."""

SHARED = Cost(weight=2)
"""Of a field whose call is made once for all the objects of an operation."""

SIZED_BY = "sized_by"
"""Metadata of a field: the argument whose length is the size of its list. ``@listSize`` has no word for that."""


DEFINITIONS = '''
"""
What resolving a field once, or giving an argument, adds to the cost of an operation: 1 for a field without it.
"""
directive @cost(
  """How much. A value weighs 1, a call to a service behind the gateway 50."""
  weight: String!
) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR

"""How long a list is taken to be before it is read."""
directive @listSize(
  """Its length, where no argument says it."""
  assumedSize: Int

  """The arguments that say it; the largest of them."""
  slicingArguments: [String!]

  """Where the field answers an object that has the list: the fields of that object that are it."""
  sizedFields: [String!]

  """Whether exactly one of the arguments must be given."""
  requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
'''
"""As IBM's specification defines them. Apollo's weights are numbers, and composers have its definitions."""

_WEIGHT = re.compile(r"(?<=@cost\(weight: )\d+(?=\))")


def with_text_weights(sdl: str) -> str:
    """SDL whose weights are text, as IBM's specification has them."""
    return _WEIGHT.sub(r'"\g<0>"', sdl)


def calls(number: int = 1) -> Cost:
    """The weight of so many calls upstream for each object."""
    return Cost(weight=number * CALL)


def assumed(size: int) -> ListSize:
    """A list that has about so many items, where no argument says how many."""
    return ListSize(assumed_size=size, slicing_arguments=UNSET, sized_fields=UNSET, require_one_slicing_argument=UNSET)


def _paged(arguments: list[str], fields: list[str] | Any) -> ListSize:
    return ListSize(
        assumed_size=DEFAULT_PAGE,
        slicing_arguments=arguments,
        sized_fields=fields,
        require_one_slicing_argument=False,
    )


PAGE = _paged(["first"], ["edges", "nodes"])
"""A connection that is paged forwards."""

TWO_WAY_PAGE = _paged(["first", "last"], ["edges", "nodes"])
"""A connection that is paged both ways."""

LIMITED = _paged(["limit"], UNSET)
"""A list whose length ``limit`` says."""

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCost:
    """What a field costs.

    Attributes:
        weight: of resolving it once; ``None`` for the default.
        arguments: the weights of its arguments, by name.
        assumed_size: how many items its list has where no argument says.
        slicing: arguments that say how many.
        sized_fields: fields of the object it returns that have the list; empty where it is the list.
        sized_by: the argument whose length is the list's.
    """

    weight: int | None = None
    arguments: Mapping[str, int] = field(default_factory=lambda: _NONE)
    assumed_size: int | None = None
    slicing: tuple[str, ...] = ()
    sized_fields: frozenset[str] = frozenset()
    sized_by: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same costs."""
        arguments = tuple(sorted(self.arguments.items()))
        return self.weight, arguments, self.assumed_size, self.slicing, self.sized_fields, self.sized_by


Costs = Mapping[tuple[str, str], FieldCost]
"""By type and field; an input's fields have weights alone."""


@cache
def costs_of(schema: strawberry.Schema) -> Costs:
    """What the directives of a schema say."""
    return dict(_costs(schema))


def _costs(schema: strawberry.Schema) -> Iterator[tuple[tuple[str, str], FieldCost]]:
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, given in kind.fields.items():
                definition = given.extensions.get("strawberry-definition")
                if definition is not None:
                    yield (kind.name, name), _cost_of(definition, getattr(given, "args", {}))


def _cost_of(definition: Any, arguments: Mapping[str, Any]) -> FieldCost:
    size = next((one for one in definition.directives if isinstance(one, ListSize)), None)
    named = {name: _weight(one.extensions["strawberry-definition"]) for name, one in arguments.items()}
    return FieldCost(
        weight=_weight(definition),
        arguments={name: weight for name, weight in named.items() if weight is not None},
        assumed_size=None if size is None else size.assumed_size,
        slicing=() if size is None else tuple(size.slicing_arguments or ()),
        sized_fields=frozenset() if size is None else frozenset(size.sized_fields or ()),
        sized_by=definition.metadata.get(SIZED_BY),
    )


def _weight(definition: Any) -> int | None:
    return next((one.weight for one in definition.directives if isinstance(one, Cost)), None)
