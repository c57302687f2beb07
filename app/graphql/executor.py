"""graphql-core's executor, with limits on bytes, errors and the time it blocks the loop, and faster completion."""

from __future__ import annotations

import asyncio
from math import isfinite
from typing import Any, Self, cast

from graphql import GraphQLList, GraphQLObjectType, GraphQLResolveInfoHelpers, Undefined
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.answers import MAX_ERRORS, Answer, AnswerGivenUp, AnswerLimits, json_size
from app.graphql.introspection import with_schema
from clients.codes import Reason
from clients.errors import QueryTooComplex

_SHORT_CHARS = 256
"""Shorter ASCII strings count with their length; others are encoded to measure them."""

_QUOTES_BYTES = 3
"""Of a string: its quotes, and the comma in a list."""

_FLOAT_BYTES = 20


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Counts the bytes of an answer while it is built, and gives it up if there are too many.

    graphql-core 3.3.2 collects the root's fields for every event of a subscription, and memoises their subfields by the
    identity of that collection until the subscription ends: its memory grows with every event. Here all events share
    the collection of the first one.
    """

    __slots__ = ("_answer", "_root_fields", "abort_signal", "hide_suggestions", "operation_extensions", "type_resolver")
    """Includes graphql-core's own attributes: CPython makes a dict for an object with more than 30."""

    _answer: Answer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._root_fields: list[GroupedFieldSet] = []  # shared with the copies for events

    def bound(self, limits: AnswerLimits, *, paced: bool) -> Self:
        """Limit the answer, and return the executor. A ``paced`` answer yields to other operations."""
        self._answer = Answer(limits, paced=paced)
        return self

    @property
    def root_fields(self) -> GroupedFieldSet | None:
        """The root's fields; ``None`` before the first execution."""
        return self._root_fields[0] if self._root_fields else None

    def build_per_event_executor(self, payload: Any) -> Self:
        """Make the executor of one event, with its own limits."""
        one: Self = super().build_per_event_executor(payload)  # type: ignore[assignment]
        return one.bound(self._answer.limits, paced=self._answer.paced)

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
        """Execute the root's fields. Fields of introspection are completed at once."""
        execute = super().execute_collected_root_fields
        return with_schema(
            self, root_type, grouped_field_set, lambda others: execute(root_type, root_value, others, *rest)
        )

    def close(self) -> None:
        """Break reference cycles, which would wait for the garbage collector. The execution must have ended."""
        self.async_helpers = cast("GraphQLResolveInfoHelpers", None)
        self.collected_errors.errors.clear()  # their tracebacks refer to the executor

    def give_up(self) -> None:
        """Cancel the siblings of the field that gave up the answer."""
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
        """Complete a value."""
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
        """Complete an awaitable value, after the pacer has admitted it."""
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
        """Complete a list.

        Finite floats are completed in one step: one by one, the 150,000 numbers of a hundred embeddings block the
        event loop for most of a second.
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
        """Complete a list of objects as ``complete_iterable_value`` does, but yield to other operations."""
        answer, done, awaited = self._answer, list[Any](), dict[int, asyncio.Future[Any]]()
        try:
            for index, item in enumerate(items):
                if answer.must_wait:
                    await answer.wait()
                at = path.add_key(index, None)
                if self.complete_list_item_value(item, done, item_type, field_details_list, info, at, None):
                    awaited[index] = asyncio.ensure_future(done[index])
            values = await gather_with_cancel(*awaited.values()) if awaited else ()
        except BaseException:  # a cancellation too: no item continues after the list was given up
            for future in awaited.values():
                future.cancel()
            self.settle_in_background(list(awaited.values()))
            raise
        for index, value in zip(awaited, values, strict=True):
            done[index] = value
        return done

    def collect_subfields(self, return_type: Any, field_details_list: FieldDetailsList) -> CollectedFields:
        """Collect the fields of an object, and count their names."""
        collected = self.fields_of(return_type, field_details_list)
        self._answer.count_fields(collected[0])
        return collected

    def fields_of(self, return_type: Any, field_details_list: FieldDetailsList) -> CollectedFields:
        """Collect the fields of an object without counting them."""
        return super().collect_subfields(return_type, field_details_list)

    def handle_field_error(
        self, raw_error: Exception, return_type: Any, field_details_list: FieldDetailsList, path: Path
    ) -> None:
        """Record the error of a field, unless it gives up the whole answer."""
        if isinstance(raw_error, AnswerGivenUp):
            raise raw_error
        super().handle_field_error(raw_error, return_type, field_details_list, path)
        if len(self.collected_errors.errors) > MAX_ERRORS:
            message = f"More than {MAX_ERRORS:,} fields failed. The first errors are listed, and no data is sent."
            raise AnswerGivenUp(QueryTooComplex(message, reason=Reason.ERRORS))


def _all_finite(numbers: list[Any]) -> bool:
    return set(map(type, numbers)) <= {float} and isfinite(sum(numbers))
