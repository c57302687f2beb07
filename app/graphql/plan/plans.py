"""Decides which operations have plans, and caches the plans."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from weakref import ref

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.collect_fields import collect_fields

from app.graphql.executor import Executor
from app.graphql.introspection import META_FIELDS
from app.graphql.plan.execution import Execution
from app.graphql.plan.fields import Field
from app.graphql.plan.generated import generated
from app.graphql.plan.objects import ObjectPlan, root_plan
from app.graphql.shape import fragments_of

if TYPE_CHECKING:
    from app.graphql.plan.values import Complete, ObjectKey

_MAX_PLANS = 4
"""Maximum number of plans of one operation. Each combination of ``@skip`` and ``@include`` values needs a plan."""

_WORTH_A_PLAN = 100
"""The cost from which an operation gets a plan when it is first executed.

The gateway plans a field in 10 to 25 µs of CPU time. graphql-core completes a value in 17 µs, and a plan in 1 µs. So
for few values, a plan saves CPU time only from the second execution.
"""

_MAX_FIELDS = 500
"""Maximum number of fields of an operation with a plan, with all fragments expanded.

The gateway makes a plan for so many fields in at most about 15 ms, in one iteration of the event loop.
"""

_GENERATED = 150
"""How many fields an execution completes in the time in which the function for one field is generated."""

_MOST_DONE = 2_000
"""How many fields an execution may have completed, since it last paused, when it generates a function.

A generated function counts as ``_GENERATED`` for each field. So an execution generates one function, or a few small
ones, and the next execution continues. Otherwise, the functions of a plan could block the event loop for 50 ms.
"""

MAX_PLANNED = 10_000
"""Maximum number of fields in all plans of the process. A field takes 1.5 KB of memory.

A field of a generated function counts as another field, and takes 1 KB.
"""


class Cache:
    """Counts the fields of the process's plans, and clears the least recently used plans.

    The cache has only weak references. A plan refers to the syntax nodes of its document, so the gateway frees a plan
    together with its ``Operation``. The gateway makes a cleared plan again if needed.

    Attributes:
        size: the number of fields in all plans.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[ref[Plan], int] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of plans that have fields."""
        return len(self._sizes)

    def use(self, plan: Plan) -> None:
        """Mark a plan as the most recently used one, if it has fields."""
        if plan.reference in self._sizes:
            self._sizes.move_to_end(plan.reference)

    def grow(self, plan: Plan, fields: int) -> None:
        """Count fields that were added to a plan. Clear the least recently used plans above ``MAX_PLANNED`` fields."""
        self._sizes[plan.reference] = self._sizes.get(plan.reference, 0) + fields
        self._sizes.move_to_end(plan.reference)
        self.size += fields
        while self.size > MAX_PLANNED and len(self._sizes) > 1:
            oldest, size = self._sizes.popitem(last=False)
            self.size -= size
            if (cleared := oldest()) is not None:
                cleared.clear()

    def remove(self, reference: ref[Plan]) -> None:
        """Remove a plan that no longer exists."""
        self.size -= self._sizes.pop(reference, 0)


CACHE = Cache()


def _remove(reference: ref[Plan]) -> None:
    CACHE.remove(reference)


class Plan:
    """A plan for one operation and one combination of ``@skip`` and ``@include`` values.

    The function for an object type and a selection set is made for the first object.

    Attributes:
        reference: the cache's reference to the plan.
        planned: the number of fields that were ever added to the plan.
        plain_classes: classes of resolvers' results that are not awaitable.
    """

    def __init__(self) -> None:
        self.reference = ref(self, _remove)
        self.planned = 0
        self.plain_classes: set[type] = {type(None)}
        self._objects: dict[ObjectKey, ObjectPlan] = {}
        self._root: Complete | None = None

    def grow(self, fields: int) -> None:
        """Count fields that were added to the plan."""
        self.planned += fields
        CACHE.grow(self, fields)

    def clear(self) -> None:
        """Remove the plan's functions. Executions in progress continue to use functions that they have begun to use."""
        self._root = None
        self._objects = {}

    def root(self, x: Execution) -> Complete:
        """Return the function that completes the operation's root fields."""
        if self._root is None:
            executor = x.executor
            kind = executor.schema.get_root_type(executor.operation.operation)
            if kind is None:
                raise TypeError("an operation of a kind that the schema does not have passed validation")
            selected = collect_fields(
                executor.schema, executor.fragments, executor.variable_values, kind, executor.operation
            )
            self._root = root_plan(x, kind, selected.grouped_field_set)
        return self._root

    def object(self, x: Execution, kind: GraphQLObjectType, field: Field) -> ObjectPlan:
        """Return what completes objects of a type with the selections of a field."""
        key = kind.name, tuple(map(id, field.nodes))  # the nodes live as long as the document
        found = self._objects.get(key)
        if found is None:
            found = self._objects[key] = ObjectPlan(x, kind, field, key)
        return found

    def generate(self, key: ObjectKey, x: Execution) -> bool:
        """Replace the function that completes objects by a generated one, if the plan was not cleared.

        Return ``False`` if a later object must try again, because the execution has already taken long.
        """
        if x.done > _MOST_DONE:
            return False
        plan = self._objects.get(key)
        if plan is not None and (function := generated(plan)) is not None:
            plan.complete = function.complete
            self.grow(function.fields)
            x.done += function.fields * _GENERATED
        return True


class _Survey:
    """Describes an operation's selections, including its fragments.

    Attributes:
        fields: the number of fields. A fragment's fields count for each spread, because a plan can have separate
            functions for each spread.
        conditions: the names of the variables in directives, such as ``@skip`` and ``@include``.
        has_inputs: whether the operation has directives, or arguments of fields below its root fields.
        is_plannable: whether the operation has neither fields nor fragments that only graphql-core executes.
    """

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self.conditions: set[str] = set()
        self.is_plannable = operation.operation is not OperationType.MUTATION
        self._fragments = fragments_of(document)
        self._spread: dict[str, int] = {}
        self._roots = operation.selection_set.selections
        self.has_inputs = False
        self.fields = self._of(operation.selection_set)

    def _of(self, selections: SelectionSetNode | None) -> int:
        """Return the number of fields in a selection set. Validation has limited its depth."""
        return sum(map(self._of_selection, selections.selections)) if selections else 0

    def _of_selection(self, node: SelectionNode) -> int:
        for directive in node.directives or ():
            self.has_inputs = True
            self.conditions |= {
                one.value.name.value for one in directive.arguments or () if isinstance(one.value, VariableNode)
            }
        if isinstance(node, FieldNode):
            self.is_plannable = self.is_plannable and node.name.value not in META_FIELDS
            if node.arguments and all(node is not root for root in self._roots):
                self.has_inputs = True
            return 1 + self._of(node.selection_set)
        if isinstance(node, FragmentSpreadNode):
            return self._of_fragment(node.name.value)
        return self._of(node.selection_set) if isinstance(node, InlineFragmentNode) else 0

    def _of_fragment(self, name: str) -> int:
        found = self._spread.get(name)
        if found is None:
            fragment = self._fragments[name]
            self.is_plannable = self.is_plannable and not fragment.variable_definitions
            found = self._spread[name] = self._of(fragment.selection_set)
        return found


class Plans:
    """The plans of one operation."""

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._document = document
        self._operation = operation
        self._survey: _Survey | None = None
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._uses = 0

    @property
    def has_inputs(self) -> bool:
        """Whether plans can read variables after the root fields were resolved. Call ``plan`` first."""
        return self._survey is None or self._survey.has_inputs

    def plan(self, executor: Executor, cost: int, *, at_once: bool) -> Plan | None:
        """Return the plan for an execution, or ``None`` if graphql-core must execute the operation.

        Args:
            executor: graphql-core's executor, with the coerced variables.
            cost: the operation's cost.
            at_once: whether to make the plan at the first execution, even if the cost is low.
        """
        self._uses += 1
        if self._uses == 1 and cost < _WORTH_A_PLAN and not at_once:
            return None
        survey = self._survey
        if survey is None:
            survey = self._survey = _Survey(self._document, self._operation)
        if not survey.is_plannable or survey.fields > _MAX_FIELDS or not executor.error_propagation:
            return None
        values = tuple(executor.variable_values.coerced.get(name) for name in sorted(survey.conditions))
        found = self._plans.get(values)
        if found is None and len(self._plans) < _MAX_PLANS and all(isinstance(value, bool) for value in values):
            found = self._plans[values] = Plan()
        if found is not None:
            CACHE.use(found)
        return found
