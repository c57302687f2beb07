"""Compiles an operation to a program that computes the operation's cost from variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from graphql import (
    FieldNode,
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
from app.graphql.shape import fragments_of
from app.graphql.values import has_variable, value_at, value_of
from clients.codes import Reason
from clients.errors import QueryTooComplex

if TYPE_CHECKING:
    from app.graphql.cost import CostModel, Facts

MAX_STEPS = 10_000
"""Maximum number of selections in an operation, counted with all fragments expanded."""


class Form(NamedTuple):
    """A compiled program that computes an operation's cost for one set of ``@skip`` and ``@include`` values."""

    conditions: dict[str, bool]
    program: Program
    amount: Amount


class _Sized(NamedTuple):
    """The names of list fields whose length is an argument of the parent field (``sizedFields`` of ``@listSize``)."""

    fields: frozenset[str]
    length: Amount


class Compiler:
    """Compiles a program that computes one operation's cost.

    The compiler merges fields as an executor does (GraphQL, 6.3.2).
    """

    def __init__(self, model: CostModel, operation: Operation, variables: Variables) -> None:
        self._model = model
        self._operation = operation.node
        self._fragments = fragments_of(operation.document)
        self._variables = variables
        self._program = Program()
        self._conditions: dict[str, bool] = {}
        self._costs: dict[tuple[str, tuple[int, ...], _Sized | None], Amount] = {}
        self._names: dict[tuple[str, tuple[int, ...]], frozenset[str]] = {}
        self._steps = 0

    def form(self) -> Form:
        """Compile a program that computes the operation's cost.

        Raise QueryTooComplex if fragments expand to too many selections.
        """
        root = self._model.schema.get_root_type(self._operation.operation)
        if root is None:
            raise TypeError("an operation of a kind that the schema does not have passed validation")
        amount = self._program.sum([1, self._selected(root, (self._operation.selection_set,), None)])
        return Form(self._conditions, self._program, amount)

    def _selected(self, kind: GraphQLObjectType, sets: tuple[SelectionSetNode, ...], sized: _Sized | None) -> Amount:
        key = (kind.name, tuple(map(id, sets)), sized)
        if key not in self._costs:
            fields = self._collected(kind, sets).values()
            self._names[key[:2]] = frozenset(nodes[0].name.value for nodes in fields)
            self._costs[key] = self._program.sum(self._field(kind, nodes, sized) for nodes in fields)
        return self._costs[key]

    def _collected(self, kind: GraphQLObjectType, sets: tuple[SelectionSetNode, ...]) -> dict[str, list[FieldNode]]:
        found: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        pending: list[SelectionNode] = [node for one in reversed(sets) for node in reversed(one.selections)]
        while pending:
            node = pending.pop()
            self._count()
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
                continue
            if isinstance(node, FragmentSpreadNode):
                if node.name.value in visited:
                    continue
                visited.add(node.name.value)
                node = self._fragments[node.name.value]  # type: ignore[assignment]
            condition = node.type_condition  # type: ignore[attr-defined]
            if condition is None or self._applies(kind, condition.name.value):
                pending.extend(reversed(node.selection_set.selections))  # type: ignore[attr-defined]
        return found

    def _count(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise QueryTooComplex(
                "The document has too many fields after the expansion of fragments. Use fewer fragments and aliases, "
                "or use several operations.",
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
        named = self._model.schema.get_type(condition)
        return is_abstract_type(named) and self._model.schema.is_sub_type(named, kind)

    def _field(self, kind: GraphQLObjectType, nodes: list[FieldNode], sized: _Sized | None) -> Amount:
        node, name = nodes[0], nodes[0].name.value
        if name.startswith("__"):
            return self._model.leaf_weight
        facts = self._model.field(kind, name)
        arguments = self._arguments(facts, node) if node.arguments else ()
        if facts.is_leaf:
            return self._program.sum([facts.weight, *arguments])
        length = self._length(facts, node) if sized is None or name not in sized.fields else sized.length
        fields = facts.cost.sized_fields
        sets = tuple(one.selection_set for one in nodes if one.selection_set is not None)
        each = self._program.sum([1, self._of_any(facts.named, sets, _Sized(fields, length) if fields else None)])
        count = length if facts.is_list and not fields else 1
        weight = 1 if facts.cost.held and self._is_held(facts, sets) else facts.weight
        return self._program.sum([weight, *arguments, self._program.product(count, each)])

    def _is_held(self, facts: Facts, sets: tuple[SelectionSetNode, ...]) -> bool:
        """Return whether the field's parent holds all selected fields, so that the field makes no call."""
        return self._names[facts.named.name, tuple(map(id, sets))] <= facts.cost.held

    def _of_any(self, named: Any, sets: tuple[SelectionSetNode, ...], sized: _Sized | None) -> Amount:
        """Return the cost of selections on a type. For an interface or union, the costliest object type counts."""
        if isinstance(named, GraphQLObjectType):
            return self._selected(named, sets, sized)
        return self._program.most({self._selected(one, sets, sized) for one in self._distinct_types(named, sets)})

    def _distinct_types(self, named: Any, sets: tuple[SelectionSetNode, ...]) -> Iterable[GraphQLObjectType]:
        """Return the object types of an interface or union for which selections can have different costs.

        If several types have equal ``Facts`` for all selected fields, return one of these types.
        """
        conditions, names = self._selected_names(sets)
        found: dict[tuple[Any, ...], GraphQLObjectType] = {}
        for kind in self._model.schema.get_possible_types(named):
            applying = (self._applies(kind, condition) for condition in conditions)
            facts = (id(self._model.field(kind, name)) if name in kind.fields else None for name in names)
            found.setdefault((*applying, *facts), kind)
        return found.values()

    def _selected_names(self, sets: tuple[SelectionSetNode, ...]) -> tuple[set[str], set[str]]:
        conditions, names, visited = set[str](), set[str](), set[str]()
        pending: list[Any] = [node for one in sets for node in one.selections]
        while pending:
            node = pending.pop()
            self._count()
            if isinstance(node, FieldNode):
                names.add(node.name.value)
                continue
            if isinstance(node, FragmentSpreadNode):
                if node.name.value in visited:
                    continue
                visited.add(node.name.value)
                node = self._fragments[node.name.value]
            if node.type_condition is not None:
                conditions.add(node.type_condition.name.value)
            pending.extend(node.selection_set.selections)
        return conditions, names

    def _arguments(self, facts: Facts, node: FieldNode) -> Iterable[Amount]:
        for argument in node.arguments or ():
            kind = facts.arguments[argument.name.value].type
            weight, named = facts.cost.arguments.get(argument.name.value, 0), get_named_type(kind)
            if weight or (isinstance(named, GraphQLInputObjectType) and self._model.has_weights(named)):
                yield self._computed([argument.value], partial(_of_first, self._model, kind, weight))

    def _length(self, facts: Facts, node: FieldNode) -> Amount:
        cost, longest = facts.cost, self._model.longest
        names = cost.slicing if cost.sized_by is None else (cost.sized_by,)
        if not names:
            return 1 if cost.assumed_size is None else cost.assumed_size
        arguments = {one.name.value: one.value for one in node.arguments or ()}
        paths = [name.split(".") for name in names]
        defaults = [coerce_default_value(facts.arguments[path[0]]) for path in paths]

        def length(values: list[Any]) -> int:
            filled = [default if value is Undefined else value for value, default in zip(values, defaults, strict=True)]
            found = [value_at(value, path[1:]) for value, path in zip(filled, paths, strict=True)]
            if cost.sized_by is not None:
                sizes = [len(one) if isinstance(one, list | tuple) else int(one is not None) for one in found]
            else:
                sizes = [int(one) for one in found if isinstance(one, int | float) and not isinstance(one, bool)]
            most = max(sizes, default=1 if cost.assumed_size is None else cost.assumed_size)
            return min(max(most, 0), longest)

        return self._computed([arguments.get(path[0]) for path in paths], length)

    def _computed(self, nodes: list[ValueNode | None], of: Callable[[list[Any]], int]) -> Amount:
        """Return the number that ``of`` computes from arguments, or a step if an argument has a variable."""

        def read(variables: Variables) -> int:
            return of([Undefined if one is None else value_of(one, variables) for one in nodes])

        if any(one is not None and has_variable(one) for one in nodes):
            return self._program.of_variables(read)
        return read({})


def _of_first(model: CostModel, kind: Any, weight: int, values: list[Any]) -> int:
    return model.of_value(kind, values[0], weight)


def truth(value: Any) -> bool:
    """Return whether a variable in ``@skip`` or ``@include`` is ``True``.

    The value is not coerced yet. Coercion later refuses values that are not Boolean.
    """
    return value is True
