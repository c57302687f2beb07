"""Executes GraphQL queries, mutations and subscriptions."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import strawberry
from graphql import ExecutionResult, FieldNode, GraphQLError, OperationType
from graphql.execution import create_source_event_stream

from app.graphql.acts import MutationExecutor, SubscriptionTrail
from app.graphql.answers import PACED_FIELDS, AnswerAborted, AnswerLimits
from app.graphql.cost import CostModel
from app.graphql.documents import Documents, Operation
from app.graphql.errors import format_error, gateway_extensions, is_internal, shaped
from app.graphql.executor import Executor
from app.graphql.plan.execution import EventExecution, Execution
from app.graphql.plan.plans import Plan
from app.graphql.results import Error, Executed, Refused, Result
from app.graphql.safe import is_safe
from app.telemetry import Telemetry
from clients.codes import Reason
from clients.errors import GatewayError, QueryTooComplex
from resolvers.context import RequestContext
from resolvers.streams.events import Detached
from schema.costs import costs_of

Run: TypeAlias = Executor | Execution
"""One execution of an operation, or of a subscription for one event: by graphql-core, or by a plan."""

RawVariables: TypeAlias = dict[str, Any] | None
"""A request's variables before coercion."""

MAX_LISTED_ERRORS = 20
"""Maximum number of field errors in an aborted result.

The gateway logs at most this number of internal errors for each result.
"""


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """Limits a document's tokens and depth, an operation's cost, and a result's bytes."""

    max_tokens: int
    max_depth: int
    max_cost: int
    max_answer_bytes: int


class _Started(NamedTuple):
    """An operation that is ready for execution.

    Attributes:
        reported: the operation's cost, or ``None`` if not requested.
        plan: the operation's plan, or ``None`` if graphql-core executes the operation.
    """

    executor: Executor
    cost: int
    reported: int | None
    plan: Plan | None


class Engine:
    """Executes GraphQL operations.

    Args:
        compiled: whether operations are executed by plans. If not, graphql-core executes all operations.
    """

    def __init__(
        self, schema: strawberry.Schema, telemetry: Telemetry, limits: EngineLimits, *, compiled: bool = True
    ) -> None:
        self._compiled = compiled
        self._schema = schema._schema
        self._telemetry = telemetry
        self._max_cost = limits.max_cost
        self._costs = CostModel(self._schema, costs_of(schema))
        self._answer_limits = AnswerLimits(self._schema, limits.max_answer_bytes)
        self.pacer = self._answer_limits.pacer
        self.documents = Documents(self._schema, max_tokens=limits.max_tokens, max_depth=limits.max_depth)

    def is_safe(self, operation: Operation) -> bool:
        """Return whether a client may send an operation by GET."""
        return is_safe(self._schema, operation)

    async def execute(
        self, operation: Operation, variables: RawVariables, context: RequestContext, *, report_cost: bool = False
    ) -> Result:
        """Execute a query or mutation. If ``report_cost`` is true, the result's ``extensions`` contain the cost."""
        started = self._start(operation, variables, context, report_cost=report_cost)
        result = started if isinstance(started, Refused) else await self._execute(self._run(started), started.reported)
        self._count(operation, failed=bool(result.errors))
        return result

    def results(
        self, operation: Operation, variables: RawVariables, context: RequestContext, *, report_cost: bool = False
    ) -> AsyncGenerator[Result, None]:
        """Execute an operation and yield the results. A subscription has one result per event."""
        execute = self._subscribe if operation.kind is OperationType.SUBSCRIPTION else self._execute_once
        return execute(operation, variables, context, report_cost=report_cost)

    async def _execute_once(
        self, operation: Operation, variables: RawVariables, context: RequestContext, *, report_cost: bool = False
    ) -> AsyncGenerator[Result, None]:
        yield await self.execute(operation, variables, context, report_cost=report_cost)

    async def _subscribe(
        self, operation: Operation, variables: RawVariables, context: RequestContext, *, report_cost: bool = False
    ) -> AsyncGenerator[Result, None]:
        """Execute a subscription, and yield one result for each event. An error ends the subscription.

        Each event has its own dataloaders.
        """
        started = self._start(operation, variables, context, report_cost=report_cost)
        if isinstance(started, Refused):
            self._count(operation, failed=True)
            yield started
            return
        del variables  # a subscription may run for hours
        trail = SubscriptionTrail(started.executor, operation, self._telemetry.audit)
        with closing(started.executor), trail:
            source = create_source_event_stream(started.executor)
            if inspect.isawaitable(source):
                source = await source
            if isinstance(source, ExecutionResult):
                trail.broke((source.errors or [])[0])
                self._count(operation, failed=True)
                yield self._result(_without_paths(source), context)
                return
            started.executor.rest(keeps_variables=started.plan is None or operation.plans.has_inputs)
            failed, events = False, cast("AsyncGenerator[Any]", source)
            try:
                try:
                    async for event in events:
                        trail.begun(event)
                        result = await self._execute(self._event_run(started, event), started.reported)
                        failed = bool(result.errors)
                        if isinstance(result, Executed):
                            result.cursor, result.is_detached = event.cursor, type(event.event) is Detached
                        yield result
                        del event, result  # an event must not stay in memory until the next one
                finally:
                    await events.aclose()
            except Exception as error:  # noqa: BLE001 - the client receives an error, whatever the exception
                trail.broke(error)
                failed = True
                yield self._result(ExecutionResult(None, [_graphql_error(error)]), context)  # a variable forms a cycle
            self._count(operation, failed=failed)

    def _run(self, started: _Started) -> Run:
        """Return the run of a query or mutation."""
        if started.plan is None:
            return started.executor
        return Execution(started.plan, started.executor, self._answer_limits, paced=started.cost > PACED_FIELDS)

    def _event_run(self, started: _Started, event: object) -> Run:
        """Return the run of a subscription for one event."""
        if started.plan is None:
            return started.executor.for_event(event)
        paced = started.cost > PACED_FIELDS
        return EventExecution(started.plan, started.executor, self._answer_limits, paced=paced, root=event)

    def _start(
        self, operation: Operation, variables: RawVariables, context: RequestContext, *, report_cost: bool
    ) -> _Started | Refused:
        """Prepare an operation for execution. Refuse an operation that costs too much or has invalid variables.

        Undeclared variables are deleted, so that a subscription does not keep them in memory.
        """
        context.reads_cache = operation.kind is OperationType.QUERY
        if variables:
            declared = {one.variable.name.value for one in operation.node.variable_definitions or ()}
            for name in variables.keys() - declared:
                del variables[name]
        try:
            cost = self._costs.cost(operation, variables)
        except QueryTooComplex as error:
            return Refused.by(error, context.request_id)
        if cost > self._max_cost:
            refused = Refused.by(self._too_costly(cost), context.request_id)
            refused.extensions = self._report(cost, context) if report_cost else None
            return refused
        kind = MutationExecutor if operation.kind is OperationType.MUTATION else Executor
        executor = kind.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation.name,
        )
        if isinstance(executor, list):
            return self._refused(executor, context)
        is_event = operation.kind is OperationType.SUBSCRIPTION
        bound = cast("Executor", executor).bound(self._answer_limits, paced=cost > PACED_FIELDS)
        if isinstance(bound, MutationExecutor):
            bound.audit = self._telemetry.audit
        plan = operation.plans.plan(bound, cost, at_once=is_event) if self._compiled else None
        return _Started(bound, cost, cost if report_cost else None, plan)

    def _too_costly(self, cost: int) -> QueryTooComplex:
        return QueryTooComplex(
            f"The operation's cost is {cost:,}: at most {self._max_cost:,} is allowed. Request smaller pages with "
            "`first` or `last`, select fewer fields, or use several operations.",
            reason=Reason.COST,
        )

    def _report(self, cost: int, context: RequestContext) -> dict[str, Any]:
        calls = context.calls
        return {
            "cost": {
                "requested": cost,
                "limit": self._max_cost,
                "upstreamCalls": calls.made,
                "upstreamCallsLimit": calls.limit,
            }
        }

    async def _execute(self, run: Run, reported: int | None) -> Result:
        result: Result
        try:
            executed: Any = run.execute()
            if inspect.isawaitable(executed):
                executed = await executed
            if not executed.errors and reported is None and not run.has_context:
                return Executed(executed.data)
            result = self._result(executed, run.context)
        except AnswerAborted as aborted:
            run.cancel_fields()
            first = shaped(aborted.error.message, gateway_extensions(aborted.error, run.context.request_id))
            result = Executed(None, [first, *self._sent(run.failures[:MAX_LISTED_ERRORS], run.context)])
        finally:
            run.close()
        context = run.context
        cost = {} if reported is None else self._report(reported, context)
        stale = {} if (report := context.stale_report) is None else {"stale": report}
        result.extensions = {**cost, **stale} or None
        return result

    def _result(self, result: Any, context: RequestContext) -> Result:
        """Convert graphql-core's result. A result without ``data`` is a request error result (GraphQL, 7.1)."""
        errors: list[GraphQLError] = result.errors
        if not errors:
            return Executed(result.data)
        if result.data is None and all(error.path is None for error in errors):
            return self._refused(errors, context)
        return Executed(result.data, self._sent(errors, context))

    def _refused(self, errors: list[GraphQLError], context: RequestContext) -> Refused:
        original = errors[0].original_error
        retry_after = original.retry_after_seconds if isinstance(original, GatewayError) else None
        return Refused(self._sent(errors, context), retry_after_seconds=retry_after)

    def _sent(self, errors: list[GraphQLError], context: RequestContext) -> list[Error]:
        for error in errors:
            self._telemetry.audit.limited(error.original_error, context)
        for error in [error for error in errors if is_internal(error)][:MAX_LISTED_ERRORS]:
            self._telemetry.log.error(
                "internal error",
                request_id=context.request_id,
                field=_field_of(error),
                exc_info=error.original_error or error,
            )
        return [format_error(error, context.request_id) for error in errors]

    def _count(self, operation: Operation, *, failed: bool) -> None:
        self._telemetry.operation_ended(operation.kind.value, "error" if failed else "ok")


def _graphql_error(error: Exception) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)


def _without_paths(result: ExecutionResult) -> ExecutionResult:
    """Remove the paths from the errors of a subscription that failed before its first event."""
    errors = [
        error if error.original_error is None else GraphQLError(error.message, original_error=error.original_error)
        for error in result.errors or []
    ]
    return ExecutionResult(None, errors)


def _field_of(error: GraphQLError) -> str | None:
    """Return the name of a field with an error. The error's path has aliases, which can be any text of the client."""
    node = error.nodes[0] if error.nodes else None
    return node.name.value if isinstance(node, FieldNode) else None
