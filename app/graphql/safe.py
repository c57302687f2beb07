"""Whether an operation is safe: whether asking for it again and again, or by mistake, changes and costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationType,
)

from app.graphql.documents import Operation
from schema.safety import only_reads


def is_safe(schema: GraphQLSchema, operation: Operation) -> bool:
    """Whether an operation of a valid document may come by GET: queries, and subscriptions that only read."""
    if operation.kind is not OperationType.SUBSCRIPTION:
        return operation.kind is OperationType.QUERY
    root = schema.subscription_type
    return root is not None and all(
        name.startswith("__") or only_reads(root.fields[name]) for name in _root_fields(operation)
    )


def _root_fields(operation: Operation) -> Iterator[str]:
    """The names of the operation's root fields. Each fragment is looked at once."""
    definitions = operation.document.definitions
    fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
    open_sets, seen = [operation.node.selection_set], set[str]()
    while open_sets:
        for node in open_sets.pop().selections:
            if isinstance(node, FieldNode):
                yield node.name.value
            elif isinstance(node, InlineFragmentNode):
                open_sets.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                open_sets.append(fragments[node.name.value].selection_set)
