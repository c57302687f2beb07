"""The cost of an operation, before it runs (GraphQL Cost Directives, IBM).

The cost is the sum of the specification's type cost and field cost: every object counts 1, and every field counts its
weight for each object it is resolved on, with the weights of its arguments. Weights default to 1, for scalars too:
a hundred aliases of a scalar on a page of messages are ten thousand values. A document is compiled once, to a sum over
its variables; a request only evaluates that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    SelectionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from app.graphql.amounts import Amount, Program, Variables
from app.graphql.documents import Operation
from app.graphql.given import defaults, has_variable, inside, value_of
from clients.errors import QueryTooComplex
from schema.costs import Costs, FieldCost

MAX_STEPS = 10_000
"""How many selections are looked at: a document whose fragments multiply into more is refused."""

_MAX_FORMS = 8
"""How many forms of one operation are remembered: it has one for each combination of its conditions."""

_DEFAULT = FieldCost()


class _Form(NamedTuple):
    """An operation under some values of the variables of its conditions (``@skip``, ``@include``)."""

    conditions: dict[str, bool]
    program: Program
    amount: Amount


class CostModel:
    """What operations cost in one schema.

    Args:
        schema: the schema.
        costs: what its directives say.
        leaf_weight: the default weight of fields that return scalars and enums; the specification's is 0.
        longest: lists that arguments ask to be longer are refused by their fields, and count as so long.
    """

    def __init__(self, schema: GraphQLSchema, costs: Costs, *, leaf_weight: int = 1, longest: int = 100) -> None:
        self.schema = schema
        self.costs = costs
        self.leaf_weight = leaf_weight
        self.longest = longest
        self._inputs: dict[str, bool] = {}
        self._forms: WeakKeyDictionary[Operation, list[_Form]] = WeakKeyDictionary()

    def cost(self, operation: Operation, variables: Variables | None) -> int:
        """The most that an operation can cost under variables as they came.

        Raises:
            QueryTooComplex: reason ``COST``, where its fragments multiply into more than can be counted.
        """
        given = {**defaults(operation.node), **(variables or {})}
        forms = self._forms.setdefault(operation, [])
        for form in forms:
            if all(_truth(given.get(name)) is value for name, value in form.conditions.items()):
                return form.program.run(form.amount, given)
        form = _Compiler(self, operation, given).form()
        forms.insert(0, form)
        del forms[_MAX_FORMS:]
        return form.program.run(form.amount, given)

    def has_weights(self, kind: GraphQLInputObjectType) -> bool:
        """Whether any field of an input, or of an input within it, has a weight."""
        if kind.name not in self._inputs:
            self._inputs[kind.name] = False  # while it is looked at: an input can be within itself
            self._inputs[kind.name] = any(
                self.costs.get((kind.name, name), _DEFAULT).weight is not None or self._is_weighed(one.type)
                for name, one in kind.fields.items()
            )
        return self._inputs[kind.name]

    def _is_weighed(self, kind: Any) -> bool:
        named = get_named_type(kind)
        return isinstance(named, GraphQLInputObjectType) and self.has_weights(named)

    def of_value(self, kind: Any, value: Any, weight: int) -> int:
        """What a given value costs: the weight for each item of a list, and the weights of an input's fields."""
        if value is None or value is Undefined:
            return 0
        if isinstance(value, list | tuple):
            return sum(self.of_value(kind, one, weight) for one in value)
        named = get_named_type(kind)
        if not isinstance(named, GraphQLInputObjectType) or not isinstance(value, dict):
            return weight
        inside = ((name, one) for name, one in value.items() if name in named.fields)
        return weight + sum(
            self.of_value(named.fields[name].type, one, self.costs.get((named.name, name), _DEFAULT).weight or 0)
            for name, one in inside
        )


class _Sized(NamedTuple):
    """Lists within an object, whose length an argument of the object's own field says."""

    fields: frozenset[str]
    length: Amount


class _Compiler:
    """Compiles one operation, as fields are collected and merged for execution (GraphQL, 6.3.2)."""

    def __init__(self, model: CostModel, operation: Operation, variables: Variables) -> None:
        self._model = model
        self._operation = operation.node
        self._fragments = {
            node.name.value: node for node in operation.document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = variables
        self._program = Program()
        self._conditions: dict[str, bool] = {}
        self._known: dict[tuple[str, tuple[int, ...], _Sized | None], Amount] = {}
        self._steps = 0

    def form(self) -> _Form:
        root = self._model.schema.get_root_type(self._operation.operation)
        if root is None:
            raise TypeError("an operation of a kind that the schema does not have passed validation")
        amount = self._program.sum([1, self._selected(root, (self._operation.selection_set,), None)])
        return _Form(self._conditions, self._program, amount)

    def _selected(self, kind: GraphQLObjectType, sets: tuple[SelectionSetNode, ...], sized: _Sized | None) -> Amount:
        """The cost of what is selected of one object."""
        key = (kind.name, tuple(map(id, sets)), sized)
        if key not in self._known:
            fields = self._collected(kind, sets).values()
            self._known[key] = self._program.sum(self._field(kind, nodes, sized) for nodes in fields)
        return self._known[key]

    def _collected(self, kind: GraphQLObjectType, sets: tuple[SelectionSetNode, ...]) -> dict[str, list[FieldNode]]:
        """The fields that are asked of an object, those of one name in the answer together."""
        found: dict[str, list[FieldNode]] = {}
        seen: set[str] = set()
        waiting: list[SelectionNode] = [node for one in reversed(sets) for node in reversed(one.selections)]
        while waiting:
            node = waiting.pop()
            self._count()
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
                continue
            if isinstance(node, FragmentSpreadNode):
                if node.name.value in seen:
                    continue
                seen.add(node.name.value)
                node = self._fragments[node.name.value]  # type: ignore[assignment]
            if self._applies(kind, node):
                waiting.extend(reversed(node.selection_set.selections))  # type: ignore[attr-defined]
        return found

    def _count(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise QueryTooComplex(
                "The document's fragments and aliases multiply into more fields than can be counted: spread fewer of "
                "them, or ask in several operations.",
                reason="COST",
            )

    def _is_included(self, node: SelectionNode) -> bool:
        for directive in node.directives or ():
            if directive.name.value in {"skip", "include"}:
                [condition] = directive.arguments or ()
                if self._holds(condition.value) is (directive.name.value == "skip"):
                    return False
        return True

    def _holds(self, condition: ValueNode) -> bool:
        if not isinstance(condition, VariableNode):
            return bool(condition.value)  # type: ignore[attr-defined]
        name = condition.name.value
        return self._conditions.setdefault(name, _truth(self._variables.get(name)))

    def _applies(self, kind: GraphQLObjectType, node: Any) -> bool:
        if node.type_condition is None or node.type_condition.name.value == kind.name:
            return True
        wanted = self._model.schema.get_type(node.type_condition.name.value)
        return is_abstract_type(wanted) and self._model.schema.is_sub_type(wanted, kind)

    def _field(self, kind: GraphQLObjectType, nodes: list[FieldNode], sized: _Sized | None) -> Amount:
        """The cost of a field on one object, with all that is below it."""
        node, name = nodes[0], nodes[0].name.value
        if name.startswith("__"):
            return self._model.leaf_weight
        field, cost = kind.fields[name], self._model.costs.get((kind.name, name), _DEFAULT)
        named = get_named_type(field.type)
        default = self._model.leaf_weight if is_leaf_type(named) else 1
        once = [default if cost.weight is None else cost.weight, *self._arguments(field, node, cost)]
        if is_leaf_type(named):
            return self._program.sum(once)
        length = self._length(field, node, cost) if sized is None or name not in sized.fields else sized.length
        below = _Sized(cost.sized_fields, length) if cost.sized_fields else None
        sets = tuple(one.selection_set for one in nodes if one.selection_set is not None)
        each = self._program.sum([1, self._of_any(named, sets, below)])
        count = length if below is None and _is_list(field) else 1
        return self._program.sum([*once, self._program.product(count, each)])

    def _of_any(self, named: Any, sets: tuple[SelectionSetNode, ...], sized: _Sized | None) -> Amount:
        """The cost of what is selected of an object, of the costliest type that it can be of."""
        if isinstance(named, GraphQLObjectType):
            return self._selected(named, sets, sized)
        possible = named.types if isinstance(named, GraphQLUnionType) else self._model.schema.get_possible_types(named)
        return self._program.most({self._selected(one, sets, sized) for one in possible})

    def _arguments(self, field: GraphQLField, node: FieldNode, cost: FieldCost) -> Iterable[Amount]:
        for given in node.arguments or ():
            kind = field.args[given.name.value].type
            weight, named = cost.arguments.get(given.name.value, 0), get_named_type(kind)
            if not weight and not (isinstance(named, GraphQLInputObjectType) and self._model.has_weights(named)):
                continue
            yield self._computed([given.value], partial(self._of_argument, kind, weight))

    def _of_argument(self, kind: Any, weight: int, values: list[Any]) -> int:
        return self._model.of_value(kind, values[0], weight)

    def _length(self, field: GraphQLField, node: FieldNode, cost: FieldCost) -> Amount:
        """The most items that a list has, as the arguments say it."""
        names = cost.slicing if cost.sized_by is None else (cost.sized_by,)
        if not names:
            return 1 if cost.assumed_size is None else cost.assumed_size
        given = {one.name.value: one.value for one in node.arguments or ()}
        paths = [name.split(".") for name in names]
        defaults = [field.args[path[0]].default_value for path in paths]

        def length(values: list[Any]) -> int:
            asked = [default if value is Undefined else value for value, default in zip(values, defaults, strict=True)]
            found = [inside(value, path[1:]) for value, path in zip(asked, paths, strict=True)]
            if cost.sized_by is not None:
                sizes = [len(one) if isinstance(one, list | tuple) else int(one is not None) for one in found]
            else:
                sizes = [int(one) for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
            most = max(sizes, default=1 if cost.assumed_size is None else cost.assumed_size)
            return min(max(most, 0), self._model.longest)

        return self._computed([given.get(path[0]) for path in paths], length)

    def _computed(self, given: list[ValueNode | None], of: Callable[[list[Any]], int]) -> Amount:
        """A number of values that are given: at once, where none of them has a variable."""

        def read(variables: Variables) -> int:
            return of([Undefined if one is None else value_of(one, variables) for one in given])

        if any(one is not None and has_variable(one) for one in given):
            return self._program.of_variables(read)
        return read({})


def _is_list(field: GraphQLField) -> bool:
    return is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type)


def _truth(value: Any) -> bool:
    """A condition's variable. What is no Boolean is refused where variables are coerced."""
    return value is True
