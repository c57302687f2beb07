"""Decides whether a client may send an operation by GET.

Repeating such an operation must change nothing and cost nothing.
"""

from __future__ import annotations

from graphql import GraphQLSchema, OperationType

from app.graphql.documents import Operation, root_fields
from schema.safety import only_reads


def is_safe(schema: GraphQLSchema, operation: Operation) -> bool:
    """Return whether a client may send an operation by GET.

    Clients may send queries, and subscriptions that only read data.
    """
    if operation.kind is not OperationType.SUBSCRIPTION:
        return operation.kind is OperationType.QUERY
    root = schema.subscription_type
    return root is not None and all(
        name.startswith("__") or only_reads(root.fields[name])
        for name in root_fields(operation.document, operation.node)
    )
