from __future__ import annotations

import asyncio

from app.drain import Drain, Stage


def test_stages_only_advance_and_each_is_reported_once() -> None:
    drain, told = Drain(), list[Stage]()
    with drain.watched(told.append):
        for stage in (Stage.DRAINING, Stage.DRAINING, Stage.CUTTING, Stage.DETACHING):
            drain.advance(stage)
    drain.advance(Stage.CUTTING)
    assert told == [Stage.DRAINING, Stage.CUTTING]
    assert drain.stage is Stage.CUTTING


async def test_a_drain_is_idle_after_requests_streams_sockets_and_background_work() -> None:
    drain, work = Drain(), asyncio.Event()

    async def settled() -> None:
        await work.wait()

    drain.background(settled)
    with drain.socket():
        with drain.request(), drain.stream():
            assert (drain.requests, drain.streams) == (0, 1)
            idle = asyncio.create_task(drain.idle())
            await asyncio.sleep(0)
            assert not idle.done()
        await asyncio.sleep(0)
        assert not idle.done()
    await asyncio.sleep(0)
    assert (drain.requests, drain.streams, idle.done()) == (0, 0, False)
    work.set()
    async with asyncio.timeout(5):
        await idle
