"""Whether the fields of a document can be merged (GraphQL, 5.3.2), and what it comes to once they are.

The specification compares fields pair by pair, also through fragments, which is quadratic and worse. Here the fields
that meet under one name are compared as a group, since to be alike is transitive:

- all of a group must have the same shape: alike lists and nulls, and the same scalar or enum, or else objects;
- those of a group that one object can have, which is all but those of other object types, must also be the same field
  with the same arguments.

A group's own selections are one selection set of the next level, looked at once, whatever leads to it. The verdict is
that of graphql-core's ``OverlappingFieldsCanBeMergedRule``, as are the messages; a name is reported once per place.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
    is_list_type,
)

from app.graphql.introspection import META_FIELDS
from app.graphql.validation import most_errors
from clients.codes import Reason

MAX_ALIASES = 100
"""Under how many names one selection set may ask for one field."""
MAX_ROOT_FIELDS = 100
"""Of one operation."""
MAX_FIELDS = 5_000
"""How many fields an operation may come to, with all fragments written out: each part of the answer is counted once."""
MAX_MERGES = 5_000
"""How many fields may be looked at to find that out: fewer than that, where selections are shared."""

MAX_ALIASES_OF = {"__schema": 1, "_service": 1, "sdl": 1, "__type": 10}
"""Under how many for fields whose answers are large, and always the same."""
MAX_INTROSPECTION_ALIASES = 3
"""Under how many names a selection may ask for one field below ``__schema`` or ``__type``."""
_MAX_NODES = 20


class TooManyError(Exception):
    """An operation comes to too much. ``reason`` is one of FIELDS and ALIASES."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class _Field(NamedTuple):
    """A field of a merged selection set."""

    parent: GraphQLNamedType | None
    node: FieldNode
    definition: GraphQLField | None
    owner: _Field | None
    """The field in whose selections it is."""


class _Part(NamedTuple):
    """One of the selection sets that make up a merged one."""

    owner: _Field | None
    parent: GraphQLNamedType | None
    selections: SelectionSetNode


def conflicts(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    """Find fields that cannot be merged.

    Args:
        schema: what the document asks of.
        document: it; valid, but for this rule.

    Returns:
        An error for each name, in each place, under which fields meet that differ.

    Raises:
        TooManyError: where an operation comes to too many fields, or has too many aliases of one.
    """
    merger = _Merger(schema, document)
    with suppress(_EnoughError):
        for operation in document.definitions:
            if isinstance(operation, OperationDefinitionNode):
                merger.check(operation)
    return merger.errors


class _Merger:
    """Goes through the merged selection sets of a document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.errors: list[GraphQLError] = []
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._own: dict[int, _Own] = {}
        self._sizes: dict[tuple[int | frozenset[int], bool], int] = {}
        self._arguments: dict[int, object] = {}
        self._merges = 0
        self._most = most_errors(document)

    def check(self, operation: OperationDefinitionNode) -> None:
        """Look through one operation."""
        part = _Part(None, self._schema.get_root_type(operation.operation), operation.selection_set)
        if self._size([part], strict=True, at_root=True) > MAX_FIELDS:
            raise _too_many_fields()

    def _size(self, parts: list[_Part], *, strict: bool, at_root: bool = False) -> int:
        """How many fields a merged selection set comes to, once it is checked.

        Args:
            parts: what it is made of.
            strict: whether its parts are selections on one object, and not on objects of different types.
            at_root: whether it is an operation's own.
        """
        one = id(parts[0].selections) if len(parts) == 1 else frozenset(id(part.selections) for part in parts)
        key = one, strict
        known = self._sizes.get(key)
        if known is not None:
            return known
        groups = self._groups(parts)
        _check_names(groups, at_root=at_root)
        size = 0
        for name, group in groups.items():
            size += 1
            if len(group) > 1:
                size += self._below(name, group, strict=strict)
            elif group[0].node.selection_set:
                size += self._size([_part(group[0], group[0].node.selection_set)], strict=strict)
            if size > MAX_FIELDS:
                raise _too_many_fields()
        self._sizes[key] = size
        return size

    def _below(self, name: str, group: list[_Field], *, strict: bool) -> int:
        """How many fields are below a group, once it is checked."""
        classes = _classes(group) if strict else []
        if all(self._same(name, one) for one in classes):
            self._check_shapes(name, group)
        if len(classes) > 1:
            for one in classes:
                self._size(_parts(one), strict=True)
        return self._size(_parts(group), strict=len(classes) == 1)

    def _groups(self, parts: list[_Part]) -> dict[str, list[_Field]]:
        """The fields of a merged selection set, by the names they have in the answer."""
        groups: dict[str, list[_Field]] = {}
        seen = set[str]()
        waiting = list(parts)
        for part in waiting:  # it grows
            fields, spreads = self._of_set(part)
            self._merges += len(fields) + len(spreads)
            if self._merges > MAX_MERGES:
                raise _too_many_fields()
            for parent, node in fields:
                name = node.alias.value if node.alias else node.name.value
                groups.setdefault(name, []).append(_Field(parent, node, _definition(parent, node), part.owner))
            for spread in spreads:
                if spread not in seen:
                    seen.add(spread)
                    fragment = self._fragments[spread]
                    kind = self._schema.get_type(fragment.type_condition.name.value)
                    waiting.append(_Part(part.owner, kind, fragment.selection_set))
        return groups

    def _of_set(self, part: _Part) -> _Own:
        """A selection set's own fields, those of its inline fragments included, and the fragments it spreads."""
        known = self._own.get(id(part.selections))
        if known is None:
            known = self._own[id(part.selections)] = _Own([], [])
            self._gather(part.parent, part.selections, known)
        return known

    def _gather(self, parent: GraphQLNamedType | None, selections: SelectionSetNode, own: _Own) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                own.fields.append((parent, node))
            elif isinstance(node, FragmentSpreadNode):
                own.spreads.append(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                kind = self._schema.get_type(condition.name.value) if condition else parent
                self._gather(kind, node.selection_set, own)

    def _check_shapes(self, name: str, group: list[_Field]) -> None:
        """Whatever a field's object is, the answer must have one shape in its place."""
        kinds = [(field, field.definition.type) for field in group if field.definition]
        for field, kind in kinds[1:]:
            first, expected = kinds[0]
            if kind is not expected and _shape(kind) != _shape(expected):
                self._report(name, first, field, f"they return conflicting types '{expected}' and '{kind}'")
                return

    def _same(self, name: str, group: list[_Field]) -> bool:
        """Whether one object's fields of one name are the same field, asked for alike."""
        first = group[0]
        for field in group[1:]:
            one, other = first.node.name.value, field.node.name.value
            if one != other:
                self._report(name, first, field, f"'{one}' and '{other}' are different fields")
                return False
            if (first.node.arguments or field.node.arguments) and self._asked(first) != self._asked(field):
                self._report(name, first, field, "they have differing arguments")
                return False
        return True

    def _asked(self, field: _Field) -> object:
        """A field's arguments, in a form that can be compared."""
        known = self._arguments.get(id(field.node))
        if known is None:
            known = {argument.name.value: _comparable(argument.value) for argument in field.node.arguments or ()}
            self._arguments[id(field.node)] = known
        return known

    def _report(self, name: str, one: _Field, other: _Field, reason: str) -> None:
        """Tell of a conflict at the selection set in which it can be seen, as graphql-core does."""
        nodes, others = [one.node], [other.node]
        while one.owner and other.owner and one.owner.node is not other.owner.node:
            reason = f"subfields '{name}' conflict because {reason}"
            one, other = one.owner, other.owner
            name = one.node.alias.value if one.node.alias else one.node.name.value
            nodes.insert(0, one.node)
            others.insert(0, other.node)
        message = (
            f"Fields '{name}' conflict because {reason}."
            " Use different aliases on the fields to fetch both if this was intentional."
        )
        self.errors.append(GraphQLError(message, [*nodes[:_MAX_NODES], *others[:_MAX_NODES]]))
        if len(self.errors) >= self._most:
            raise _EnoughError


class _Own(NamedTuple):
    """What a selection set has itself."""

    fields: list[tuple[GraphQLNamedType | None, FieldNode]]
    spreads: list[str]


class _EnoughError(Exception):
    pass


def _too_many_fields() -> TooManyError:
    return TooManyError(
        f"The operation has more than {MAX_FIELDS} fields, those of its fragments included.", Reason.FIELDS
    )


def _check_names(groups: dict[str, list[_Field]], *, at_root: bool) -> None:
    """Raises TooManyError where a selection set asks for one field under too many names."""
    if at_root and len(groups) > MAX_ROOT_FIELDS:
        raise TooManyError(f"The operation has more than {MAX_ROOT_FIELDS} fields at its root.", Reason.FIELDS)
    names: Counter[str] = Counter(group[0].node.name.value for group in groups.values())
    if len(names) == len(groups):
        return
    for group in groups.values():
        parent, name = group[0].parent, group[0].node.name.value
        of_schema = parent is not None and parent.name.startswith("__")
        most = MAX_INTROSPECTION_ALIASES if of_schema else MAX_ALIASES_OF.get(name, MAX_ALIASES)
        if names[name] > most:
            raise TooManyError(f"A selection set has more than {most} aliases of {name}.", Reason.ALIASES)


def _classes(group: list[_Field]) -> list[list[_Field]]:
    """The fields of a group that one object may have: those of its own type, and those of interfaces and unions."""
    objects: dict[str, list[_Field]] = {}
    for field in group:
        if isinstance(field.parent, GraphQLObjectType):
            objects.setdefault(field.parent.name, []).append(field)
    if len(objects) <= 1:
        return [group]
    shared = [field for field in group if not isinstance(field.parent, GraphQLObjectType)]
    return [shared + own for own in objects.values()]


def _parts(group: list[_Field]) -> list[_Part]:
    """The selection sets of a group, which are one in the answer."""
    return [_part(field, selections) for field in group if (selections := field.node.selection_set)]


def _part(field: _Field, selections: SelectionSetNode) -> _Part:
    return _Part(field, get_named_type(field.definition.type) if field.definition else None, selections)


def _definition(parent: GraphQLNamedType | None, node: FieldNode) -> GraphQLField | None:
    if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
        fields: dict[str, GraphQLField] = parent.fields
        return fields.get(node.name.value) or META_FIELDS.get(node.name.value)
    return None


def _shape(kind: Any) -> tuple[str, ...]:
    """What of a type is seen in an answer."""
    steps: list[str] = []
    while not isinstance(kind, GraphQLNamedType):
        steps.append("[]" if is_list_type(kind) else "!")
        kind = kind.of_type
    return (*steps, kind.name if is_leaf_type(kind) else "{}")


def _comparable(value: ValueNode) -> object:
    """A value as it is written, whatever the order of an object's fields."""
    if isinstance(value, VariableNode):
        return "$", value.name.value
    if isinstance(value, ObjectValueNode):
        return {field.name.value: _comparable(field.value) for field in value.fields}
    if isinstance(value, ListValueNode):
        return [_comparable(one) for one in value.values]
    if isinstance(value, StringValueNode):
        return value.value, bool(value.block)
    return value.kind, getattr(value, "value", None)
