"""A faster ``graphql.visit`` for validation rules. The rules must not change nodes or visit names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphql import FieldNode, GraphQLError, Node, TypeInfo, Visitor
from graphql.language.ast import QUERY_DOCUMENT_KEYS

_UNVISITED = frozenset({"name", "alias", "description"})
_KEYS = {kind: tuple(key for key in keys if key not in _UNVISITED) for kind, keys in QUERY_DOCUMENT_KEYS.items()}


class _Calls(NamedTuple):
    """The rules' callbacks for one kind of node, and the node's attributes that contain child nodes."""

    enter_type: Callable[[Any], None] | None
    enters: tuple[tuple[int, Callable[..., Any]], ...]
    keys: tuple[str, ...]
    leaves: tuple[tuple[int, Callable[..., Any]], ...]
    leave_type: Callable[[], None] | None


class Walk:
    """Calls validation rules for each node of a document.

    Args:
        types: tracks the type at each node.
        errors: the list to which the rules add errors.
        visitors: the rules, which return ``SKIP`` or ``None``.
    """

    def __init__(self, types: TypeInfo, errors: list[GraphQLError], visitors: list[Visitor]) -> None:
        self._types = types
        self._visitors = visitors
        self._errors = errors
        self._skipping = [False] * len(visitors)
        self._ancestors: list[Any] = []
        self._kinds: dict[str, _Calls] = {}
        self._valid_leaves: set[tuple[str, str]] = set()

    def _calls(self, kind: str) -> _Calls:
        rules = [(index, one.get_enter_leave_for_kind(kind)) for index, one in enumerate(self._visitors)]
        found = self._kinds[kind] = _Calls(
            getattr(self._types, f"enter_{kind}", None),
            tuple((index, one.enter) for index, one in rules if one.enter),
            _KEYS.get(kind, ()),
            tuple((index, one.leave) for index, one in rules if one.leave),
            getattr(self._types, f"leave_{kind}", None),
        )
        return found

    def field(self, node: FieldNode, parent: Any) -> None:
        """Visit a field. If an equal field on the same type was valid, do nothing.

        Fields with arguments, directives or subfields are always visited.
        """
        if node.selection_set or node.arguments or node.directives:
            self.walk(node, parent)
            return
        outer = self._types.get_parent_type()
        leaf, count = (outer.name if outer else "", node.name.value), len(self._errors)
        if leaf not in self._valid_leaves:
            self.walk(node, parent)
            if len(self._errors) == count:
                self._valid_leaves.add(leaf)

    def walk(self, node: Node, parent: Any = None) -> None:
        """Enter a node, visit the node's children, and leave the node."""
        calls = self._kinds.get(node.kind) or self._calls(node.kind)
        skipping, ancestors, skipped = self._skipping, self._ancestors, []
        if calls.enter_type:
            calls.enter_type(node)
        for index, enter in calls.enters:
            if not skipping[index] and enter(node, None, parent, (), ancestors) is not None:
                skipping[index] = True
                skipped.append(index)
        if parent is None:
            self._children(node, calls.keys)
        elif calls.keys:
            ancestors.append(parent)
            self._children(node, calls.keys)
            ancestors.pop()
        for index, leave in calls.leaves:
            if not skipping[index]:
                leave(node, None, parent, (), ancestors)
        for index in skipped:
            skipping[index] = False
        if calls.leave_type:
            calls.leave_type()

    def _children(self, node: Node, keys: tuple[str, ...]) -> None:
        for key in keys:
            child = getattr(node, key)
            if isinstance(child, tuple):
                self._ancestors.append(node)
                for one in child:
                    (self.field if isinstance(one, FieldNode) else self.walk)(one, child)
                self._ancestors.pop()
            elif child is not None:
                self.walk(child, node)
