"""Records the outcome of each mutation and of each subscription that starts a model call, for the audit log."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from graphql import GraphQLError, GraphQLField, GraphQLInputObjectType, GraphQLObjectType, get_named_type
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import get_argument_values
from graphql.language import FieldNode
from graphql.pyutils import Path
from strawberry.utils.str_converters import to_camel_case

from app.audit import Act, AuditTrail, Event, Trail
from app.graphql.documents import Operation, root_nodes
from app.graphql.errors import format_error
from app.graphql.executor import Executor
from app.graphql.safe import is_safe
from clients.ams import PublishedVersion
from clients.codes import Reason
from clients.letta.records import ConversationRecord, MemoryBlockRecord, RunRecord
from resolvers.cache.changes import CHANGES
from resolvers.context import RequestContext
from resolvers.paging import Edge
from resolvers.streams.events import Delivery, Started
from resolvers.streams.stream import Stream
from schema.node import TEMPLATE, global_id
from schema.outcomes import PayloadRecord, user_error_of


class MutationExecutor(Executor):
    """An executor that logs each root field of a mutation, and drops the cached data that the field has changed.

    The fields run one after the other.
    """

    __slots__ = ("_act", "audit")

    audit: AuditTrail
    _act: Act

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """Execute a field. If it is a root field, log its outcome."""
        execute = partial(super().execute_field, parent_type, source, field_details_list, path, position_context)
        node = field_details_list[0].node
        if path.prev is not None or node.name.value.startswith("__"):
            return execute()
        self.context_value.has_replayed = False
        self._act = act_of(Event.MUTATION, self, parent_type.fields[node.name.value], node)
        return self._logged(execute, node.name.value)

    async def _logged(self, execute: Callable[[], Any], mutation: str) -> Any:
        try:
            field = execute()
            return await field if isinstance(field, Awaitable) else field
        finally:
            self.audit.acted(self._act, self.context_value)
            # also after an error or a disconnect, because the service may have carried out the mutation
            await self.context_value.changed(*CHANGES[mutation])

    def complete_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Complete a resolved value (GraphQL, 6.4.3). If it is a mutation's payload, record the success."""
        if path.prev is None and isinstance(result, PayloadRecord):
            if result.errors:
                self._act.refused(user_error_of(result.errors[0]))
            else:
                self._act.succeeded(_ids_in_payload(result), replayed=self._is_replayed(result))
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

    def _is_replayed(self, record: PayloadRecord) -> bool:
        """Return whether an earlier request with the same key has done the act."""
        context: RequestContext = self.context_value
        stream = getattr(record, "stream", None)
        if isinstance(stream, Stream) and "streamId" not in self._act.objects:
            return stream.is_repeated_by(context)
        return context.has_replayed

    def handle_field_error(
        self, raw_error: Exception, return_type: Any, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """Record a field's error. The error of a field of the payload is not the mutation's."""
        if path.prev is None and len(getattr(raw_error, "path", None) or ()) < 2:
            self._act.failed(*failure_of(raw_error))
        super().handle_field_error(raw_error, return_type, field_details_list, path)


class SubscriptionTrail(Trail):
    """Logs a subscription with its first event or error. It logs nothing about subscriptions that only read."""

    __slots__ = ()

    def __init__(self, executor: Executor, operation: Operation, audit: AuditTrail) -> None:
        root, act = executor.schema.subscription_type, None
        if root is not None and not is_safe(executor.schema, operation):
            for node in root_nodes(operation.document, operation.node):
                act = act_of(Event.SUBSCRIPTION, executor, root.fields[node.name.value], node)
        super().__init__(audit, executor.context_value, act)

    def begun(self, delivery: Delivery[Any]) -> None:
        """Log the first event. Do nothing for later events."""
        if self._act is not None:
            run_id = delivery.event.run_id if isinstance(delivery.event, Started) else None
            run = {} if run_id is None else {"runId": run_id}
            self.succeeded({"streamId": delivery.stream_id, **run}, replayed=self._context.has_replayed)

    def broke(self, error: Exception) -> None:
        """Log an error, unless an event was logged."""
        self.failed(*failure_of(error))


def act_of(event: Event, executor: Executor, field: GraphQLField, node: FieldNode) -> Act:
    """Return the act of a root field, with the ids of the field's input."""
    act = Act(event, node.name.value)
    try:
        arguments = get_argument_values(field, node, executor.variable_values)
    except GraphQLError:  # execution reports the error
        return act
    for name, argument in field.args.items():
        act.objects |= _ids_in_input(argument.type, name, arguments.get(name))
    return act


def failure_of(error: Exception) -> tuple[str, Reason | None]:
    """Return the code and the reason of an error, as the client receives them."""
    located = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
    extensions = format_error(located, "")["extensions"]
    return extensions["code"], extensions.get("reason")


def _ids_in_input(kind: Any, name: str, value: Any) -> dict[str, str]:
    """Return the ids in an argument. Not every text of the type ``ID`` is an id: a stream key is a secret."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType) and isinstance(value, dict):
        found: dict[str, str] = {}
        for child, field in named.fields.items():
            found |= _ids_in_input(field.type, child, value.get(child))
        return found
    return {name: value} if name.endswith("Id") and isinstance(value, str) else {}


def _ids_in_payload(record: PayloadRecord) -> dict[str, str]:
    """Return the ids in a payload. Of several new objects, it has the first."""
    found = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name.endswith("_id") and isinstance(value, str):
            found[to_camel_case(name.removeprefix("deleted_"))] = value
        elif (one := _id_of(value[0] if isinstance(value, list) and value else value)) is not None:
            found[f"{to_camel_case(re.sub('_edges?$', '', name))}Id"] = one
    return found


def _id_of(value: object) -> str | None:
    match value:
        case Edge():
            return global_id(value.node)
        case PublishedVersion():
            return f"{TEMPLATE}{value.template_id}@{value.version}"
        case ConversationRecord() | MemoryBlockRecord() | RunRecord() | Stream():
            return global_id(value)
        case _:
            return None
