from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from app.departure import Departure
from app.drain import Drain, Stage
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave


def test_a_reader_that_cannot_resume_elsewhere_stays_until_the_last_stage() -> None:
    drain, early, late = Drain(), Leave(), Leave()
    with Departure(drain, early), early.reading(lambda: False):
        drain.advance(Stage.DRAINING)
        assert early.reason is None
        drain.advance(Stage.DETACHING)
        with Departure(drain, late):
            assert early.reason is late.reason is DetachReason.DRAINING


def test_a_reader_that_can_resume_elsewhere_is_detached_at_once() -> None:
    drain, early, late = Drain(), Leave(), Leave()
    with Departure(drain, early), early.reading(lambda: True):
        drain.advance(Stage.DRAINING)
        assert early.reason is DetachReason.DRAINING
        with Departure(drain, late):
            assert late.reason is None
            with late.reading(lambda: True):
                assert late.reason is DetachReason.DRAINING


def test_a_reader_is_detached_when_it_can_resume_elsewhere() -> None:
    drain, leave, movable = Drain(), Leave(), False
    with Departure(drain, leave), leave.reading(lambda: movable):
        drain.advance(Stage.DRAINING)
        movable = True
        assert leave.reason is None
        leave.changed()
        assert leave.reason is DetachReason.DRAINING


def test_a_sockets_readers_are_detached_together() -> None:
    drain, leave, running, told = Drain(), Leave(), 3, list[Stage]()
    with Departure(drain, leave, lambda: running, told.append), leave.reading(lambda: True), ExitStack() as other:
        other.enter_context(leave.reading(lambda: False))
        drain.advance(Stage.DRAINING)
        other.close()
        running = 2  # a query still runs
        leave.changed()
        assert told == []
        running = 1
        leave.changed()
        assert told == [Stage.DRAINING]
        assert leave.reason is DetachReason.DRAINING
        drain.advance(Stage.CUTTING)
    assert told == [Stage.DRAINING, Stage.CUTTING]


def test_a_connection_without_operations_is_reported_at_once() -> None:
    drain, told = Drain(), list[Stage]()
    with Departure(drain, Leave(), lambda: 0, told.append):
        drain.advance(Stage.DRAINING)
        assert told == [Stage.DRAINING]


async def test_connections_are_spread_over_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    delays = iter([0.0, 0.02, 0.04, 10.0])
    monkeypatch.setattr("app.departure.random.uniform", lambda _, longest: min(next(delays), longest))
    drain, told = Drain(), list[int]()
    with ExitStack() as connections:
        for number in range(4):
            act = lambda _, number=number: told.append(number)  # noqa: E731
            connections.enter_context(Departure(drain, Leave(), lambda: 0, act))
        drain.advance(Stage.DRAINING, spread=50.0)
        assert told == []
        while len(told) < 3:
            await asyncio.sleep(0.001)
        assert told == [0, 1, 2]
        drain.advance(Stage.DETACHING)  # after a second signal, nothing is spread
        assert told == [0, 1, 2, 0, 1, 2, 3]
