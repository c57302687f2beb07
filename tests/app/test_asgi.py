"""Work for a client is cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.asgi import Disconnected, header, headers_of, retry_after, unless_disconnected

pytestmark = pytest.mark.timeout(10)


class Client:
    """A client that disconnects when the test says so. ``receive`` is passed to the application."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gone = asyncio.Event()
        self.waited_for = False
        self._error = error

    async def receive(self) -> dict[str, Any]:
        self.waited_for = True
        try:
            await self.gone.wait()
        finally:
            self.waited_for = False
        if self._error is not None:
            raise self._error
        return {"type": "http.disconnect"}


class Work:
    """Work that ends when the test says so, and records whether it was cancelled."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        self.began.set()
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def test_work_that_ends_first_returns_its_result() -> None:
    client, work = Client(), Work()
    work.done.set()
    assert await unless_disconnected(client.receive, work.run()) == "done"
    assert not client.waited_for


@pytest.mark.parametrize("error", [None, OSError("gone")])
async def test_work_is_cancelled_when_the_client_leaves(error: Exception | None) -> None:
    client, work = Client(error), Work()
    asyncio.get_running_loop().call_later(0, client.gone.set)
    with pytest.raises(Disconnected):
        await unless_disconnected(client.receive, work.run())
    task = asyncio.current_task()
    assert work.cancelled
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_cancellation_of_the_task_is_raised(leaves: bool) -> None:
    client, work = Client(), Work()
    task = asyncio.create_task(unless_disconnected(client.receive, work.run()))
    await work.began.wait()
    if leaves:
        client.gone.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.cancelled
    assert not client.waited_for


async def test_an_error_of_the_work_is_raised() -> None:
    client = Client()

    async def failing() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await unless_disconnected(client.receive, failing())
    assert not client.waited_for


async def test_a_timeout_in_the_work_is_not_a_disconnect() -> None:
    client, work = Client(), Work()

    async def timed() -> str:
        async with asyncio.timeout(0):
            return await work.run()

    with pytest.raises(TimeoutError):
        await unless_disconnected(client.receive, timed())


@pytest.mark.parametrize("steps", range(4))
async def test_a_disconnect_as_the_work_ends_does_not_cancel_later_steps(steps: int) -> None:
    client = Client()

    async def work() -> str:
        await client.gone.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        return "done"

    async def served() -> str:
        try:
            return await unless_disconnected(client.receive, work())
        except Disconnected:
            return "left"
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(served())
    await asyncio.sleep(0)
    client.gone.set()
    assert await task in {"done", "left"}
    assert not task.cancelling()


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, None), (0, "1"), (0.2, "1"), (58.2, "59"), (59, "59"), (60, "59"), (1e9, "59")]
)
def test_a_retry_after_header_is_whole_seconds_of_less_than_a_minute(seconds: float | None, told: str | None) -> None:
    assert retry_after(seconds).get("retry-after") == told


def test_a_repeated_header_has_its_first_value_or_all_values() -> None:
    scope: dict[str, Any] = {"headers": [(b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2")]}
    assert [header(scope, name) for name in (b"a", b"b", b"c")] == ["1", "\xe9", None]
    assert [headers_of(scope, name) for name in (b"a", b"b", b"c")] == [["1", "2"], ["\xe9"], []]
