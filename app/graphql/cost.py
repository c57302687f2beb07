"""Computes an operation's cost before execution (IBM's GraphQL Cost Directives specification).

The cost is the specification's type cost plus its field cost. Every object counts 1. Every field counts its weight and
its arguments' weights, for each object that has the field. Even a scalar has the default weight 1: 100 aliases of a
scalar on a page of 100 messages are 10,000 values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from app.graphql.arithmetic import Variables
from app.graphql.compiled import Compiler, Form, truth
from app.graphql.documents import Operation
from app.graphql.values import defaults
from schema.costs import Costs, FieldCost

_MAX_FORMS = 4
"""Maximum number of cached programs that compute one operation's cost.

Each combination of ``@skip`` and ``@include`` values needs its own program.
"""

_DEFAULT = FieldCost()


class Facts(NamedTuple):
    """A field's weight, type and arguments, from which the field's cost is computed.

    Fields with equal facts share one object.
    """

    weight: int
    cost: FieldCost
    named: Any
    is_leaf: bool
    is_list: bool
    arguments: Mapping[str, GraphQLArgument]


class CostModel:
    """Computes the costs of one schema's operations.

    Args:
        costs: the weights and sizes in the schema's directives.
        leaf_weight: the default weight of fields that return scalars and enums. The specification's default is 0.
        longest: the maximum assumed length of a list. Fields refuse arguments that request more items.
    """

    def __init__(self, schema: GraphQLSchema, costs: Costs, *, leaf_weight: int = 1, longest: int = 100) -> None:
        self.schema = schema
        self.costs = costs
        self.leaf_weight = leaf_weight
        self.longest = longest
        self._inputs: dict[str, bool] = {}
        self._fields: dict[tuple[str, str], Facts] = {}
        self._facts: dict[tuple[Any, ...], Facts] = {}
        self._fixed: WeakKeyDictionary[Operation, int] = WeakKeyDictionary()
        self._forms: WeakKeyDictionary[Operation, list[Form]] = WeakKeyDictionary()

    def cost(self, operation: Operation, variables: Variables | None) -> int:
        """Return an operation's maximum cost. ``variables`` contains the values before coercion.

        Raise QueryTooComplex if fragments expand to too many selections.
        """
        fixed = self._fixed.get(operation)
        if fixed is not None:
            return fixed
        values = {**defaults(operation.node), **(variables or {})}
        forms = self._forms.setdefault(operation, [])
        for form in forms:
            if all(truth(values.get(name)) is value for name, value in form.conditions.items()):
                return form.program.run(form.amount, values)
        form = Compiler(self, operation, values).form()
        if isinstance(form.amount, int) and not form.conditions:
            self._fixed[operation] = form.amount
            return form.amount
        forms.insert(0, form)
        del forms[_MAX_FORMS:]
        return form.program.run(form.amount, values)

    def field(self, kind: GraphQLObjectType, name: str) -> Facts:
        """Return the weight, type and arguments of an object type's field."""
        facts = self._fields.get((kind.name, name))
        if facts is None:
            field, cost = kind.fields[name], self.costs.get((kind.name, name), _DEFAULT)
            named = get_named_type(field.type)
            default = self.leaf_weight if is_leaf_type(named) else 1
            weight = default if cost.weight is None else cost.weight
            key = (cost.key, named.name, _is_list(field), *field.args)
            made = Facts(weight, cost, named, is_leaf_type(named), _is_list(field), field.args)
            facts = self._fields[kind.name, name] = self._facts.setdefault(key, made)
        return facts

    def has_weights(self, kind: GraphQLInputObjectType) -> bool:
        """Return whether at least one field of an input type has a weight. The search includes nested input types."""
        if kind.name not in self._inputs:
            self._inputs[kind.name] = False  # an input type can contain itself
            self._inputs[kind.name] = any(
                self.costs.get((kind.name, name), _DEFAULT).weight is not None or self._is_weighed(one.type)
                for name, one in kind.fields.items()
            )
        return self._inputs[kind.name]

    def _is_weighed(self, kind: Any) -> bool:
        named = get_named_type(kind)
        return isinstance(named, GraphQLInputObjectType) and self.has_weights(named)

    def of_value(self, kind: Any, value: Any, weight: int) -> int:
        """Return the cost of an argument's value. List items and input fields are included."""
        if value is None or value is Undefined:
            return 0
        named = get_named_type(kind)
        if isinstance(value, list | tuple):
            if not self._is_weighed(named):
                return weight * len(value)
            return sum(self.of_value(kind, one, weight) for one in value)
        if not isinstance(named, GraphQLInputObjectType) or not isinstance(value, dict):
            return weight
        return weight + sum(
            self.of_value(named.fields[name].type, one, self.costs.get((named.name, name), _DEFAULT).weight or 0)
            for name, one in value.items()
            if name in named.fields
        )


def _is_list(field: GraphQLField) -> bool:
    return is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type)
