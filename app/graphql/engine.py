"""Execution: an operation and a context in, answers out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution import create_source_event_stream

from app.graphql.answers import HELD_FIELDS, AnswerGivenUp, AnswerLimits
from app.graphql.cost import CostModel
from app.graphql.documents import Documents, Operation
from app.graphql.errors import format_error, gateway_extensions, is_internal, shaped
from app.graphql.executor import Executor
from app.graphql.plain import PlainEvents
from app.graphql.safe import is_safe
from app.telemetry import Telemetry
from clients.codes import Reason
from clients.errors import QueryTooComplex
from resolvers.context import RequestContext
from schema.costs import costs_of

Payload = dict[str, Any]

KEPT_ERRORS = 20
"""How many errors of fields an answer that is given up has, and how many errors of ours are logged in full."""


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """The bounds on one operation: its document, what it may cost, the bytes of each answer's JSON."""

    max_tokens: int
    max_depth: int
    max_cost: int
    max_answer_bytes: int


class _Started(NamedTuple):
    """An operation that may be executed. ``reported`` is its cost, where the request asks for it."""

    executor: Executor
    reported: int | None


class Engine:
    """Runs operations on the schema."""

    def __init__(self, schema: strawberry.Schema, telemetry: Telemetry, limits: EngineLimits) -> None:
        self._schema = schema._schema
        self._telemetry = telemetry
        self._max_cost = limits.max_cost
        self._costs = CostModel(self._schema, costs_of(schema))
        self._answer_limits = AnswerLimits(self._schema, limits.max_answer_bytes)
        self.turns = self._answer_limits.turns
        self.documents = Documents(self._schema, max_tokens=limits.max_tokens, max_depth=limits.max_depth)

    def is_safe(self, operation: Operation) -> bool:
        """Whether an operation may come by GET."""
        return is_safe(self._schema, operation)

    async def execute(
        self,
        operation: Operation,
        variables: dict[str, Any] | None,
        context: RequestContext,
        *,
        report_cost: bool = False,
    ) -> Payload:
        """The answer to a query or mutation. With ``report_cost``, its ``extensions`` say what the operation cost."""
        started = self._start(operation, variables, context, report_cost=report_cost)
        payload = started if isinstance(started, dict) else await self._answer(started, context)
        self._count(operation, payload)
        return payload

    def answers(
        self,
        operation: Operation,
        variables: dict[str, Any] | None,
        context: RequestContext,
        *,
        report_cost: bool = False,
    ) -> AsyncGenerator[Payload, None]:
        """All the answers to any operation: one to a query or mutation. ``report_cost`` is as in ``execute``."""
        answers = self.subscribe if operation.kind is OperationType.SUBSCRIPTION else self._one_answer
        return answers(operation, variables, context, report_cost=report_cost)

    async def _one_answer(
        self,
        operation: Operation,
        variables: dict[str, Any] | None,
        context: RequestContext,
        *,
        report_cost: bool = False,
    ) -> AsyncGenerator[Payload, None]:
        yield await self.execute(operation, variables, context, report_cost=report_cost)

    async def subscribe(
        self,
        operation: Operation,
        variables: dict[str, Any] | None,
        context: RequestContext,
        *,
        report_cost: bool = False,
    ) -> AsyncGenerator[Payload, None]:
        """The answers to a subscription, each with loaders of its own. A failure is the last of them."""
        started = self._start(operation, variables, context, report_cost=report_cost)
        if isinstance(started, dict):
            self._count(operation, started)
            yield started
            return
        with closing(started.executor):
            source = create_source_event_stream(started.executor)
            if inspect.isawaitable(source):
                source = await source
            if isinstance(source, ExecutionResult):
                payload = self._payload(_refused(source), context)
                self._count(operation, payload)
                yield payload
                return
            payload, plain = {}, PlainEvents(started.executor, self._answer_limits)
            try:
                async with aclosing(cast("Any", source)):
                    async for event in source:
                        data = plain.data(event) if started.reported is None else None
                        payload = await self._executed(started, event, context) if data is None else {"data": data}
                        yield payload
                        del event, data  # while it waits for the next one, nothing is kept of it
                        payload = {"errors": True} if payload.get("errors") else {}
            except Exception as error:  # noqa: BLE001 - whatever stops a source, its reader must be told
                failure = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
                payload = self._payload(ExecutionResult(None, [failure]), context)
                yield payload
            self._count(operation, payload)

    async def _executed(self, started: _Started, event: object, context: RequestContext) -> Payload:
        """The answer to one event, as the executor makes it."""
        one = started.executor.build_per_event_executor(event)
        one.context_value = context.renewed()
        return await self._answer(_Started(one, started.reported), one.context_value, serially=False)

    def _start(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext, *, report_cost: bool
    ) -> _Started | Payload:
        """An operation ready to be executed, or the answer to one that is not executed.

        Deletes variables that the operation does not declare, so that a subscription does not keep them in memory.
        """
        if variables:
            declared = {one.variable.name.value for one in operation.node.variable_definitions or ()}
            for name in variables.keys() - declared:
                del variables[name]
        try:
            cost = self._costs.cost(operation, variables)
        except QueryTooComplex as error:
            return {"errors": [_told(error, context)]}
        if cost > self._max_cost:
            refusal: Payload = {"errors": [_told(self._too_costly(cost), context)]}
            return refusal | (self._report(cost, context) if report_cost else {})
        executor = Executor.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation.name,
        )
        if isinstance(executor, list):
            return self._payload(ExecutionResult(None, executor), context)
        bound = cast("Executor", executor).bound(self._answer_limits, paced=cost > HELD_FIELDS)
        return _Started(bound, cost if report_cost else None)

    def _too_costly(self, cost: int) -> QueryTooComplex:
        return QueryTooComplex(
            f"The operation's cost is {cost:,}: at most {self._max_cost:,} is allowed. Request smaller pages (`first`, "
            "`last`) or fewer fields of each item, or use several operations.",
            reason=Reason.COST,
        )

    def _report(self, cost: int, context: RequestContext) -> Payload:
        """What ``extensions`` say of an operation's cost."""
        calls = context.calls
        return {
            "extensions": {
                "cost": {
                    "requested": cost,
                    "limit": self._max_cost,
                    "upstreamCalls": calls.made,
                    "upstreamCallsLimit": calls.limit,
                }
            }
        }

    async def _answer(self, started: _Started, context: RequestContext, *, serially: bool | None = None) -> Payload:
        executor = started.executor
        try:
            result = executor.execute_operation(serially)
            payload = self._payload(await result if inspect.isawaitable(result) else result, context)
        except AnswerGivenUp as given_up:
            executor.give_up()
            kept = executor.collected_errors.errors[:KEPT_ERRORS]
            payload = self._payload(ExecutionResult(None, kept), context)
            payload = {"errors": [_told(given_up.error, context), *payload.get("errors", [])], "data": None}
        finally:
            executor.close()
        return payload if started.reported is None else payload | self._report(started.reported, context)

    def _payload(self, result: Any, context: RequestContext) -> Payload:
        payload: Payload = {}
        if result.errors:
            for error in [error for error in result.errors if is_internal(error)][:KEPT_ERRORS]:
                self._log(error, context)
            payload["errors"] = [format_error(error, context.request_id) for error in result.errors]
        if result.data is not None or not _before_execution(result):
            payload["data"] = result.data
        return payload

    def _log(self, error: GraphQLError, context: RequestContext) -> None:
        """An error of ours, in full, for the log alone."""
        self._telemetry.log.error(
            "internal error",
            request_id=context.request_id,
            path=error.path,
            exc_info=error.original_error or error,
        )

    def _count(self, operation: Operation, payload: Payload) -> None:
        self._telemetry.operation_ended(operation.kind.value, "error" if payload.get("errors") else "ok")


def _told(error: QueryTooComplex, context: RequestContext) -> dict[str, Any]:
    return shaped(error.message, gateway_extensions(error, context.request_id))


def _refused(result: ExecutionResult) -> ExecutionResult:
    """The result of a subscription that a resolver refused before its first event: a request error, without a path."""
    errors = [
        error if error.original_error is None else GraphQLError(error.message, original_error=error.original_error)
        for error in result.errors or []
    ]
    return ExecutionResult(None, errors)


def _before_execution(result: ExecutionResult) -> bool:
    """Whether errors kept the operation from beginning; such an answer has no ``data`` (GraphQL, 7.1)."""
    return bool(result.errors) and all(error.path is None for error in result.errors or [])
