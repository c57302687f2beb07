"""Validates documents by graphql-core's rules in linear time.

The rules and messages are graphql-core's. These differences make the validation linear:

- A rule visits only the nodes that the rule is for. No rule visits names.
- One walk collects the uses of variables. In graphql-core, three rules each walk the document.
- The number of errors that take more than linear time (suggestions, printed literals) is limited.
- ``app.graphql.merging`` replaces the rule that compares fields pair by pair.
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
"""Maximum number of validation errors that are reported for one document."""

_MAX_SEARCHED, _CHARS_PER_LINE = 250_000, 50
"""Maximum number of characters that graphql-core searches for the line numbers of errors.

Each line counts as ``_CHARS_PER_LINE`` additional characters.
"""

_MAX_SUGGESTIONS = 5
"""Maximum number of errors with a "Did you mean". Each such error compares a name with many others."""

_MAX_NEAR = 12
"""Maximum number of type names that are compared with an unknown type name."""

_MAX_ERRORS_OF_A_VALUE = 3
_LONG_VALUE = 2_000
"""A literal with more characters than this gets only one error, because each error prints the literal."""

_MAX_FRAGMENT_WORK = 10_000
"""Maximum number of fragments, spreads and variable uses that one validation visits. graphql-core's default is 50,000.
"""

_NOTHING = EnterLeaveVisitor(None, None)


def invalid(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    """Return a document's validation errors. ``app.graphql.shape`` must have accepted the document.

    If the document has more than ``most_errors`` errors, the last returned error says so.
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
    """Return a document's maximum number of reported errors. Longer documents have a lower maximum."""
    end = document.loc.end_token if document.loc else None
    searched = end.end + end.line * _CHARS_PER_LINE if end else 0
    return max(1, min(MAX_ERRORS, _MAX_SEARCHED // max(1, searched)))


def _check_variables(context: _Context, operation: OperationDefinitionNode) -> None:
    """Check an operation's variables. Equal uses of a variable are checked once.

    If one use is invalid, check all uses again, so that each has an error.
    """
    errors = len(context.errors)
    uses = context.get_recursive_variable_usages(operation)
    distinct = {(use.node.name.value, id(use.type), id(use.parent_type), id(use.default_value)): use for use in uses}
    context.all_usages[id(operation)] = list(distinct.values())
    _run_variable_rules(context, operation)
    if len(context.errors) > errors and len(distinct) < len(uses):
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
    """The context of the validation rules. Its caches look up a node by identity, not by value."""

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
            pending = [node]
            while pending:
                for selection in pending.pop().selections:
                    if isinstance(selection, FragmentSpreadNode):
                        found.append(selection)
                    elif inner := selection.selection_set:  # type: ignore[attr-defined]
                        pending.append(inner)
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
    """graphql-core's rule against repeated directives, called only for nodes that can have directives."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        enter = EnterLeaveVisitor(self.enter, None)
        self.enter_leave_map = {kind: enter for kind, keys in QUERY_DOCUMENT_KEYS.items() if "directives" in keys}

    def get_enter_leave_for_kind(self, kind: str) -> EnterLeaveVisitor:
        return self.enter_leave_map.get(kind, _NOTHING)


class _KnownTypeNames(KnownTypeNamesRule):
    """graphql-core's rule against unknown types. An unknown name is compared only with the most similar names."""

    def enter_named_type(self, node: NamedTypeNode, *rest: Any) -> None:
        name = node.name.value
        if name in self.existing_types_map:
            return
        if not self.context.hide_suggestions:
            letters = frozenset(name.lower())
            near = sorted(self.existing_types_map, key=lambda one: len(letters.symmetric_difference(one.lower())))
            self.type_names = near[:_MAX_NEAR]
        super().enter_named_type(node, *rest)


class _ErrorLimitReached(Exception):
    pass


class _Values(ValuesOfCorrectTypeRule):
    """graphql-core's rule for literals, but with a limited number of errors for each literal."""

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        if input_type is None:
            return self.SKIP
        left = 1 if node.loc and node.loc.end - node.loc.start > _LONG_VALUE else _MAX_ERRORS_OF_A_VALUE

        def report(error: GraphQLError, _path: list[str | int]) -> None:
            nonlocal left
            self.report_error(error)
            left -= 1
            if not left:
                raise _ErrorLimitReached

        with suppress(_ErrorLimitReached):
            validate_input_literal(node, input_type, report, None, None, self.context.hide_suggestions)
        return self.SKIP


_REPLACED: dict[Any, Any] = {
    UniqueDirectivesPerLocationRule: _UniqueDirectives,
    KnownTypeNamesRule: _KnownTypeNames,
    ValuesOfCorrectTypeRule: _Values,
}
_OMITTED = {
    OverlappingFieldsCanBeMergedRule,
    NoUndefinedVariablesRule,
    NoUnusedVariablesRule,
    VariablesInAllowedPositionRule,
}
_RULES = tuple(_REPLACED.get(rule, rule) for rule in specified_rules if rule not in _OMITTED)
