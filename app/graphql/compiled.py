"""The compiler of costs: one operation, to a sum over its variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputObjectType,
    GraphQLObjectType,
    SelectionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
)
from graphql.utilities.coerce_input_value import coerce_default_value

from app.graphql.arithmetic import Amount, Program, Variables
from app.graphql.documents import Operation
from app.graphql.values import has_variable, inside, value_of
from clients.codes import Reason
from clients.errors import QueryTooComplex

if TYPE_CHECKING:
    from app.graphql.cost import CostModel, Facts

MAX_STEPS = 10_000
"""How many selections are looked at: a document whose fragments multiply into more is refused."""


class Form(NamedTuple):
    """An operation under some values of the variables of its conditions (``@skip``, ``@include``)."""

    conditions: dict[str, bool]
    program: Program
    amount: Amount


class _Sized(NamedTuple):
    """Lists within an object, whose length an argument of the object's own field says."""

    fields: frozenset[str]
    length: Amount


class Compiler:
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

    def form(self) -> Form:
        """The operation under the conditions that hold. Raises QueryTooComplex where it cannot be counted."""
        root = self._model.schema.get_root_type(self._operation.operation)
        if root is None:
            raise TypeError("an operation of a kind that the schema does not have passed validation")
        amount = self._program.sum([1, self._selected(root, (self._operation.selection_set,), None)])
        return Form(self._conditions, self._program, amount)

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
            condition = node.type_condition  # type: ignore[attr-defined]
            if condition is None or self._applies(kind, condition.name.value):
                waiting.extend(reversed(node.selection_set.selections))  # type: ignore[attr-defined]
        return found

    def _count(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise QueryTooComplex(
                "The document's fragments and aliases multiply into too many fields to compute its cost. Use fewer of "
                "them, or use several operations.",
                reason=Reason.COST,
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
        return self._conditions.setdefault(name, truth(self._variables.get(name)))

    def _applies(self, kind: GraphQLObjectType, condition: str) -> bool:
        if condition == kind.name:
            return True
        wanted = self._model.schema.get_type(condition)
        return is_abstract_type(wanted) and self._model.schema.is_sub_type(wanted, kind)

    def _field(self, kind: GraphQLObjectType, nodes: list[FieldNode], sized: _Sized | None) -> Amount:
        """The cost of a field on one object, with all that is below it."""
        node, name = nodes[0], nodes[0].name.value
        if name.startswith("__"):
            return self._model.leaf_weight
        facts = self._model.field(kind, name)
        once = [facts.weight, *self._arguments(facts, node)] if node.arguments else [facts.weight]
        if facts.is_leaf:
            return self._program.sum(once)
        length = self._length(facts, node) if sized is None or name not in sized.fields else sized.length
        fields = facts.cost.sized_fields
        sets = tuple(one.selection_set for one in nodes if one.selection_set is not None)
        each = self._program.sum([1, self._of_any(facts.named, sets, _Sized(fields, length) if fields else None)])
        count = length if facts.is_list and not fields else 1
        return self._program.sum([*once, self._program.product(count, each)])

    def _of_any(self, named: Any, sets: tuple[SelectionSetNode, ...], sized: _Sized | None) -> Amount:
        """The cost of what is selected of an object, of the costliest type that it can be of."""
        if isinstance(named, GraphQLObjectType):
            return self._selected(named, sets, sized)
        return self._program.most({self._selected(one, sets, sized) for one in self._unlike(named, sets)})

    def _unlike(self, named: Any, sets: tuple[SelectionSetNode, ...]) -> Iterable[GraphQLObjectType]:
        """Of the types that something abstract can be of, one for each cost: many have the same fields, inherited."""
        conditions, names = self._asked(sets)
        found: dict[tuple[Any, ...], GraphQLObjectType] = {}
        for kind in self._model.schema.get_possible_types(named):
            applying = (self._applies(kind, condition) for condition in conditions)
            facts = (id(self._model.field(kind, name)) if name in kind.fields else None for name in names)
            found.setdefault((*applying, *facts), kind)
        return found.values()

    def _asked(self, sets: tuple[SelectionSetNode, ...]) -> tuple[set[str], set[str]]:
        """The type conditions and the fields that selections of an object name."""
        conditions, names, seen = set[str](), set[str](), set[str]()
        waiting: list[Any] = [node for one in sets for node in one.selections]
        while waiting:
            node = waiting.pop()
            self._count()
            if isinstance(node, FieldNode):
                names.add(node.name.value)
                continue
            if isinstance(node, FragmentSpreadNode):
                if node.name.value in seen:
                    continue
                seen.add(node.name.value)
                node = self._fragments[node.name.value]
            if node.type_condition is not None:
                conditions.add(node.type_condition.name.value)
            waiting.extend(node.selection_set.selections)
        return conditions, names

    def _arguments(self, facts: Facts, node: FieldNode) -> Iterable[Amount]:
        for given in node.arguments or ():
            kind = facts.arguments[given.name.value].type
            weight, named = facts.cost.arguments.get(given.name.value, 0), get_named_type(kind)
            if weight or (isinstance(named, GraphQLInputObjectType) and self._model.has_weights(named)):
                yield self._computed([given.value], partial(_of_first, self._model, kind, weight))

    def _length(self, facts: Facts, node: FieldNode) -> Amount:
        """The most items that a list has, as the arguments say it."""
        cost, longest = facts.cost, self._model.longest
        names = cost.slicing if cost.sized_by is None else (cost.sized_by,)
        if not names:
            return 1 if cost.assumed_size is None else cost.assumed_size
        given = {one.name.value: one.value for one in node.arguments or ()}
        paths = [name.split(".") for name in names]
        defaults = [coerce_default_value(facts.arguments[path[0]]) for path in paths]

        def length(values: list[Any]) -> int:
            asked = [default if value is Undefined else value for value, default in zip(values, defaults, strict=True)]
            found = [inside(value, path[1:]) for value, path in zip(asked, paths, strict=True)]
            if cost.sized_by is not None:
                sizes = [len(one) if isinstance(one, list | tuple) else int(one is not None) for one in found]
            else:
                sizes = [int(one) for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
            most = max(sizes, default=1 if cost.assumed_size is None else cost.assumed_size)
            return min(max(most, 0), longest)

        return self._computed([given.get(path[0]) for path in paths], length)

    def _computed(self, given: list[ValueNode | None], of: Callable[[list[Any]], int]) -> Amount:
        """A number of values that are given: at once, where none of them has a variable."""

        def read(variables: Variables) -> int:
            return of([Undefined if one is None else value_of(one, variables) for one in given])

        if any(one is not None and has_variable(one) for one in given):
            return self._program.of_variables(read)
        return read({})


def _of_first(model: CostModel, kind: Any, weight: int, values: list[Any]) -> int:
    return model.of_value(kind, values[0], weight)


def truth(value: Any) -> bool:
    """A condition's variable. What is no Boolean is refused where variables are coerced."""
    return value is True
