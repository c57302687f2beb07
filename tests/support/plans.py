"""Executes operations by plans and by graphql-core, and compares the answers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationDefinitionNode, parse, validate

from app.graphql.answers import AnswerLimits
from app.graphql.executor import Executor
from app.graphql.plan import generated
from app.graphql.plan.execution import Execution
from app.graphql.plan.objects import ObjectPlan
from app.graphql.plan.places import Place
from app.graphql.plan.plans import Plans

MAX_BYTES = 10_000_000


class Compared:
    """A document that is executed by a plan and by graphql-core."""

    def __init__(self, schema: GraphQLSchema, document: str, max_bytes: int = MAX_BYTES) -> None:
        self.schema = schema
        self.document = parse(document)
        assert validate(schema, self.document) == [], document
        [operation] = [one for one in self.document.definitions if isinstance(one, OperationDefinitionNode)]
        self.plans = Plans(self.document, operation)
        self.limits = AnswerLimits(schema, max_bytes)

    def executor(self, context: Any, variables: dict[str, Any] | None, root: object, *, paced: bool) -> Executor:
        """Return graphql-core's executor."""
        executor = Executor.build(
            self.schema, self.document, root, context_value=context, raw_variable_values=variables or {}
        )
        assert isinstance(executor, Executor), executor
        return executor.bound(self.limits, paced=paced)

    async def by_core(
        self, context: Any = None, variables: dict[str, Any] | None = None, root: object = None, *, paced: bool = False
    ) -> ExecutionResult:
        """Execute the document by graphql-core."""
        return await _awaited(self.executor(context, variables, root, paced=paced))

    async def by_plan(
        self, context: Any = None, variables: dict[str, Any] | None = None, root: object = None, *, paced: bool = False
    ) -> ExecutionResult:
        """Execute the document by a plan."""
        executor = self.executor(context, variables, root, paced=paced)
        plan = self.plans.plan(executor, 0, at_once=True)
        assert plan is not None
        return await _awaited(Execution(plan, executor, self.limits, paced=paced, root=root))


class Generated:
    """Counts what generated functions do.

    Attributes:
        functions: how many functions were generated.
        objects: how many objects the functions have completed.
        failures: how many of the objects became null because of an error.
    """

    def __init__(self) -> None:
        self.functions = self.objects = self.failures = 0

    def generated(self, plan: ObjectPlan) -> generated.Generated | None:
        """Replace ``generated.generated``."""
        found = generated.generated(plan)
        if found is None:
            return None
        complete = found.complete
        self.functions += 1

        def counted(record: Any, x: Execution, place: Place | None) -> Any:
            self.objects += 1
            try:
                return complete(record, x, place)
            except Exception:
                self.failures += 1
                raise

        return found._replace(complete=counted)


@contextmanager
def generating(after: int) -> Iterator[Generated]:
    """Let plans generate functions when they have completed a number of objects, and count the functions' objects.

    If the number is 0, generated functions complete all objects.
    """
    found, make = Generated(), ObjectPlan.__init__

    def made(plan: ObjectPlan, *args: Any) -> None:
        make(plan, *args)
        if (function := found.generated(plan)) is not None:
            plan.complete = function.complete

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.graphql.plan.objects.WARM_OBJECTS", after - 1)
        patch.setattr("app.graphql.plan.plans.generated", found.generated)
        if not after:
            patch.setattr(ObjectPlan, "__init__", made)
        yield found


async def _awaited(run: Executor | Execution) -> ExecutionResult:
    try:
        executed: Any = run.execute()
        result: ExecutionResult = await executed if inspect.isawaitable(executed) else executed
        return ExecutionResult(result.data, list(result.errors) if result.errors else None)
    finally:
        run.close()


def text(result: ExecutionResult) -> bytes:
    """Return an answer's data as JSON."""
    return orjson.dumps(result.data)


def described(result: ExecutionResult) -> list[tuple[Any, ...]]:
    """Return the path, message, locations and cause of each error, in order."""
    return [_described(error) for error in result.errors or []]


def _described(error: GraphQLError) -> tuple[Any, ...]:
    locations = tuple((one.line, one.column) for one in error.locations or ())
    cause = type(error.original_error).__name__
    return tuple(error.path or ()), error.message, locations, cause


def nulled(result: ExecutionResult) -> set[tuple[str | int, ...]]:
    """Return the positions that are null because of the errors."""
    found = set()
    for error in result.errors or []:
        at, keys = result.data, tuple[str | int, ...]()
        for key in error.path or ():
            if at is None:
                break
            at, keys = at[key], (*keys, key)  # type: ignore[index]
        assert at is None, (error, result.data)
        found.add(keys)
    return found
