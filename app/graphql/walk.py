"""``graphql.visit`` for rules of validation, without what they never do: they change nothing, and look at no names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphql import FieldNode, GraphQLError, Node, TypeInfo, Visitor
from graphql.language.ast import QUERY_DOCUMENT_KEYS

_UNSEEN = frozenset({"name", "alias", "description"})
_KEYS = {kind: tuple(key for key in keys if key not in _UNSEEN) for kind, keys in QUERY_DOCUMENT_KEYS.items()}


class _Calls(NamedTuple):
    """The callbacks that the walk calls for one kind of node, in the order in which it calls them."""

    enter_type: Callable[[Any], None] | None
    enters: tuple[tuple[int, Callable[..., Any]], ...]
    keys: tuple[str, ...]
    leaves: tuple[tuple[int, Callable[..., Any]], ...]
    leave_type: Callable[[], None] | None


class Walk:
    """Shows each node of a document to the rules that look at its kind.

    Args:
        types: what follows the types of what is shown.
        errors: where the rules put what they find.
        visitors: the rules. They answer nothing but ``SKIP``.
    """

    def __init__(self, types: TypeInfo, errors: list[GraphQLError], visitors: list[Visitor]) -> None:
        self._types = types
        self._visitors = visitors
        self._errors = errors
        self._skipping = [False] * len(visitors)
        self._ancestors: list[Any] = []
        self._kinds: dict[str, _Calls] = {}
        self._good_leaves: set[tuple[str, str]] = set()

    def _calls(self, kind: str) -> _Calls:
        both = [(place, one.get_enter_leave_for_kind(kind)) for place, one in enumerate(self._visitors)]
        found = self._kinds[kind] = _Calls(
            getattr(self._types, f"enter_{kind}", None),
            tuple((place, one.enter) for place, one in both if one.enter),
            _KEYS.get(kind, ()),
            tuple((place, one.leave) for place, one in both if one.leave),
            getattr(self._types, f"leave_{kind}", None),
        )
        return found

    def field(self, node: FieldNode, parent: Any) -> None:
        """Show a field. One with nothing but a name is good wherever its type has been asked for it before."""
        if node.selection_set or node.arguments or node.directives:
            self.walk(node, parent)
            return
        outer = self._types.get_parent_type()
        leaf, errors = (outer.name if outer else "", node.name.value), len(self._errors)
        if leaf not in self._good_leaves:
            self.walk(node, parent)
            if len(self._errors) == errors:
                self._good_leaves.add(leaf)

    def walk(self, node: Node, parent: Any = None) -> None:
        """Show a node, then what is in it, then the node again to the rules that look when it is left."""
        calls = self._kinds.get(node.kind) or self._calls(node.kind)
        skipping, ancestors, skipped = self._skipping, self._ancestors, []
        if calls.enter_type:
            calls.enter_type(node)
        for place, enter in calls.enters:
            if not skipping[place] and enter(node, None, parent, (), ancestors) is not None:  # they answer only SKIP
                skipping[place] = True
                skipped.append(place)
        if parent is None:
            self._inside(node, calls.keys)
        elif calls.keys:
            ancestors.append(parent)
            self._inside(node, calls.keys)
            ancestors.pop()
        for place, leave in calls.leaves:
            if not skipping[place]:
                leave(node, None, parent, (), ancestors)
        for place in skipped:
            skipping[place] = False
        if calls.leave_type:
            calls.leave_type()

    def _inside(self, node: Node, keys: tuple[str, ...]) -> None:
        for key in keys:
            child = getattr(node, key)
            if isinstance(child, tuple):
                self._ancestors.append(node)
                for one in child:
                    (self.field if isinstance(one, FieldNode) else self.walk)(one, child)
                self._ancestors.pop()
            elif child is not None:
                self.walk(child, node)
