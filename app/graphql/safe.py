"""Whether an operation is safe: a client can repeat it, or send it by mistake, without a change or a cost."""

from __future__ import annotations

from graphql import GraphQLSchema, OperationType

from app.graphql.documents import Operation, root_fields
from schema.safety import only_reads


def is_safe(schema: GraphQLSchema, operation: Operation) -> bool:
    """Whether GET may have an operation of a valid document: queries, and subscriptions that only read."""
    if operation.kind is not OperationType.SUBSCRIPTION:
        return operation.kind is OperationType.QUERY
    root = schema.subscription_type
    return root is not None and all(
        name.startswith("__") or only_reads(root.fields[name])
        for name in root_fields(operation.document, operation.node)
    )
