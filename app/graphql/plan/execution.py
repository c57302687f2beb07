"""Executes one operation, or one event of a subscription, by its plan."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import iscoroutine
from math import inf
from typing import TYPE_CHECKING, Any

import orjson
from graphql import ExecutionResult, FieldNode, GraphQLError
from graphql.pyutils import is_awaitable

from app.graphql.answers import PACED_FIELDS, AnswerLimits, too_large
from app.graphql.executor import Executor
from app.graphql.plan.deferred import Deferred, LoadedField
from app.graphql.plan.inputs import Inputs
from app.graphql.plan.loads import Loads, Reader
from app.graphql.plan.places import Errors, Place, is_below, keys_of, located, nulled_by
from resolvers.context import RequestContext

if TYPE_CHECKING:
    from app.graphql.plan.plans import Plan
    from app.graphql.plan.values import Items

_SPEED = 8
"""The number of fields that a plan completes in the time in which graphql-core completes one field."""

_MAX_RATIO = 8
"""Maximum ratio of an answer's exact size to its estimate. A character has up to 6 bytes in JSON, and a number 25."""


class Execution(Inputs):
    """One execution of a plan.

    Attributes:
        left: the maximum size of the answer minus the estimated size so far, in bytes. Each character of a text counts
            as one byte, and each field and object counts its minimum size.
        done: the number of fields that were completed since the execution last paused for other tasks.
        most: the value of ``done`` above which the execution pauses.
        pending: deferred fields that have not begun: the field, its source, the object in the answer, and the object's
            position.
    """

    __slots__ = (
        "_data",
        "_executor",
        "_limits",
        "_loads",
        "_opened",
        "_ready",
        "_root",
        "_tasks",
        "_wake",
        "done",
        "errors",
        "left",
        "most",
        "pending",
        "plan",
    )

    def __init__(
        self, plan: Plan, executor: Executor, limits: AnswerLimits, *, paced: bool, root: object = None
    ) -> None:
        super().__init__()
        self.plan = plan
        self.errors = Errors()
        self.left = limits.max_bytes
        self.done = 0
        self.most = PACED_FIELDS if paced else inf
        self.pending: list[tuple[Deferred, Any, dict[str, Any], Place | None]] = []
        self._executor = executor
        self._root = root
        self._limits = limits
        self._data: dict[str, Any] | None = None
        self._loads = Loads()
        self._opened: list[Any] = []
        self._ready: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._tasks: dict[asyncio.Future[Any], tuple[Deferred, dict[str, Any], Place]] = {}
        self._wake: asyncio.Future[None] | None = None

    @property
    def executor(self) -> Executor:
        """graphql-core's executor, which has the operation's variables and makes ``info`` objects."""
        return self._executor

    @property
    def context(self) -> RequestContext:
        """The operation's context."""
        context: RequestContext = self.executor.context_value
        return context

    @property
    def has_context(self) -> bool:
        """Whether the execution has a context that can have something to report."""
        return True

    @property
    def failures(self) -> list[GraphQLError]:
        """The errors so far."""
        return self.errors.errors

    def cancel_fields(self) -> None:
        """Do nothing: an aborted execution has already cancelled its fields."""

    def close(self) -> None:
        """Break the reference cycles after the execution has ended."""
        self.errors.errors.clear()  # their tracebacks refer to the execution
        self._executor.close()

    def execute(self) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Execute the operation.

        Returns:
            The result, or an awaitable of the result if a field is deferred.

        Raises:
            AnswerAborted: the answer exceeds a limit. The awaitable raises this error, too.
        """
        try:
            self._data = self.plan.root(self)(self._root, self, None)
            if self.pending or self._ready:
                return self._finish()
            return self._result()
        except GraphQLError as error:
            self.errors.add(error, None)
            return self._result()
        finally:
            if self._data is None:
                self._close()

    def failed(self, error: Exception, nodes: list[FieldNode], place: Place) -> None:
        """Record an error at a position that is not yet in the answer. If the position is non-null, raise the error."""
        try:
            if not place[2]:
                raise located(error, nodes, place)
            self.errors.add(located(error, nodes, place), place)
        finally:
            del error  # avoids a cycle: the raised error's traceback refers to this frame

    def broke(self, error: Exception, nodes: list[FieldNode], place: Place) -> None:
        """Record an error at a position in the answer, and set the nearest nullable position to null."""
        one = located(error, nodes, place)
        if self.errors.has_nulled(place):
            return
        nulled = nulled_by(place)
        if nulled is None:
            self._data = None
        else:
            self._set_null(nulled)
        self.errors.add(one, nulled)
        if nulled is not place:
            for task, (_, _, at) in self._tasks.items():
                if is_below(at, nulled):
                    task.cancel()

    def awaits(self, value: Any) -> bool:
        """Return whether a resolver's result is awaitable. If not, add the result's class to ``Plan.plain_classes``."""
        if is_awaitable(value):
            self._opened.append(value)
            return True
        if not isinstance(value, Exception):
            self.plan.plain_classes.add(type(value))
        return False

    def run(self, deferred: Deferred, awaitable: Awaitable[Any], out: dict[str, Any], place: Place) -> None:
        """Await a field's value in a task."""
        task = asyncio.ensure_future(awaitable if iscoroutine(awaitable) else _awaited(awaitable))
        self._tasks[task] = deferred, out, place
        task.add_done_callback(self._task_done)

    def load(self, field: LoadedField, key: Any, source: Any, out: dict[str, Any], place: Place) -> None:
        """Load a record. All fields of the operation that need the record share one load."""
        self._loads.read(Reader(field, source, out, place), key, self)

    def later(self, items: Items, value: list[Any], start: int, out: list[Any], place: Place | None) -> None:
        """Complete a list's items from ``start`` after other tasks have run."""
        self.queue(items.resume, value, start, out, place, self)

    def queue(self, step: Callable[..., None], *arguments: Any) -> None:
        """Run a function in the next drain."""
        self._ready.append((step, arguments))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _task_done(self, task: asyncio.Future[Any]) -> None:
        self.queue(self._settle, task)

    def _settle(self, task: asyncio.Future[Any]) -> None:
        deferred, out, place = self._tasks.pop(task)
        if self.errors.has_nulled(place):
            if not task.cancelled():
                task.exception()  # a task's exception that nothing reads is logged
            return
        try:
            deferred.settle(task.result(), out, place, self)
        except Exception as error:  # noqa: BLE001 - a field's error, whatever the exception
            deferred.fail(error, place, self)
        finally:
            del task  # avoids a cycle: the task refers to the error, and the error's traceback to this frame

    async def _finish(self) -> ExecutionResult:
        try:
            while self._data is not None:
                self._start()
                if not self._ready:
                    if not self._tasks and not self._loads.is_waiting:
                        break
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                    self._wake = None
                await self._drain()
            return self._result()
        finally:
            await self._stop()

    def _start(self) -> None:
        """Begin the deferred fields."""
        while self.pending:
            pending, self.pending = self.pending, []
            for deferred, source, out, parent in pending:
                if not self.errors.has_nulled(parent):
                    deferred.start(source, out, parent, self)
        self._loads.clear_loaders()

    async def _drain(self) -> None:
        """Complete the fields whose values have arrived."""
        ready = self._ready
        while ready and self._data is not None:
            if self.done > self.most:
                self._start()
                await self._pause()
            step, arguments = ready.popleft()
            step(*arguments)
            del arguments  # a task must not live longer than its field
            self._check()

    async def _pause(self) -> None:
        self._limits.pacer.take(int(self.done / _SPEED))
        self.done = 0
        await self._limits.pacer.wait()

    def _check(self) -> None:
        if self.left < 0:
            raise too_large(self._limits.max_bytes)

    def _result(self) -> ExecutionResult:
        self._check()
        most = self._limits.max_bytes
        if self._data is not None and (most - self.left) * _MAX_RATIO > most:
            with suppress(TypeError):  # the response cannot be encoded either
                if len(orjson.dumps(self._data)) > most:
                    raise too_large(most)
        return ExecutionResult(self._data, self.errors.errors or None)

    def _set_null(self, place: Place) -> None:
        *parents, last = keys_of(place)
        at: Any = self._data
        for key in parents:
            at = at[key]
        at[last] = None

    async def _stop(self) -> None:
        """Cancel the tasks and loads that have not ended."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # even if the execution is cancelled again
            self._close()

    def _close(self) -> None:
        """Release the loads, and break reference cycles."""
        self._loads.leave()
        for one in self._opened:
            if iscoroutine(one):
                one.close()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._opened.clear()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    """Await an object that several fields can have returned, such as a future. Each field needs a separate task."""
    return await awaitable


class EventExecution(Execution):
    """The execution of one event of a subscription. Creates an executor and loaders only if a field needs them."""

    __slots__ = ("_own",)

    def __init__(
        self, plan: Plan, executor: Executor, limits: AnswerLimits, *, paced: bool, root: object = None
    ) -> None:
        super().__init__(plan, executor, limits, paced=paced, root=root)
        self._own: Executor | None = None

    @property
    def executor(self) -> Executor:
        """An executor for this event, made at the first use. Most events have only attributes, and need no executor."""
        if self._own is None:
            self._own = self._executor.for_event(self._root)
        return self._own

    @property
    def has_context(self) -> bool:
        """Whether the execution has a context that can have something to report."""
        return self._own is not None

    def close(self) -> None:
        """Break the reference cycles after the execution has ended."""
        self.errors.errors.clear()
        if self._own is not None:
            self._own.close()
