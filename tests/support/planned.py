"""A schema with loads, tasks and errors, for executions by plans."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import strawberry
from strawberry import Parent

from resolvers.cache.stale import FIELD
from resolvers.loading import Loader
from schema.base import reads


class Row:
    """A record. Rows with equal keys have the same state."""

    def __init__(self, key: str, rows: list[Row] | None = None) -> None:
        self.key = key
        self.rows = rows or []
        self.text = "a"


class Shared(Loader[str, str]):
    """A loader that counts its batches, and notes for which field each stale record was read."""

    __slots__ = ("batches", "gate", "stale")

    def __init__(self) -> None:
        super().__init__(self._batch_of)
        self.batches: list[list[str]] = []
        self.stale: list[list[str | int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def _batch_of(self, keys: list[str]) -> list[str | Exception]:
        self.batches.append(sorted(keys))
        await self.gate.wait()
        return [KeyError(key) if key == "bad" else f"state of {key}" for key in keys]

    def is_stale(self, _key: str) -> bool:
        return _key == "old"

    def report(self, _key: str) -> None:
        field = FIELD.get()
        assert field is not None
        self.stale.append(field.as_list())


def loaded(suffix: str) -> Any:
    async def resolve(row: Parent[Any], info: strawberry.Info) -> str | None:
        raise AssertionError("a loaded field needs no coroutine")

    resolve.loaded = SimpleNamespace(  # type: ignore[attr-defined]
        loader=lambda context: context.loader,
        key=lambda row: row.key or None,
        value=lambda record, row, context: f"{record} {row.text} {context.word} {suffix}",
    )
    return resolve


async def hangs(info: strawberry.Info) -> str | None:
    info.context.began.set()
    try:
        await asyncio.Event().wait()
    finally:
        info.context.ended.append(FIELD.get())
    return None


async def ends_late(info: strawberry.Info) -> str | None:
    info.context.began.set()
    try:
        await asyncio.Event().wait()
    finally:
        info.context.late.set()
        await info.context.loader.gate.wait()
    return None


def fails() -> str:
    raise ValueError("failed")


async def fails_later(info: strawberry.Info) -> str:
    await info.context.began.wait()
    raise ValueError("failed later")


@strawberry.type
@reads(Row)
class RowType:
    text: str
    one: str | None = strawberry.field(resolver=loaded("1"))
    two: str | None = strawberry.field(resolver=loaded("2"))
    hang: str | None = strawberry.field(resolver=hangs)
    ends_late: str | None = strawberry.field(resolver=ends_late)
    fail: str | None = strawberry.field(resolver=fails)
    fail_needed: str = strawberry.field(resolver=fails)
    fail_later: str = strawberry.field(resolver=fails_later)
    rows: list[RowType]


def rows(info: strawberry.Info) -> list[RowType]:
    found: list[RowType] = info.context.rows
    return found


def row(info: strawberry.Info) -> RowType | None:
    return rows(info)[0]


@strawberry.type
class Query:
    rows: list[RowType] = strawberry.field(resolver=rows)
    row: RowType | None = strawberry.field(resolver=row)
    hang: str | None = strawberry.field(resolver=hangs)
    fail_needed: str = strawberry.field(resolver=fails)


SCHEMA = strawberry.Schema(Query)._schema


def context(*rows: Row) -> Any:
    return SimpleNamespace(
        loader=Shared(), rows=list(rows), word="w", began=asyncio.Event(), late=asyncio.Event(), ended=[]
    )
