"""Measures the fault table: each operation of a service meets each fault, and the client's answers are recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import orjson

from app.signin import issuer as issuer_module
from app.signin import opening
from app.signin.issuer import COOL_DOWN_SECONDS
from clients import sse
from clients.codes import Reason
from clients.retries import MAX_RETRIES
from tests.support.cells import JWKS, OPERATIONS, Cell, Operation, Seen, read_own
from tests.support.faulting import (
    AT_ONCE,
    CONNECTION,
    FAULTS,
    HUGE_BYTES,
    LATE,
    FaultyService,
    Planned,
    faulty_service,
)
from tests.support.stack import ADA, Stack, embedded_stack, until
from tests.support.streaming import stored_messages
from tests.support.supabase import Issuer, issuing, key_pair

APART = {
    "breaker_failures": 10**6,
    "breaker_calls": 10**6,
    "upstream_retry_percent": 100,
    "max_upstream_bytes": 1_200_000,
    "rate_limit_general": 0,
    "rate_limit_llm": 0,
    "stream_coalesce_milliseconds": 0,
}
"""Settings with which one cell's failures do not change another cell's answer."""

TIMED_OUT = ("slow connect", *LATE)
"""The faults that end with a timeout."""

SECONDS = 30.0
"""The time that a cell may take, on a busy machine too."""


def _timeouts(fault: str, patience: float) -> dict[str, float]:
    """Return the settings of a fault. A timeout that must not pass first is long."""
    match fault:
        case "slow connect":
            return {"connect_timeout_seconds": 0.2 * patience}
        case "hang in body":
            return {
                "request_timeout": 1.2 * patience,
                "llm_timeout_seconds": 1.6 * patience,
                "stream_idle_seconds": 0.6 * patience,
            }
        case _:
            return {
                "request_timeout": 1.2 * patience,
                "llm_timeout_seconds": 1.2 * patience,
                "stream_first_token_seconds": 1.0 * patience,
            }


class Row(NamedTuple):
    """What a client gets. Texts, as in the data file.

    Attributes:
        http: the HTTP status.
        code, reason: of the error; at ``/v1``, its ``type`` and ``code``.
        retryable: ``yes`` or ``no``; at ``/v1``, whether OpenAI's SDKs repeat the request.
        retry_after: in seconds; empty if none.
        calls: how often the gateway made the call that failed.
        kept: what of the answer the client gets.
        key: what a repetition with the same key meets, once the service works again.
    """

    http: str
    code: str
    reason: str
    retryable: str
    retry_after: str
    calls: str
    kept: str
    key: str


CellKey = tuple[str, str, str]
"""A service, the name of an operation, and a fault."""


@asynccontextmanager
async def _faulty_stack(service: str, settings: dict[str, Any]) -> AsyncIterator[tuple[Stack, FaultyService]]:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(faulty_service())
        running = await stack.enter_async_context(
            embedded_stack(cache="off", **{f"{service}_base_url": proxy.url}, **settings)
        )
        proxy.target = running.servers[service].url
        await running.own_key()
        yield running, proxy


class Table:
    """Measures the cells of one service with one gateway."""

    def __init__(self, service: str, stack: Stack, proxy: FaultyService) -> None:
        self._service = service
        self._stack = stack
        self._proxy = proxy
        self._agents = len(stack.platform.state.users[ADA].rows)
        self._cells: list[tuple[Operation, Cell]] = []

    def check_that_nothing_happened_twice(self) -> None:
        """Check that each mutation and subscription was carried out once, after its fault and its repetition."""
        acts = [cell for operation, cell in self._cells if operation.name in {"mutation", "subscription"}]
        if self._service == "letta":
            assert {len(stored_messages(self._stack, cell.agent_id)) for cell in acts} == {1}
        if self._service == "ams":
            created = len(self._stack.platform.state.users[ADA].rows) - self._agents
            assert created == sum(operation.name == "mutation" for operation, _ in self._cells)

    async def measure(self, *faults: str) -> dict[CellKey, Row]:
        """Measure all operations with these faults at the same time."""
        pairs = [(fault, operation) for fault in faults for operation in OPERATIONS[self._service]]
        cells = [await self._cell(fault, operation) for fault, operation in pairs]
        seen = await asyncio.gather(*(_timed(one, cell) for (_, one), cell in zip(pairs, cells, strict=True)))
        return {
            (self._service, one.name, fault): _row(of_client, self._proxy.seen[cell.request_id], await key)
            for (fault, one), cell, of_client, key in zip(
                pairs, cells, seen, self._keys(pairs, cells, seen), strict=True
            )
        }

    async def unconnected(self, fault: str) -> dict[CellKey, Row]:
        """Measure all operations while connections are refused, or hang."""
        operations = OPERATIONS[self._service]
        cells = [await self._cell(fault, operation) for operation in operations]
        await self._proxy.stop(stall=fault == "slow connect")
        seen = await asyncio.gather(*(_timed(one, cell) for one, cell in zip(operations, cells, strict=True)))
        await self._proxy.listen()
        calls = self._failed_attempts()
        pairs = [(fault, one) for one in operations]
        return {
            (self._service, one.name, fault): _row(of_client, calls[cell.request_id], await key)
            for one, cell, of_client, key in zip(operations, cells, seen, self._keys(pairs, cells, seen), strict=True)
        }

    async def _cell(self, fault: str, operation: Operation) -> Cell:
        cell = Cell(self._stack, f"{fault}-{operation.name}".replace(" ", "-"), token=self._stack.token())
        if operation.needs_agent:
            cell.agent_id = await self._stack.make_agent()
        if fault not in CONNECTION:
            self._proxy.plans[cell.request_id] = Planned(fault, operation.method, operation.path)
        self._cells.append((operation, cell))
        return cell

    def _failed_attempts(self) -> Counter[str]:
        """Count the failed attempts by request id, from the gateway's log."""
        lines = map(orjson.loads, self._stack.log.getvalue().splitlines())
        failed = (line for line in lines if line["event"] == "upstream" and line["outcome"] != "ok")
        return Counter(line["request_id"] for line in failed if line["service"] == self._service)

    def _keys(self, pairs: list[tuple[str, Operation]], cells: list[Cell], seen: list[Seen]) -> list[asyncio.Task[str]]:
        found = zip(pairs, cells, seen, strict=True)
        return [asyncio.create_task(self._key(operation, cell, first)) for (_, operation), cell, first in found]

    async def _key(self, operation: Operation, cell: Cell, first: Seen) -> str:
        """Repeat the request with its key, without the fault."""
        if not operation.has_key:
            return ""
        again = replace(cell, request_id=f"again-{cell.request_id}")
        self._proxy.plans[again.request_id] = Planned("", operation.method, operation.path)
        seen = await _timed(operation, again)
        if seen.error:
            reason = seen.error["reason"]
            return (
                "unknown" if reason.lower() == "outcome_unknown" else _same(reason, first.error["reason"], "replayed")
            )
        return "free" if self._proxy.seen[again.request_id] or operation.method == "GET" else "found"


def _same(value: str, expected_value: str, word: str) -> str:
    assert value == expected_value
    return word


async def _timed(operation: Operation, cell: Cell) -> Seen:
    """Send a request. If the gateway sheds it, because the machine is busy, send it again as a client does."""
    async with asyncio.timeout(SECONDS):
        while True:
            seen = await operation.run(cell)
            if str(seen.error.get("reason")).upper() != Reason.BUSY:
                return seen
            await asyncio.sleep(SHED_SECONDS)


def _row(seen: Seen, calls: int, key: str) -> Row:
    error = seen.error
    retryable, after = error.get("retryable"), error.get("retryAfterSeconds")
    return Row(
        http=str(seen.http),
        code=error.get("code", ""),
        reason=error.get("reason") or "",
        retryable="" if retryable is None else ("no", "yes")[retryable],
        retry_after="" if after is None else f"{after:g}",
        calls=str(calls),
        kept=seen.kept,
        key=key,
    )


async def measured(service: str) -> dict[CellKey, Row]:
    """Measure all cells of a service."""
    found: dict[CellKey, Row] = {}
    if service != "supabase":
        async with _faulty_stack(service, APART) as (stack, proxy):
            table = Table(service, stack, proxy)
            with patch.object(sse, "MAX_EVENT_BYTES", HUGE_BYTES // 2):
                found |= await table.measure(*AT_ONCE)
            found |= await table.unconnected("refused")
            table.check_that_nothing_happened_twice()
    return found | await timed(service)


async def timed(service: str, patience: float = 1.0, only: Collection[str] = FAULTS) -> dict[CellKey, Row]:
    """Measure those of the faults ``only`` whose answers depend on timeouts. ``patience`` makes all timeouts longer."""
    if service == "supabase":
        return await _supabase(patience, only)
    tables = await asyncio.gather(*(_late(service, fault, patience) for fault in TIMED_OUT if fault in only))
    return {key: row for table in tables for key, row in table.items()}


async def _late(service: str, fault: str, patience: float) -> dict[CellKey, Row]:
    async with _faulty_stack(service, APART | _timeouts(fault, patience)) as (stack, proxy):
        table, proxy.patience = Table(service, stack, proxy), patience
        found = await (table.unconnected(fault) if fault in CONNECTION else table.measure(fault))
        table.check_that_nothing_happened_twice()
        return found


KNOWN, UNKNOWN = key_pair("ES256", "known"), key_pair("ES256", "unknown")

SHED_SECONDS = 0.1
"""The time after which a shed request is sent again."""

COOL_DOWN = 0.01
"""The time between two fetches of the keys in these tests, in seconds. Clients get it as ``retryAfterSeconds``."""


async def _supabase(patience: float, only: Collection[str]) -> dict[CellKey, Row]:
    """Measure the JWKS. All requests of a gateway share a fetch, so each fault has a gateway."""
    found: dict[CellKey, Row] = {}
    async with issuing(KNOWN.jwk) as issuer:
        for faults, seconds in (((*CONNECTION, *AT_ONCE), opening.JWKS_SECONDS), (LATE, 0.3)):
            with (
                patch.object(issuer_module, "COOL_DOWN_SECONDS", COOL_DOWN),
                patch.object(opening, "JWKS_SECONDS", seconds * patience),
            ):
                measuring = (_keys(fault, issuer, patience) for fault in faults if fault in only)
                for table in await asyncio.gather(*measuring):
                    found |= table
    return found


async def _keys(fault: str, issuer: Issuer, patience: float) -> dict[CellKey, Row]:
    async with AsyncExitStack() as exits:
        proxy = await exits.enter_async_context(faulty_service())
        proxy.target, proxy.patience = issuer.url, patience
        settings: dict[str, Any] = {"supabase_url": proxy.url, "supabase_jwt_issuer": issuer.issuer}
        settings["connect_timeout_seconds"] = 0.2 * patience
        stack = await exits.enter_async_context(embedded_stack(cache="off", **APART, **settings))
        await stack.own_key()
        keys = Keys(stack, proxy, issuer)
        await keys.wait_until(available=True)
        found = await keys.measure(fault)
        trusted = Cell(stack, "trusted", token=KNOWN.token(issuer.claims()))
        assert (await read_own(trusted)).kept == "all", "known keys stay valid"
        return found


class Keys:
    """Measures the cells of Supabase with one gateway."""

    def __init__(self, stack: Stack, proxy: FaultyService, issuer: Issuer) -> None:
        self._stack = stack
        self._proxy = proxy
        self._issuer = issuer

    def _cell(self, name: str) -> Cell:
        """Return a cell with a token whose key is not known."""
        return Cell(self._stack, name, token=UNKNOWN.token(self._issuer.claims(), kid=name))

    async def wait_until(self, *, available: bool) -> None:
        """Wait until a fetch succeeds, or until one fails."""

        async def reached() -> bool:
            return ((await read_own(self._cell("waiting"))).error["reason"] != "ISSUER") is available

        await until(reached, SECONDS)

    async def measure(self, fault: str) -> dict[CellKey, Row]:
        """Measure all operations with one fault."""
        operations, before = OPERATIONS["supabase"], len(self._stack.log.getvalue())
        if fault in CONNECTION:
            await self._proxy.stop(stall=fault == "slow connect")
        else:
            self._proxy.plans["jwks"] = Planned(fault, "GET", JWKS)
        await self.wait_until(available=False)
        cells = [self._cell(f"{fault}-{one.name}".replace(" ", "-")) for one in operations]
        seen = await asyncio.gather(*(_timed(one, cell) for one, cell in zip(operations, cells, strict=True)))
        calls = _attempts(self._stack.log.getvalue()[before:])
        return {
            ("supabase", one.name, fault): _row(_after(of_client), calls, "free" if one.has_key else "")
            for one, of_client in zip(operations, seen, strict=True)
        }


def _after(seen: Seen) -> Seen:
    """Return an answer with the time that clients get without this test's setting."""
    assert seen.error["retryAfterSeconds"] in {COOL_DOWN, 1.0}, "the header of /v1 has whole seconds"
    return seen._replace(error=seen.error | {"retryAfterSeconds": COOL_DOWN_SECONDS})


def _attempts(log: str) -> int:
    """Return the largest number of attempts of one fetch."""
    most = made = 0
    for line in map(orjson.loads, log.splitlines()):
        if line.get("service") == "supabase" and line["event"] == "upstream retried":
            made = made % MAX_RETRIES + 1
            most = max(most, made)
    return most + 1
