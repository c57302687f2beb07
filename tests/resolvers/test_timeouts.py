from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clients.errors import Service, UpstreamTimeout
from resolvers.streams.timeouts import StreamTimeouts, Timeouts

pytestmark = pytest.mark.timeout(20)


def timed(
    frames: AsyncIterator[int], *, first: float = 60, idle: float = 60, total: float = 60, tokens_from: int = 0
) -> AsyncIterator[int]:
    timeouts = Timeouts(request=60, llm_total=total, first_token=first, idle=idle)
    return StreamTimeouts(timeouts, Service.LITELLM).timed(frames, is_token=lambda frame: frame >= tokens_from)


async def said(count: int, pause: float = 0.0, then: float | None = None) -> AsyncIterator[int]:
    for number in range(count):
        yield number
        await asyncio.sleep(pause)
    if then is not None:
        await asyncio.sleep(then)


@pytest.mark.parametrize(
    ("frames", "timeouts", "reason", "heard"),
    [
        (said(0, then=9), {"first": 0.02}, "FIRST_TOKEN", 0),
        (said(3, then=9), {"first": 0.02, "tokens_from": 5}, "FIRST_TOKEN", 3),
        (said(3, then=9), {"idle": 0.02}, "IDLE", 3),
        (said(10_000, 0.001), {"total": 0.05, "idle": 30}, "TOTAL", 1),
        (said(3, then=9), {"first": 9, "idle": 0.02}, "IDLE", 3),
    ],
)
async def test_each_timeout_ends_a_wait(
    frames: AsyncIterator[int], timeouts: dict[str, float], reason: str, heard: int
) -> None:
    told: list[int] = []

    async def read() -> None:
        async for frame in timed(frames, **timeouts):  # type: ignore[arg-type]
            told.append(frame)  # noqa: PERF401 - the frames before the error count

    with pytest.raises(UpstreamTimeout) as raised:
        await read()
    assert raised.value.reason == reason
    assert len(told) >= heard
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_frames_that_come_in_time_are_all_delivered() -> None:
    assert [frame async for frame in timed(said(30, 0.002), first=0.5, idle=0.5)] == list(range(30))


async def test_the_time_of_a_slow_reader_does_not_count() -> None:
    heard = 0
    async for _ in timed(said(3), first=0.02, idle=0.02):
        await asyncio.sleep(0.05)
        heard += 1
    assert heard == 3


async def test_a_cancelled_reader_is_cancelled_without_a_timeout() -> None:
    waiting = asyncio.Event()

    async def silent() -> AsyncIterator[int]:
        waiting.set()
        await asyncio.sleep(9)
        yield 0

    async def read() -> None:
        async for _ in timed(silent()):
            pass

    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_error_after_a_timeout_leaves_the_task_uncancelled() -> None:
    async def broken() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError as error:
            raise ConnectionError from error
        yield 0

    with pytest.raises(ConnectionError):
        async for _ in timed(broken(), first=0.01):
            pass
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_all_frames_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers, call_at = list[float](), loop.call_at

    def counted(when: float, *args: Any, **more: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *args, **more)

    monkeypatch.setattr(loop, "call_at", counted)
    assert len([frame async for frame in timed(said(500))]) == 500
    assert len(timers) == 1
