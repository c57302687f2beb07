"""Extends graphql-core's executor with faster completion and with limits on each answer."""

from __future__ import annotations

import asyncio
from math import isfinite
from typing import Any, Self, cast

from graphql import GraphQLError, GraphQLList, GraphQLObjectType, GraphQLResolveInfoHelpers, Undefined
from graphql.execution import VariableValues
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.answers import MAX_ERRORS, Answer, AnswerAborted, AnswerLimits, json_size, too_many_errors
from app.graphql.introspection import with_schema
from resolvers.cache.stale import FIELD
from resolvers.context import RequestContext

_SHORT_CHARS = 256
"""The size of a shorter ASCII string is its number of characters. Other strings are encoded to measure their size."""

_QUOTES_BYTES = 3
"""The size of a string without its characters: two quotes, and a comma in a list."""

_FLOAT_BYTES = 20

_NO_ERRORS = CollectedErrors()
_NO_FUTURES = cast("set[asyncio.Future[Any]]", frozenset())
_NO_VARIABLES = VariableValues({}, {})


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Executes an operation, and aborts the execution if the answer exceeds a limit.

    graphql-core 3.3.2 collects the root fields again for every event of a subscription, and caches subfields for each
    of these collections. The cache would grow with every event. Therefore, all events share the first event's
    collection.
    """

    __slots__ = ("_answer", "_root_fields", "abort_signal", "hide_suggestions", "operation_extensions", "type_resolver")
    """Includes graphql-core's attributes, so that CPython makes no dict for an executor."""

    _answer: Answer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._root_fields: list[GroupedFieldSet] = []  # shared with the executors of events

    def bound(self, limits: AnswerLimits, *, paced: bool) -> Self:
        """Set the answer's limits, and return this executor.

        If ``paced`` is true, a long answer does not block the event loop.
        """
        self._answer = Answer(limits, paced=paced)
        return self

    def build_per_event_executor(self, payload: Any) -> Self:
        """Return an executor for one subscription event. The answer limits apply to each event separately."""
        one: Self = super().build_per_event_executor(payload)  # type: ignore[assignment]
        return one.bound(self._answer.limits, paced=self._answer.paced)

    def rest(self, *, keeps_variables: bool) -> None:
        """Free the state of the execution that has begun a subscription, which may run for hours.

        The state takes 1 KB, and the variables can contain a prompt. Afterwards, only ``for_event`` may be called.
        """
        self.async_helpers = cast("GraphQLResolveInfoHelpers", None)
        self.collected_errors = _NO_ERRORS
        self.pending_incremental_futures = self.background_futures = _NO_FUTURES
        if not keeps_variables:
            self.variable_values = _NO_VARIABLES

    def for_event(self, payload: Any) -> Self:
        """Return an executor for one subscription event, with loaders and a deadline of its own."""
        one = self.build_per_event_executor(payload)
        one.async_helpers = GraphQLResolveInfoHelpers(gather=one.gather_async_work, track=one.track_async_work)
        one.pending_incremental_futures, one.background_futures = set(), set()
        one.context_value = self.context_value.renewed()
        return one

    def execute_root_grouped_field_set(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: GroupedFieldSet, *rest: Any
    ) -> Any:
        """Execute the operation's root fields."""
        if not self._root_fields:
            self._root_fields.append(grouped_field_set)
        return super().execute_root_grouped_field_set(root_type, root_value, self._root_fields[0], *rest)

    def execute_collected_root_fields(
        self, root_type: GraphQLObjectType, root_value: Any, grouped_field_set: GroupedFieldSet, *rest: Any
    ) -> Any:
        """Read introspection fields from a cache, and execute the other root fields."""
        execute = super().execute_collected_root_fields
        return with_schema(
            self, root_type, grouped_field_set, lambda others: execute(root_type, root_value, others, *rest)
        )

    has_context = True
    """Whether the execution has a context that can have something to report."""

    @property
    def context(self) -> RequestContext:
        """The operation's context."""
        context: RequestContext = self.context_value
        return context

    @property
    def failures(self) -> list[GraphQLError]:
        """The errors so far."""
        return self.collected_errors.errors

    def execute(self) -> Any:
        """Execute the operation. Return an ``ExecutionResult``, or an awaitable of it."""
        return self.execute_operation()

    def close(self) -> None:
        """Break the executor's reference cycles after the execution has ended."""
        self.async_helpers = cast("GraphQLResolveInfoHelpers", None)
        self.collected_errors.errors.clear()  # their tracebacks refer to the executor

    def cancel_fields(self) -> None:
        """Cancel all unfinished fields of an aborted answer."""
        for future in list(self.background_futures):
            future.cancel()

    def complete_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Complete a resolved value (GraphQL, 6.4.3)."""
        answer = self._answer
        kind = answer.kinds.get(id(return_type))
        if kind is None or result is None or result is Undefined or isinstance(result, Exception):
            return super().complete_value(return_type, field_details_list, info, path, result, position_context)
        if kind.coerce is None:
            complete = getattr(self, kind.complete)
            return complete(kind.named, field_details_list, info, path, result, position_context)
        if type(result) is kind.plain:
            value = result
        else:
            value = kind.coerce(result)
            if value is None or value is Undefined:
                return super().complete_value(return_type, field_details_list, info, path, result, position_context)
        if type(value) is str and len(value) < _SHORT_CHARS and value.isascii():
            answer.left -= len(value) + _QUOTES_BYTES
        else:
            answer.left -= json_size(value)
        if answer.left < 0:
            raise answer.too_large()
        return value

    async def complete_awaitable_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Await a field's value, wait for the ``FieldPacer``, and complete the value."""
        FIELD.set(path)
        try:
            resolved = await result
            if self._answer.must_wait:
                await self._answer.wait()
            completed = self.complete_value(return_type, field_details_list, info, path, resolved, position_context)
            if self.is_awaitable(completed):
                completed = await completed
        except Exception as raw_error:  # noqa: BLE001 - as graphql-core does
            self.handle_field_error(raw_error, return_type, field_details_list, path)
            completed = None
        return completed

    def complete_list_value(
        self,
        return_type: GraphQLList[Any],
        field_details_list: FieldDetailsList,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """Complete a list value (GraphQL, 6.4.3).

        A list of finite floats is completed in one step. One by one, the 150,000 numbers of a hundred embeddings would
        block the event loop for most of a second.
        """
        answer = self._answer
        if type(result) is list:
            kind = answer.kinds.get(id(return_type.of_type))
            if kind is not None and kind.is_float and _all_finite(result):
                answer.count(_FLOAT_BYTES * len(result))
                return result
            if answer.paced and kind is not None and kind.coerce is None:
                return self._paced_list(return_type.of_type, field_details_list, info, path, result)
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    async def _paced_list(
        self, item_type: Any, field_details_list: FieldDetailsList, info: Any, path: Path, items: list[Any]
    ) -> list[Any]:
        """Complete a list of objects like ``complete_iterable_value``. Let other operations run between the objects."""
        answer, done, awaited = self._answer, list[Any](), dict[int, asyncio.Future[Any]]()
        try:
            for index, item in enumerate(items):
                if answer.must_wait:
                    await answer.wait()
                at = path.add_key(index, None)
                if self.complete_list_item_value(item, done, item_type, field_details_list, info, at, None):
                    awaited[index] = asyncio.ensure_future(done[index])
            values = await gather_with_cancel(*awaited.values()) if awaited else ()
        except BaseException:  # also for a cancellation, because no item may continue after its list has failed
            for future in awaited.values():
                future.cancel()
            self.settle_in_background(list(awaited.values()))
            raise
        for index, value in zip(awaited, values, strict=True):
            done[index] = value
        return done

    def collect_subfields(self, return_type: Any, field_details_list: FieldDetailsList) -> CollectedFields:
        """Collect an object's selected fields. Add the field names to the answer's size."""
        collected = self.fields_of(return_type, field_details_list)
        self._answer.count_fields(collected[0])
        return collected

    def fields_of(self, return_type: Any, field_details_list: FieldDetailsList) -> CollectedFields:
        """Collect an object's selected fields without changing the answer's size."""
        return super().collect_subfields(return_type, field_details_list)

    def handle_field_error(
        self, raw_error: Exception, return_type: Any, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """Record a field's error.

        Raise AnswerAborted if the field aborted the answer, or if too many fields have failed.
        """
        if isinstance(raw_error, AnswerAborted):
            raise raw_error
        super().handle_field_error(raw_error, return_type, field_details_list, path)
        if len(self.collected_errors.errors) > MAX_ERRORS:
            raise too_many_errors()


def _all_finite(numbers: list[Any]) -> bool:
    return set(map(type, numbers)) <= {float} and isfinite(sum(numbers))
