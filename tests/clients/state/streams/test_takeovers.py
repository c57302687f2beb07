"""Replicas that crash, stand still, take streams over and lose the store, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clients.state.connection import RedisConnection
from clients.state.news import MemoryNews
from clients.state.streams.backend import LogBackend, LogLimits
from clients.state.streams.records import AppendStatus, Lease, NewStream, StreamState
from clients.state.streams.redis_backend import RedisLogs
from tests.support.memory_logs import MemoryWorld
from tests.support.state import Seen
from tests.support.stream_stores import ALICE, Replica

LIMITS = LogLimits(lease=20)
STREAM = NewStream(id="stream:1", owner=ALICE, key="key")
SLOTS = st.integers(0, 2)
RARELY = st.sampled_from([False, False, False, False, True])

T = TypeVar("T")


class _Process:
    """A replica's process, and its view of the stream while it believes that it is the holder."""

    def __init__(self, backend: LogBackend) -> None:
        self.replica = Replica(backend, MemoryNews())
        self.lease: Lease | None = None
        self.entries: list[bytes] = []
        self.is_asleep = False
        self.seen: list[bytes] = []
        self.seen_end: bytes | None = None


class Takeovers(RuleBasedStateMachine):
    """One stream and three processes. ``entries`` are all entries that the store has acknowledged."""

    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._names: Iterator[str] = (f"replica-{number}" for number in range(10**6))
        self.holder: _Process | None = None
        self.entries: list[bytes] = []
        self.outcome: bytes | None = None
        self.is_opened = False
        self.is_lost = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())

    async def _begin(self) -> None:
        self.redis = None if self.url is None else RedisConnection(self.url, None, Seen())
        self.world = MemoryWorld(LIMITS)
        await self._flush()
        self.processes = [self._process() for _ in range(3)]
        for one in self.processes:
            await one.replica.store.beat()

    def _process(self) -> _Process:
        name = next(self._names)
        return _Process(self.world.replica(name) if self.redis is None else RedisLogs(self.redis, name, LIMITS))

    async def _flush(self) -> None:
        self.world.flush()
        if self.redis is not None:
            await self.redis.command("FLUSHDB")

    def teardown(self) -> None:
        if self.redis is not None:
            self.run(self.redis.aclose())
        self._runner.close()

    # What happens

    @precondition(lambda self: not self.is_opened)
    @rule(slot=SLOTS)
    def open(self, slot: int) -> None:
        process = self.processes[slot]
        process.lease = self.run(process.replica.opened(STREAM)).lease
        self.holder, self.is_opened = process, True

    @rule(slot=SLOTS, count=st.integers(0, 3), repeats=st.integers(1, 2), ends=RARELY, crashes=RARELY)
    def append(self, slot: int, count: int, repeats: int, ends: bool, crashes: bool) -> None:
        """Append. With two ``repeats``, the first answer was lost. The process ``crashes`` after the append."""
        process = self.processes[slot]
        if process.lease is not None:
            process.is_asleep = False
            start = len(process.entries)
            new = [f"{process.replica.name}:{start + number}".encode() for number in range(count)]
            outcome = f"end of {process.replica.name}".encode() if ends else None
            self.run(self._append(process, new, outcome, repeats))
            if crashes:
                self.crash(slot)

    async def _append(self, process: _Process, new: list[bytes], outcome: bytes | None, repeats: int) -> None:
        lease, start = process.lease, len(process.entries)
        assert lease is not None
        for _ in range(repeats):
            answer = await process.replica.append(lease, start, *new, outcome=outcome)
        match answer.status:
            case AppendStatus.STORED:
                assert self.holder is process, "a fenced writer never writes"
                assert self.outcome is None, "one end"
                process.entries = process.entries + new
                assert answer.length == len(process.entries)
                self.entries, self.outcome, self.is_lost = process.entries, outcome, False
                if outcome is not None:
                    process.lease = None
            case AppendStatus.FENCED:
                assert self.holder is not process or self.is_lost
                process.lease = None
            case AppendStatus.MISSING | AppendStatus.BEHIND:
                assert self.is_lost
                await self._restore(process)
            case status:
                raise AssertionError(status)

    async def _restore(self, process: _Process) -> None:
        assert process.lease is not None
        restored = await process.replica.store.restore(STREAM, process.lease.token)
        if restored is None:
            assert self.holder is not process or self.is_lost
            process.lease = None
            return
        assert self.holder is process, "a replica that stood still restores nothing"
        process.lease, length = restored
        missing = process.entries[length:]
        answer = await process.replica.append(process.lease, length, *missing)
        assert answer.length == len(process.entries)
        self.is_lost = False

    @rule(slot=SLOTS)
    def stand_still(self, slot: int) -> None:
        process = self.processes[slot]
        process.replica.clock.ahead += LIMITS.lease + 1
        process.is_asleep = True

    @rule(slot=SLOTS)
    def beat(self, slot: int) -> None:
        process = self.processes[slot]
        process.is_asleep = False
        self.run(process.replica.store.beat())

    @rule(slot=SLOTS)
    def crash(self, slot: int) -> None:
        self.processes[slot] = self._process()
        self.run(self.processes[slot].replica.store.beat())

    @precondition(lambda self: self.is_opened)
    @rule(slot=SLOTS)
    def take_over(self, slot: int) -> None:
        process, holder = self.processes[slot], self.holder
        if process.lease is None and holder is not None and (holder not in self.processes or holder.is_asleep):
            self.run(self._take_over(process))

    async def _take_over(self, process: _Process) -> None:
        store = process.replica.store
        record = await store.find(ALICE, STREAM.id)
        if record is None:
            assert self.is_lost
            return
        opened = await store.take_over(record)
        if record.state is not StreamState.RUNNING:
            assert opened is None
            return
        assert opened is not None
        page = await store.read(ALICE, STREAM.id, 0, 1000)
        assert page is not None
        assert page.entries == self.entries
        self.holder, process.lease, process.entries = process, opened.lease, page.entries

    @precondition(lambda self: self.is_opened)
    @rule()
    def lose_everything(self) -> None:
        self.run(self._flush())
        self.is_lost = True

    @precondition(lambda self: self.is_opened)
    @rule(slot=SLOTS, count=st.integers(1, 3))
    def read(self, slot: int, count: int) -> None:
        process = self.processes[slot]
        store, position = process.replica.store, len(process.seen)
        page = self.run(store.read(ALICE, STREAM.id, position, count))
        if page is not None and process.seen_end is None:
            process.seen, process.seen_end = process.seen + page.entries, page.outcome
        if page is None:
            assert self.is_lost

    @invariant()
    def readers_see_the_same_stream(self) -> None:
        for process in getattr(self, "processes", ()):
            assert process.seen == self.entries[: len(process.seen)], "no gap, nothing twice, nothing changed"
            if process.seen_end is not None:
                assert (process.seen, process.seen_end) == (self.entries, self.outcome)


def check(url: str | None, examples: int) -> None:
    class Placed(Takeovers):
        pass

    Placed.url = url
    run_state_machine_as_test(Placed, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))


def test_a_stream_has_one_writer_and_one_end_in_memory() -> None:
    check(None, 25)


@pytest.mark.needs_redis
def test_a_stream_has_one_writer_and_one_end_in_redis(redis_url: str) -> None:
    check(redis_url, 25)
