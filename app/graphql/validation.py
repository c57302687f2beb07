"""Validation by graphql-core's own rules, in time that is linear in the document.

The rules and their messages are the library's; how they are run is not:

- each node is shown only to the rules for its kind, and names to none;
- uses of variables are noted on the way, where three rules would each walk the document again;
- errors that cost more than linear time (suggestions, printed literals) are bounded in number;
- the rule that compares fields pair by pair is left to ``app.graphql.merging``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    KnownTypeNamesRule,
    NamedTypeNode,
    NoUndefinedVariablesRule,
    NoUnusedVariablesRule,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    TypeInfo,
    UniqueDirectivesPerLocationRule,
    ValidationContext,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VariableDefinitionNode,
    VariableNode,
    VariablesInAllowedPositionRule,
    Visitor,
    VisitorAction,
    specified_rules,
)
from graphql.language.ast import QUERY_DOCUMENT_KEYS
from graphql.language.visitor import EnterLeaveVisitor
from graphql.utilities.validate_input_value import validate_input_literal
from graphql.validation.validate import ValidationAbortedError
from graphql.validation.validation_context import VariableUsage

from app.graphql.walk import Walk

MAX_ERRORS = 20
"""How many mistakes of one document are reported."""

_MAX_SEARCHED, _CHARS_PER_LINE = 250_000, 50
"""Each error looks for its line from the document's start on. In this many characters, all told: a line costs as much
as 50 of them."""

_MAX_SUGGESTIONS = 5
"""How many errors can have a "Did you mean": each compares a name with many others."""

_MAX_NEAR = 12
"""With how many names of types an unknown name of a type is compared."""

_MAX_ERRORS_OF_A_VALUE = 3
_LONG_VALUE = 2_000
"""Every error of a literal prints it. One that is longer than this, in characters, gets one error."""

_MAX_FRAGMENT_WORK = 10_000
"""Steps through fragments that several operations share. graphql-core would take 50,000."""

_NOTHING = EnterLeaveVisitor(None, None)


def invalid(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    """Find what is wrong with a document, but for fields that cannot be merged (see ``app.graphql.merging``).

    Args:
        schema: what the document asks of.
        document: it, parsed; its fragments nested less deeply than Python can follow.

    Returns:
        At most ``most_errors`` errors, and one more that says that there would be others.
    """
    errors: list[GraphQLError] = []
    types = TypeInfo(schema)
    context = _Context(schema, document, types, errors)
    rules = [rule(context) for rule in _RULES]
    try:
        Walk(types, errors, [*rules, _Usages(context, types)]).walk(document)
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                _check_variables(context, definition)
    except ValidationAbortedError as error:
        error.__context__ = None
        errors.append(error.with_traceback(None))
    return errors


def most_errors(document: DocumentNode) -> int:
    """How many mistakes of a document are reported: fewer of a long one, at least one."""
    end = document.loc.end_token if document.loc else None
    searched = end.end + end.line * _CHARS_PER_LINE if end else 0
    return max(1, min(MAX_ERRORS, _MAX_SEARCHED // max(1, searched)))


def _check_variables(context: _Context, operation: OperationDefinitionNode) -> None:
    """Check each way in which a variable is used once; where one is wrong, each use, for its errors."""
    errors = len(context.errors)
    uses = context.get_recursive_variable_usages(operation)
    ways = {(use.node.name.value, id(use.type), id(use.parent_type), id(use.default_value)): use for use in uses}
    context.all_usages[id(operation)] = list(ways.values())
    _run_variable_rules(context, operation)
    if len(context.errors) > errors and len(ways) < len(uses):
        del context.errors[errors:]
        context.all_usages[id(operation)] = uses
        _run_variable_rules(context, operation)


def _run_variable_rules(context: _Context, operation: OperationDefinitionNode) -> None:
    NoUndefinedVariablesRule(context).enter_operation_definition(operation)
    NoUnusedVariablesRule(context).enter_operation_definition(operation)
    positions = VariablesInAllowedPositionRule(context)
    positions.enter_operation_definition(operation)
    positions.leave_operation_definition(operation)


class _Context(ValidationContext):
    """What the rules share. Whatever the library remembers by a node's value, this remembers by its identity."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, types: TypeInfo, errors: list[GraphQLError]
    ) -> None:
        super().__init__(schema, document, types, self._report)
        self._remaining_fragment_work = _MAX_FRAGMENT_WORK
        self._most = most_errors(document)
        self.errors = errors
        self._spreads: dict[int, list[FragmentSpreadNode]] = {}
        self.all_usages: dict[int, list[VariableUsage]] = {}
        self.usages: dict[int, list[VariableUsage]] = {}

    def _report(self, error: GraphQLError) -> None:
        if len(self.errors) >= self._most:
            message = "Too many validation errors, error limit reached. Validation aborted."
            raise ValidationAbortedError(message)
        self.errors.append(error)

    @property
    def hide_suggestions(self) -> bool:
        return len(self.errors) >= _MAX_SUGGESTIONS

    def get_fragment_spreads(self, node: SelectionSetNode) -> list[FragmentSpreadNode]:
        found = self._spreads.get(id(node))
        if found is None:
            found = self._spreads[id(node)] = []
            waiting = [node]
            while waiting:
                for selection in waiting.pop().selections:
                    if isinstance(selection, FragmentSpreadNode):
                        found.append(selection)
                    elif inner := selection.selection_set:  # type: ignore[attr-defined]
                        waiting.append(inner)
        return found

    def get_variable_usages(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> list[VariableUsage]:
        return self.usages.get(id(node), [])

    def get_recursive_variable_usages(self, operation: OperationDefinitionNode) -> list[VariableUsage]:
        found = self.all_usages.get(id(operation))
        if found is None:
            found = list(self.get_variable_usages(operation))
            for fragment in self.get_recursively_referenced_fragments(operation):
                found += self.get_variable_usages(fragment)
            self.spend_fragment_work(len(found))
            self.all_usages[id(operation)] = found
        return found


class _Usages(Visitor):
    """Notes which variables each operation and fragment uses, and where."""

    def __init__(self, context: _Context, types: TypeInfo) -> None:
        super().__init__()
        self._context = context
        self._types = types
        self._found: list[VariableUsage] = []

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        self._found = self._context.usages[id(node)] = []

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: Any) -> None:
        self._found = self._context.usages[id(node)] = []

    def enter_variable_definition(self, _node: VariableDefinitionNode, *_: Any) -> VisitorAction:
        return self.SKIP

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        types = self._types
        expected, outer = types.get_input_type(), types.get_parent_input_type()
        self._found.append(VariableUsage(node, expected, outer, types.get_default_value(), None))


class _UniqueDirectives(UniqueDirectivesPerLocationRule):
    """The library's rule, for the kinds of node that have directives; it asks to see every node."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        look = EnterLeaveVisitor(self.enter, None)
        self.enter_leave_map = {kind: look for kind, keys in QUERY_DOCUMENT_KEYS.items() if "directives" in keys}

    def get_enter_leave_for_kind(self, kind: str) -> EnterLeaveVisitor:
        return self.enter_leave_map.get(kind, _NOTHING)


class _KnownTypeNames(KnownTypeNamesRule):
    """The library's rule; it compares an unknown name with the nearest names of types, not with all."""

    def enter_named_type(self, node: NamedTypeNode, *rest: Any) -> None:
        name = node.name.value
        if name in self.existing_types_map:
            return
        if not self.context.hide_suggestions:
            letters = frozenset(name.lower())
            near = sorted(self.existing_types_map, key=lambda one: len(letters.symmetric_difference(one.lower())))
            self.type_names = near[:_MAX_NEAR]
        super().enter_named_type(node, *rest)


class _EnoughOfValueError(Exception):
    pass


class _Values(ValuesOfCorrectTypeRule):
    """The library's rule, with few errors for each literal."""

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        if input_type is None:
            return self.SKIP
        left = 1 if node.loc and node.loc.end - node.loc.start > _LONG_VALUE else _MAX_ERRORS_OF_A_VALUE

        def report(error: GraphQLError, _path: list[str | int]) -> None:
            nonlocal left
            self.report_error(error)
            left -= 1
            if not left:
                raise _EnoughOfValueError

        with suppress(_EnoughOfValueError):
            validate_input_literal(node, input_type, report, None, None, self.context.hide_suggestions)
        return self.SKIP


_OURS: dict[Any, Any] = {
    UniqueDirectivesPerLocationRule: _UniqueDirectives,
    KnownTypeNamesRule: _KnownTypeNames,
    ValuesOfCorrectTypeRule: _Values,
}
_ELSEWHERE = {
    OverlappingFieldsCanBeMergedRule,
    NoUndefinedVariablesRule,
    NoUnusedVariablesRule,
    VariablesInAllowedPositionRule,
}
_RULES = tuple(_OURS.get(rule, rule) for rule in specified_rules if rule not in _ELSEWHERE)
