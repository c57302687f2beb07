"""The static cost of fields: ``@cost`` and ``@listSize`` (IBM's GraphQL Cost Directives).

A value costs 1. An upstream call costs 50, because it takes about 50 times the CPU time of completing a value.
``docs/calls.md`` lists the upstream calls of each field.
"""

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
from schema.held import HELD

CALL = 50
"""The cost of one upstream call."""

SHARED = Cost(weight=2)
"""The cost of a field if one upstream call serves all objects of an operation."""

SIZED_BY = "sized_by"
"""The metadata key for an argument that has one item for each item of the field's list.

``@listSize`` cannot express such a size.
"""


DEFINITIONS = '''
"""
The static cost of resolving a field once, or of setting an argument. A field costs 1 by default.
"""
directive @cost(
  """The cost. A field costs 1 by default, and a call to a service costs 50."""
  weight: String!
) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR

"""The size of a list, for the static cost of operations."""
directive @listSize(
  """The size of the list if no slicing argument is set."""
  assumedSize: Int

  """Arguments that limit the size of the list. The largest value of these arguments is the size."""
  slicingArguments: [String!]

  """Fields of the returned object that are lists of this size. Default: the field itself is the list."""
  sizedFields: [String!]

  """Whether exactly one slicing argument must be set."""
  requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
'''
"""IBM's definitions of ``@cost`` and ``@listSize``. In Apollo's definitions, weights are numbers."""

_WEIGHT = re.compile(r"(?<=@cost\(weight: )\d+(?=\))")


def with_text_weights(sdl: str) -> str:
    """Return SDL with weights as strings, as in IBM's specification."""
    return _WEIGHT.sub(r'"\g<0>"', sdl)


def calls(number: int = 1) -> Cost:
    """Return the cost of a field that makes upstream calls for each object."""
    return Cost(weight=number * CALL)


def assumed(size: int) -> ListSize:
    """Return the assumed size of a list whose length no argument limits."""
    return ListSize(assumed_size=size, slicing_arguments=UNSET, sized_fields=UNSET, require_one_slicing_argument=UNSET)


def _paged(arguments: list[str], fields: list[str] | Any) -> ListSize:
    return ListSize(
        assumed_size=DEFAULT_PAGE, slicing_arguments=arguments, sized_fields=fields, require_one_slicing_argument=False
    )


PAGE = _paged(["first"], ["edges", "nodes"])
"""The ``@listSize`` of a connection that clients page only forwards."""

TWO_WAY_PAGE = _paged(["first", "last"], ["edges", "nodes"])
"""The ``@listSize`` of a connection that clients page forwards or backwards."""

LIMITED = _paged(["limit"], UNSET)
"""The ``@listSize`` of a list whose length is the argument ``limit``."""

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCost:
    """The static cost of a field, as its directives (``DEFINITIONS``) declare it.

    Attributes:
        weight: the field's ``@cost``, or ``None``.
        arguments: the ``@cost`` of arguments, by name.
        slicing: the arguments that give the list's length.
        sized_by: the argument whose length is the list's length.
        held: the fields of the object that the parent holds. A selection of these fields alone makes no call, and the
            field then costs 1.
    """

    weight: int | None = None
    arguments: Mapping[str, int] = field(default_factory=lambda: _NONE)
    assumed_size: int | None = None
    slicing: tuple[str, ...] = ()
    sized_fields: frozenset[str] = frozenset()
    sized_by: str | None = None
    held: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[object, ...]:
        """A hashable value that is equal for equal costs."""
        arguments = tuple(sorted(self.arguments.items()))
        return self.weight, arguments, self.assumed_size, self.slicing, self.sized_fields, self.sized_by, self.held


Costs = Mapping[tuple[str, str], FieldCost]
"""The costs of all fields, by type name and field name. Input fields have only a weight."""


@cache
def costs_of(schema: strawberry.Schema) -> Costs:
    """Return the costs that a schema's directives declare."""
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
    held = definition.metadata.get(HELD)
    named = {name: _weight(one.extensions["strawberry-definition"]) for name, one in arguments.items()}
    return FieldCost(
        weight=_weight(definition),
        arguments={name: weight for name, weight in named.items() if weight is not None},
        assumed_size=None if size is None else size.assumed_size,
        slicing=() if size is None else tuple(size.slicing_arguments or ()),
        sized_fields=frozenset() if size is None else frozenset(size.sized_fields or ()),
        sized_by=definition.metadata.get(SIZED_BY),
        held=frozenset() if held is None else held.fields,
    )


def _weight(definition: Any) -> int | None:
    return next((one.weight for one in definition.directives if isinstance(one, Cost)), None)
