"""graphql-core's executor: long lists of numbers in one step, the fields of a subscription collected once."""

from __future__ import annotations

from math import isfinite
from typing import Any

from graphql import GraphQLList, GraphQLNonNull, GraphQLObjectType
from graphql.execution.collect_fields import GroupedFieldSet
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.introspection import with_schema


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Completes a list of finite floats in one step, and collects the fields of a subscription once.

    One by one, the 150,000 numbers of a hundred embeddings hold up everybody else for most of a second.

    graphql-core 3.3.2 collects the root's fields for every event of a subscription, and memoises what it collects below
    them by the identity of that collection, for as long as the subscription lasts: a follower's memory grows with every
    event. Here every event is answered by the collection that the first one made.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._root_fields: list[GroupedFieldSet] = []  # shared by the copies that graphql-core makes for the events

    def execute_root_grouped_field_set(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: GroupedFieldSet, *rest: Any
    ) -> Any:
        """Execute the root's fields."""
        if not self._root_fields:
            self._root_fields.append(grouped_field_set)
        return super().execute_root_grouped_field_set(root_type, root_value, self._root_fields[0], *rest)

    def execute_collected_root_fields(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: GroupedFieldSet, *rest: Any
    ) -> Any:
        """The values of the fields at the root. What is asked of the schema is answered at once."""
        execute = super().execute_collected_root_fields
        return with_schema(
            self, root_type, grouped_field_set, lambda others: execute(root_type, root_value, others, *rest)
        )

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
