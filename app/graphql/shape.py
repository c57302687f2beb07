"""Limits a document's depth, operations, fragments, variables, directives and aliases."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableDefinitionNode,
)

from clients.codes import Reason

MAX_OPERATIONS = 50
MAX_FRAGMENTS = 200
MAX_VARIABLES = 200
"""Maximum number of variables of one operation."""
MAX_DIRECTIVES = 10
"""Maximum number of directives at one location."""
MAX_ALIASES_IN_DOCUMENT = 200
"""Maximum number of aliases of one field in the whole document."""
MAX_INTROSPECTION_DEPTH = 25
"""Maximum depth of fields below ``__schema`` or ``__type``. Tools' introspection queries have 14 levels."""


class Excess(NamedTuple):
    """The error for a document that exceeds a limit."""

    message: str
    reason: Reason


def excess(document: DocumentNode, max_depth: int) -> Excess | None:
    """Return an error if a document exceeds a limit. ``max_depth`` does not apply to introspection fields.

    Raise RecursionError if the document is nested too deeply for Python's stack.
    """
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = fragments_of(document)
    if len(operations) > MAX_OPERATIONS:
        return Excess(
            f"The document has more than {MAX_OPERATIONS} operations. Send fewer operations.", Reason.OPERATIONS
        )
    if len(fragments) > MAX_FRAGMENTS:
        return Excess(f"The document has more than {MAX_FRAGMENTS} fragments. Use fewer fragments.", Reason.FRAGMENTS)
    if any(len(node.variable_definitions or ()) > MAX_VARIABLES for node in operations):
        return Excess(
            f"An operation has more than {MAX_VARIABLES} variables. Declare fewer variables.", Reason.VARIABLES
        )
    return _Measure(fragments).excess(operations, max_depth)


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """Return a dict of a document's fragments by name."""
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


class _Levels(NamedTuple):
    """The depth of a selection set: levels of fields, of selection sets, and of introspection fields."""

    fields: int = 0
    nested: int = 0
    introspection: int = 0


class _Measure:
    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._levels: dict[str, _Levels] = {}
        self._aliases: Counter[str] = Counter()
        self._directives = 0

    def excess(self, operations: list[OperationDefinitionNode], max_depth: int) -> Excess | None:
        for name in self._fragments:
            self._of_fragment(name)
        levels = [self._of_set(node.selection_set) for node in operations]
        for node in (*operations, *self._fragments.values()):
            self._count_directives(node)
            for variable in node.variable_definitions or ():
                self._count_directives(variable)
        if any(level.fields > max_depth or level.nested > max_depth * 4 for level in levels):
            return Excess(f"The document has more than {max_depth} levels of fields. Reduce the nesting.", Reason.DEPTH)
        if any(level.introspection > MAX_INTROSPECTION_DEPTH for level in levels):
            message = f"The introspection query has more than {MAX_INTROSPECTION_DEPTH} levels. Reduce the nesting."
            return Excess(message, Reason.INTROSPECTION)
        if self._directives > MAX_DIRECTIVES:
            return Excess(
                f"A location in the document has more than {MAX_DIRECTIVES} directives. Use fewer directives.",
                Reason.DIRECTIVES,
            )
        for name, count in self._aliases.most_common(1):
            if count > MAX_ALIASES_IN_DOCUMENT:
                message = f"The document has more than {MAX_ALIASES_IN_DOCUMENT} aliases of {name}. Use fewer aliases."
                return Excess(message, Reason.ALIASES)
        return None

    def _count_directives(self, node: ExecutableDefinitionNode | VariableDefinitionNode | SelectionNode) -> None:
        if node.directives:
            self._directives = max(self._directives, len(node.directives))

    def _of_fragment(self, name: str) -> _Levels:
        levels = self._levels.get(name)
        if levels is None:
            self._levels[name] = _Levels()  # validation refuses a fragment that spreads itself
            node = self._fragments.get(name)
            levels = self._levels[name] = self._of_set(node.selection_set) if node else _Levels()
        return levels

    def _of_set(self, selections: SelectionSetNode | None) -> _Levels:
        fields = nested = introspection = 0
        for node in selections.selections if selections else ():
            below = self._below(node)
            self._count_directives(node)
            fields = max(fields, below.fields)
            nested = max(nested, below.nested)
            introspection = max(introspection, below.introspection)
        return _Levels(fields, nested + 1, introspection)

    def _below(self, node: SelectionNode) -> _Levels:
        if isinstance(node, FieldNode):
            if node.alias:
                self._aliases[node.name.value] += 1
            below = self._of_set(node.selection_set) if node.selection_set else _LEAF
            if node.name.value.startswith("__"):
                return _Levels(0, below.nested, max(below.introspection, 1 + below.fields))
            return _Levels(1 + below.fields, below.nested, below.introspection)
        if isinstance(node, InlineFragmentNode):
            return self._of_set(node.selection_set)
        return self._of_fragment(node.name.value) if isinstance(node, FragmentSpreadNode) else _LEAF


_LEAF = _Levels()
