"""graphql-core's executor, with a short way for long lists of numbers."""

from __future__ import annotations

from math import isfinite
from typing import Any

from graphql import GraphQLError, GraphQLList, GraphQLNonNull, GraphQLObjectType, SchemaMetaFieldDef
from graphql.execution.collect_fields import GroupedFieldSet
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.introspection import META_FIELDS, read_schema
from clients.errors import GatewayError


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Completes a list of finite floats in one step.

    One by one, the 150,000 numbers of a hundred embeddings hold up everybody else for most of a second.
    """

    def execute_collected_root_fields(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: GroupedFieldSet, *rest: Any
    ) -> Any:
        """The values of the fields at the root. What is asked of the schema is answered at once."""
        ours = {name: one for name, one in grouped_field_set.items() if one[0].node.name.value in META_FIELDS}
        if not ours:
            return super().execute_collected_root_fields(root_type, root_value, grouped_field_set, *rest)
        read = self._read_schema(root_type, ours)
        others = {name: one for name, one in grouped_field_set.items() if name not in ours}
        data: Any = super().execute_collected_root_fields(root_type, root_value, others, *rest)

        def merged(data: dict[str, Any]) -> dict[str, Any]:
            both = read | data
            return {name: both[name] for name in grouped_field_set if name in both}

        async def later() -> dict[str, Any]:
            return merged(await data)

        return later() if self.is_awaitable(data) else merged(data)

    def _read_schema(self, root_type: GraphQLObjectType, fields: GroupedFieldSet) -> dict[str, Any]:
        try:
            return read_schema(self, fields)
        except (GatewayError, GraphQLError) as error:
            name, details = next(iter(fields.items()))
            self.handle_field_error(error, SchemaMetaFieldDef.type, details, Path(None, name, root_type.name))
            return {}  # it is never null: that was raised

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
