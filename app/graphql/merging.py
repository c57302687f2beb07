"""Checks whether fields can be merged (GraphQL, 5.3.2), and limits the number of fields.

The specification's algorithm compares fields pair by pair, in more than quadratic time. This module compares all fields
with the same response name together:

- The fields must have the same shape: equal lists and non-nulls, around one leaf type or around objects.
- Fields that can be on the same object must also have the same name and the same arguments.

Their subfields are then merged into one selection set, which is checked once. The errors are the same as from
graphql-core's ``OverlappingFieldsCanBeMergedRule``, except that a selection set reports each name once.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
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
from app.graphql.shape import fragments_of
from app.graphql.validation import most_errors
from clients.codes import Reason

MAX_ALIASES = 100
"""Maximum number of aliases of one field in a selection set."""
MAX_ROOT_FIELDS = 100
"""Maximum number of root fields of one operation."""
MAX_FIELDS = 5_000
"""Maximum number of fields in an operation, including fields in fragments. Merged fields count once."""
MAX_MERGES = 5_000
"""Maximum number of fields and fragment spreads that one merge check visits."""

MAX_ALIASES_OF = {"__schema": 1, "_service": 1, "sdl": 1, "__type": 10}
"""Maximum number of aliases for certain fields, by field name. The values of these fields are large."""
MAX_INTROSPECTION_ALIASES = 3
"""Maximum number of aliases of one field below ``__schema`` or ``__type``."""
_MAX_NODES = 20


class TooManyError(Exception):
    """The error for an operation with too many fields or aliases. ``reason`` is FIELDS or ALIASES."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class _Field(NamedTuple):
    """A field of a merged selection set. ``owner`` is the enclosing field."""

    parent: GraphQLNamedType | None
    node: FieldNode
    definition: GraphQLField | None
    owner: _Field | None


class _Part(NamedTuple):
    owner: _Field | None
    parent: GraphQLNamedType | None
    selections: SelectionSetNode


def conflicts(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    """Return one error for each response name with fields that cannot be merged.

    The document must satisfy all other validation rules. Raise TooManyError if an operation has too many fields, or
    too many aliases of one field.
    """
    merger = _Merger(schema, document)
    with suppress(_ErrorLimitReached):
        for operation in document.definitions:
            if isinstance(operation, OperationDefinitionNode):
                merger.check(operation)
    return merger.errors


class _Merger:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.errors: list[GraphQLError] = []
        self._schema = schema
        self._fragments = fragments_of(document)
        self._own: dict[int, _OwnSelections] = {}
        self._sizes: dict[tuple[int | frozenset[int], bool], int] = {}
        self._arguments: dict[int, object] = {}
        self._merges = 0
        self._most = most_errors(document)

    def check(self, operation: OperationDefinitionNode) -> None:
        """Check that an operation's fields can be merged."""
        part = _Part(None, self._schema.get_root_type(operation.operation), operation.selection_set)
        if self._size([part], strict=True, at_root=True) > MAX_FIELDS:
            raise _too_many_fields()

    def _size(self, parts: list[_Part], *, strict: bool, at_root: bool = False) -> int:
        """Check a merged selection set, and return its number of fields.

        Args:
            parts: the selection sets that are merged.
            strict: whether all selection sets are on the same object.
            at_root: whether the merged selection set is an operation's root.
        """
        one = id(parts[0].selections) if len(parts) == 1 else frozenset(id(part.selections) for part in parts)
        key = one, strict
        if (size := self._sizes.get(key)) is not None:
            return size
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
        classes = _classes(group) if strict else []
        if all(self._check_equal(name, one) for one in classes):
            self._check_shapes(name, group)
        if len(classes) > 1:
            for one in classes:
                self._size(_parts(one), strict=True)
        return self._size(_parts(group), strict=len(classes) == 1)

    def _groups(self, parts: list[_Part]) -> dict[str, list[_Field]]:
        groups: dict[str, list[_Field]] = {}
        visited = set[str]()
        pending = list(parts)
        for part in pending:  # ``pending`` grows in the loop
            fields, spreads = self._of_set(part)
            self._merges += len(fields) + len(spreads)
            if self._merges > MAX_MERGES:
                raise _too_many_fields()
            for parent, node in fields:
                name = node.alias.value if node.alias else node.name.value
                groups.setdefault(name, []).append(_Field(parent, node, _definition(parent, node), part.owner))
            for spread in spreads:
                if spread not in visited:
                    visited.add(spread)
                    fragment = self._fragments[spread]
                    kind = self._schema.get_type(fragment.type_condition.name.value)
                    pending.append(_Part(part.owner, kind, fragment.selection_set))
        return groups

    def _of_set(self, part: _Part) -> _OwnSelections:
        """Return a selection set's fields and the names of its fragment spreads. Inline fragments are included."""
        own = self._own.get(id(part.selections))
        if own is None:
            own = self._own[id(part.selections)] = _OwnSelections([], [])
            self._gather(part.parent, part.selections, own)
        return own

    def _gather(self, parent: GraphQLNamedType | None, selections: SelectionSetNode, own: _OwnSelections) -> None:
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
        kinds = [(field, field.definition.type) for field in group if field.definition]
        for field, kind in kinds[1:]:
            first, expected = kinds[0]
            if kind is not expected and _shape(kind) != _shape(expected):
                self._report(name, first, field, f"they return conflicting types '{expected}' and '{kind}'")
                return

    def _check_equal(self, name: str, group: list[_Field]) -> bool:
        """Check that selections with the same response name select the same field with equal arguments."""
        first = group[0]
        for field in group[1:]:
            one, other = first.node.name.value, field.node.name.value
            if one != other:
                self._report(name, first, field, f"'{one}' and '{other}' are different fields")
                return False
            if (first.node.arguments or field.node.arguments) and self._arguments_of(first) != self._arguments_of(
                field
            ):
                self._report(name, first, field, "they have differing arguments")
                return False
        return True

    def _arguments_of(self, field: _Field) -> object:
        arguments = self._arguments.get(id(field.node))
        if arguments is None:
            arguments = {argument.name.value: _comparable(argument.value) for argument in field.node.arguments or ()}
            self._arguments[id(field.node)] = arguments
        return arguments

    def _report(self, name: str, one: _Field, other: _Field, reason: str) -> None:
        """Report a conflict like graphql-core: at the outermost selection sets that differ."""
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
            raise _ErrorLimitReached


class _OwnSelections(NamedTuple):
    fields: list[tuple[GraphQLNamedType | None, FieldNode]]
    spreads: list[str]


class _ErrorLimitReached(Exception):
    pass


def _too_many_fields() -> TooManyError:
    return TooManyError(
        f"The operation has more than {MAX_FIELDS} fields, including fields of fragments. Request fewer fields.",
        Reason.FIELDS,
    )


def _check_names(groups: dict[str, list[_Field]], *, at_root: bool) -> None:
    """Raise TooManyError if a selection set has too many aliases of one field."""
    if at_root and len(groups) > MAX_ROOT_FIELDS:
        raise TooManyError(
            f"The operation has more than {MAX_ROOT_FIELDS} root fields. Request fewer root fields.", Reason.FIELDS
        )
    names: Counter[str] = Counter(group[0].node.name.value for group in groups.values())
    if len(names) == len(groups):
        return
    for group in groups.values():
        parent, name = group[0].parent, group[0].node.name.value
        of_schema = parent is not None and parent.name.startswith("__")
        most = MAX_INTROSPECTION_ALIASES if of_schema else MAX_ALIASES_OF.get(name, MAX_ALIASES)
        if names[name] > most:
            raise TooManyError(
                f"A selection set has more than {most} aliases of {name}. Use fewer aliases.", Reason.ALIASES
            )


def _classes(group: list[_Field]) -> list[list[_Field]]:
    """Group fields by their object type. A field of an interface or union is in every group."""
    objects: dict[str, list[_Field]] = {}
    for field in group:
        if isinstance(field.parent, GraphQLObjectType):
            objects.setdefault(field.parent.name, []).append(field)
    if len(objects) <= 1:
        return [group]
    shared = [field for field in group if not isinstance(field.parent, GraphQLObjectType)]
    return [shared + own for own in objects.values()]


def _parts(group: list[_Field]) -> list[_Part]:
    return [_part(field, selections) for field in group if (selections := field.node.selection_set)]


def _part(field: _Field, selections: SelectionSetNode) -> _Part:
    return _Part(field, get_named_type(field.definition.type) if field.definition else None, selections)


def _definition(parent: GraphQLNamedType | None, node: FieldNode) -> GraphQLField | None:
    if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
        fields: dict[str, GraphQLField] = parent.fields
        return fields.get(node.name.value) or META_FIELDS.get(node.name.value)
    return None


def _shape(kind: Any) -> tuple[str, ...]:
    """Return the shape of a type: its list and non-null wrappers, and the name of a leaf type."""
    steps: list[str] = []
    while not isinstance(kind, GraphQLNamedType):
        steps.append("[]" if is_list_type(kind) else "!")
        kind = kind.of_type
    return (*steps, kind.name if is_leaf_type(kind) else "{}")


def _comparable(value: ValueNode) -> object:
    """Convert a literal to a value for comparison. The order of an object's fields does not matter."""
    if isinstance(value, VariableNode):
        return "$", value.name.value
    if isinstance(value, ObjectValueNode):
        return {field.name.value: _comparable(field.value) for field in value.fields}
    if isinstance(value, ListValueNode):
        return [_comparable(one) for one in value.values]
    if isinstance(value, StringValueNode):
        return value.value, bool(value.block)
    return value.kind, getattr(value, "value", None)
