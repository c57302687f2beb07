"""Execution: an operation and a context in, answers out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution import create_source_event_stream, execute_subscription_event
from graphql.execution import execute as graphql_execute

from app.graphql.documents import Documents, Operation
from app.graphql.errors import format_error, is_internal
from app.graphql.executor import Executor
from app.graphql.safe import is_safe
from app.telemetry import Telemetry
from resolvers.context import RequestContext

Payload = dict[str, Any]


class Engine:
    """Runs operations on the schema."""

    def __init__(self, schema: strawberry.Schema, telemetry: Telemetry, *, max_tokens: int, max_depth: int) -> None:
        self._schema = schema._schema
        self._telemetry = telemetry
        self.documents = Documents(self._schema, max_tokens=max_tokens, max_depth=max_depth)

    def is_safe(self, operation: Operation) -> bool:
        """Whether an operation may come by GET."""
        return is_safe(self._schema, operation)

    async def execute(self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext) -> Payload:
        """The answer to a query or mutation."""
        result = graphql_execute(
            self._schema,
            operation.document,
            context_value=context,
            variable_values=variables,
            operation_name=operation.name,
            executor_class=Executor,
        )
        answer = await result if inspect.isawaitable(result) else result
        payload = self._payload(answer, context)
        self._count(operation, payload)
        return payload

    async def answers(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext
    ) -> AsyncGenerator[Payload, None]:
        """All the answers to any operation: one to a query or mutation."""
        if operation.kind is OperationType.SUBSCRIPTION:
            async with aclosing(self.subscribe(operation, variables, context)) as answers:
                async for answer in answers:
                    yield answer
        else:
            yield await self.execute(operation, variables, context)

    async def subscribe(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext
    ) -> AsyncGenerator[Payload, None]:
        """The answers to a subscription, each with loaders of its own. A failure is the last of them."""
        executor = Executor.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation.name,
        )
        if isinstance(executor, list):
            yield self._refusal(operation, ExecutionResult(None, executor), context)
            return
        source = create_source_event_stream(executor)
        if inspect.isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield self._refusal(operation, source, context)
            return
        payload: Payload = {}
        try:
            async with aclosing(cast("Any", source)):
                async for event in source:
                    one = executor.build_per_event_executor(event)
                    one.context_value = context.renewed()
                    result = execute_subscription_event(one)
                    payload = self._payload(await result if inspect.isawaitable(result) else result, context)
                    yield payload
        except Exception as error:  # noqa: BLE001 - whatever stops a source, its reader must be told
            failure = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
            payload = self._payload(ExecutionResult(None, [failure]), context)
            yield payload
        self._count(operation, payload)

    def _refusal(self, operation: Operation, result: ExecutionResult, context: RequestContext) -> Payload:
        """The only answer to a subscription that does not begin."""
        payload = self._payload(result, context)
        self._count(operation, payload)
        return payload

    def _payload(self, result: ExecutionResult, context: RequestContext) -> Payload:
        payload: Payload = {}
        if result.errors:
            for error in result.errors:
                if is_internal(error):
                    self._report(error, context)
            payload["errors"] = [format_error(error, context.request_id) for error in result.errors]
        if result.data is not None or not _before_execution(result):
            payload["data"] = result.data
        return payload

    def _report(self, error: GraphQLError, context: RequestContext) -> None:
        """An error of ours, in full, for the log alone."""
        self._telemetry.log.error(
            "internal error",
            request_id=context.request_id,
            path=error.path,
            exc_info=error.original_error or error,
        )

    def _count(self, operation: Operation, payload: Payload) -> None:
        self._telemetry.operation_ended(operation.kind.value, "error" if payload.get("errors") else "ok")


def _before_execution(result: ExecutionResult) -> bool:
    """Whether errors kept the operation from beginning; such an answer has no ``data`` (GraphQL, 7.1)."""
    return bool(result.errors) and all(error.path is None for error in result.errors or [])
