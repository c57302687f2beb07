from __future__ import annotations

import asyncio

import pytest

from app.heartbeat import HeartbeatWriter

pytestmark = pytest.mark.timeout(20)


class Client:
    """Takes chunks while it is ``open``."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.told = asyncio.Condition()

    async def write(self, chunk: bytes) -> None:
        self.chunks.append(b"(" + chunk)
        await self.open.wait()
        self.chunks[-1] += b")"
        async with self.told:
            self.told.notify_all()

    async def has(self, count: int) -> None:
        async with self.told:
            await self.told.wait_for(lambda: len(self.chunks) >= count)


async def test_heartbeats_are_sent_without_chunks() -> None:
    client = Client()
    async with HeartbeatWriter(client.write, 0.01, b"beat") as body:
        await client.has(2)
        body.heartbeat = b"other"
        await client.has(len(client.chunks) + 2)
    assert client.chunks[:2] == [b"(beat)", b"(beat)"]
    assert client.chunks[-1] == b"(other)"


async def test_the_last_heartbeat_comes_before_the_end_of_the_context() -> None:
    client = Client()
    async with HeartbeatWriter(client.write, 0.01, b"beat"):
        await client.has(1)
    count = len(client.chunks)
    await asyncio.sleep(0.03)
    assert len(client.chunks) == count


async def test_a_chunk_waits_for_a_heartbeat_that_is_being_written() -> None:
    client = Client()
    client.open.clear()
    async with HeartbeatWriter(client.write, 0.01, b"beat") as body:
        while not client.chunks:
            await asyncio.sleep(0.001)
        chunk = asyncio.create_task(body.write(b"chunk"))
        await asyncio.sleep(0.03)
        assert client.chunks == [b"(beat"]
        client.open.set()
        await chunk
    assert client.chunks[:2] == [b"(beat)", b"(chunk)"]


async def test_no_heartbeat_comes_while_a_chunk_waits_to_be_read() -> None:
    client = Client()
    client.open.clear()
    async with HeartbeatWriter(client.write, 0.01, b"beat") as body:
        chunk = asyncio.create_task(body.write(b"chunk"))
        await asyncio.sleep(0.05)
        assert client.chunks == [b"(chunk"]
        client.open.set()
        await chunk
        await client.has(2)
    assert client.chunks[:2] == [b"(chunk)", b"(beat)"]


async def test_a_context_that_is_cancelled_cancels_a_heartbeat_that_is_being_written() -> None:
    client = Client()
    client.open.clear()

    async def silent() -> None:
        async with HeartbeatWriter(client.write, 0.01, b"beat"):
            await asyncio.Event().wait()

    task = asyncio.create_task(silent())
    while not client.chunks:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_a_heartbeat_is_raised_by_the_next_chunk() -> None:
    broken = asyncio.Event()

    async def write(chunk: bytes) -> None:
        broken.set()
        raise ConnectionError(chunk)

    async def say() -> None:
        async with HeartbeatWriter(write, 0.01, b"beat") as body:
            await broken.wait()
            await body.write(b"chunk")

    with pytest.raises(ConnectionError, match="beat"):
        await say()


async def test_a_heartbeat_that_is_written_at_the_end_is_the_last() -> None:
    wrote, beats, reads = list[bytes](), asyncio.Event(), asyncio.Event()

    async def write(chunk: bytes) -> None:
        wrote.append(chunk)
        beats.set()
        await reads.wait()

    async with HeartbeatWriter(write, 0.001, b"beat"):
        await beats.wait()
        asyncio.get_running_loop().call_soon(reads.set)
    await asyncio.sleep(0.03)
    assert wrote == [b"beat"]
