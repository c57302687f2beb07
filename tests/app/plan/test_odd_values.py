"""Resolvers that return or raise what is unusual: a plan and graphql-core give equal answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry
from strawberry import Parent

from schema.base import reads
from tests.support.plans import Compared, described, text

pytestmark = pytest.mark.usefixtures("each_way")


class Row:
    """A record."""


class Lower(Row):
    """A record whose class is not declared, but whose base is."""


class OwnError(Exception):
    def __str__(self) -> str:
        return "own"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Later:
    """An awaitable that is neither a coroutine nor a future."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._value, BaseException):
            raise self._value
        return self._value


async def later(value: Any) -> Any:
    return await Later(value)


def raising(error: Exception) -> Callable[[Any], Any]:
    def resolve(_context: Any) -> Any:
        raise error

    return resolve


VALUES: dict[str, Callable[[Any], Any]] = {
    "sharedFuture": lambda context: context.future,
    "sharedTask": lambda context: context.task,
    "doneFuture": lambda context: context.done,
    "failedFuture": lambda context: context.failed,
    "later": lambda _: Later("a"),
    "laterError": lambda _: Later(OwnError()),
    "coroutineError": lambda _: later(OwnError()),
    "function": lambda _: later(later),
    "gathered": lambda _: asyncio.gather(later("a")),
    "exception": lambda _: OwnError(),
    "unprintable": raising(Unprintable()),
    "group": raising(ExceptionGroup("group", [OwnError()])),
    "stop": raising(StopIteration("a")),
    "stopAsync": raising(StopAsyncIteration()),
    "recursion": raising(RecursionError("deep")),
    "timeout": raising(TimeoutError()),
}
LISTS: dict[str, Callable[[Any], Any]] = {
    "laterList": lambda _: later(["a", None, 3]),
    "tuple": lambda _: ("a", OwnError(), object()),
    "set": lambda _: {"a"},
    "dict": lambda _: {"a": 1},
    "keys": lambda _: {"a": 1}.keys(),
    "string": lambda _: "abc",
    "generator": lambda _: (one for one in "abc"),
    "generatorError": lambda _: (1 // len(one) for one in ["a", ""]),
    "number": lambda _: 5,
    "deque": lambda _: deque("ab"),
}
ROWS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda _: [Row(), Row(), Row()],
    "mixed": lambda _: [Row(), None, OwnError(), Lower(), object(), Row(), Row],
    "laterRows": lambda _: later([Row(), OwnError(), Row()]),
}


def resolver(value: Callable[[Any], Any], kind: Any) -> Any:
    def resolve(_row: Parent[Any], info: strawberry.Info) -> Any:
        return value(info.context)

    resolve.__annotations__["return"] = kind
    return strawberry.field(resolver=resolve)


def declared(name: str, values: dict[str, tuple[Callable[[Any], Any], Any]]) -> Any:
    fields = {one: resolver(value, kind) for one, (value, kind) in values.items()}
    return type(name, (), {"__annotations__": {}, "__module__": __name__, **fields})


TEXTS: Any = list[str | None] | None
RowType = strawberry.type(
    reads(Row)(
        declared(
            "RowType",
            {name: (value, str | None) for name, value in VALUES.items()}
            | {name: (value, TEXTS) for name, value in LISTS.items()},
        )
    )
)
Query = strawberry.type(
    declared("Query", {name: (value, list[RowType | None] | None) for name, value in ROWS.items()})  # type: ignore[valid-type]
)
SCHEMA = strawberry.Schema(Query, config=strawberry.schema.config.StrawberryConfig(auto_camel_case=False))._schema


def context() -> Any:
    """Return a context with futures that several fields return."""
    loop = asyncio.get_running_loop()
    future, done, failed = loop.create_future(), loop.create_future(), loop.create_future()
    loop.call_soon(loop.call_soon, future.set_result, "future")
    done.set_result("done")
    failed.set_exception(OwnError())
    failed.exception()
    return SimpleNamespace(future=future, done=done, failed=failed, task=loop.create_task(later("task")))


@pytest.mark.parametrize(
    "document",
    [
        *(f"{{ rows {{ {name} other: {name} }} }}" for name in (*VALUES, *LISTS)),
        "{ rows { " + " ".join((*VALUES, *LISTS)) + " } }",
        *(f"{{ {name} {{ __typename later tuple }} }}" for name in ROWS),
    ],
)
async def test_answers_are_equal(document: str) -> None:
    compared = Compared(SCHEMA, document)
    by_core = await compared.by_core(context())
    for _ in range(2):
        by_plan = await compared.by_plan(context())
        assert text(by_plan) == text(by_core)
        assert sorted(described(by_plan)) == sorted(described(by_core))
