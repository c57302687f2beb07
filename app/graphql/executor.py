"""graphql-core's executor, with a short way for long lists of numbers."""

from __future__ import annotations

from math import isfinite
from typing import Any

from graphql import GraphQLList, GraphQLNonNull
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Completes a list of finite floats in one step.

    One by one, the 150,000 numbers of a hundred embeddings hold up everybody else for most of a second.
    """

    def complete_list_value(self, return_type: GraphQLList[Any], *rest: Any) -> Any:
        """A list's value, as it is sent."""
        result = rest[3]
        if _is_float(return_type.of_type) and type(result) is list and _all_finite(result):
            return result
        return super().complete_list_value(return_type, *rest)


def _is_float(kind: Any) -> bool:
    return isinstance(kind, GraphQLNonNull) and getattr(kind.of_type, "name", None) == "Float"


def _all_finite(numbers: list[Any]) -> bool:
    return set(map(type, numbers)) <= {float} and isfinite(sum(numbers))
